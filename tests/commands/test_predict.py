"""`mlp-jax predict`: pictures in, answers out."""

import numpy as np
import pytest
from PIL import Image

from mlp_jax import Model, feedforward, load_dataset
from mlp_jax.cli import main

IMAGE = load_dataset().test.inputs[0].reshape(28, 28)


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


def test_it_answers_and_says_what_it_did(digits, tmp_path, capsys):
    Image.fromarray(IMAGE).save(tmp_path / "plain.png")
    Image.fromarray(255 - IMAGE).resize((300, 300)).save(tmp_path / "scan.png")
    assert predict(digits.directory, tmp_path / "plain.png", tmp_path / "scan.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 12
    outputs = feedforward(digits.load(), IMAGE.ravel() / np.float32(255), Model())
    assert lines[0] == str(tmp_path / "plain.png")
    for answer, line in enumerate(lines[1:11]):
        number, activation, *bar = line.split()
        assert (int(number), float(activation)) == (answer, pytest.approx(float(outputs[answer]), abs=5e-5))
        assert len("".join(bar)) == pytest.approx(40 * outputs[answer], abs=1)
    assert lines[11] == f"answer: {outputs.argmax()}"
    assert "dark ink on light paper, inverted" in lines[12]
    assert "scaled and centred" in lines[12]


def test_it_needs_readable_pictures_and_784_inputs(digits, numbers, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"nonsense")
    Image.fromarray(IMAGE).save(tmp_path / "good.png")
    assert predict(digits.directory, tmp_path / "good.png", tmp_path / "a.png") == 2
    assert predict(numbers.directory, tmp_path / "good.png") == 2
    output = capsys.readouterr()
    assert output.out == ""
    unreadable, other = output.err.splitlines()
    assert "a.png: not a readable image" in unreadable
    assert "has a network of 3 uint8 inputs: expected 784 of uint8, because pictures become 28 x 28 pixels" in other
