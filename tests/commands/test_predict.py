"""`mlp-jax predict`: pictures in, answers out."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mlp_jax import Model, feedforward, load_dataset
from mlp_jax.cli import main

IMAGE = load_dataset().test.inputs[0].reshape(28, 28)


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


@pytest.fixture
def pictures(tmp_path):
    """A folder of 18 pictures, one of which is damaged, and a text."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number in range(17):
        where = folder / "more" if number % 2 else folder
        Image.fromarray(np.roll(IMAGE, number % 3, 0)).save(where / f"{number:02}.png")
    (folder / "bad.jpg").write_bytes(b"nonsense")
    (folder / "notes.txt").write_text("none of them")
    return folder


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


def test_one_bad_picture_among_many(digits, pictures, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    assert predict(digits.directory, pictures, "--json", "--out", out, "--seen", tmp_path / "seen") == 1
    output = capsys.readouterr()
    *answers, last = map(json.loads, output.out.splitlines())
    assert last == {"path": str(out), "rows": 17}
    assert output.err.splitlines()[0].startswith(f"mlp-jax: {pictures}/bad.jpg: not a readable image")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(answers) == 17
    for row, answer in zip(rows, answers, strict=True):
        assert row == {name: str(value) for name, value in answer.items()}
        activations = [answer[f"activation {digit}"] for digit in range(10)]
        assert answer["answer"] == str(np.argmax(activations))
    seen = sorted((tmp_path / "seen").iterdir())
    assert (len(seen), seen[0].name) == (17, "01-00.png")
    np.testing.assert_array_equal(np.asarray(Image.open(seen[0])), IMAGE)


def test_nothing_to_answer(digits, numbers, pictures, tmp_path, capsys):
    assert predict(digits.directory, pictures / "bad.jpg") == 2
    assert predict(numbers.directory, pictures / "00.png") == 2
    (tmp_path / "empty").mkdir()
    assert predict(digits.directory, tmp_path / "empty") == 2
    assert predict(digits.directory, pictures, "--out", tmp_path) == 2
    output = capsys.readouterr()
    assert output.out == ""
    unreadable, other, empty, out = output.err.splitlines()
    assert "bad.jpg: not a readable image" in unreadable
    assert "has a network of 3 inputs, and height and width of its images are unknown" in other
    assert "empty has no pictures: expected image files in it, such as .png or .jpg" in empty
    assert "cannot be written: give --out a file in a directory that is there" in out


def test_what_is_no_digit_is_doubted(digits, tmp_path, capsys):
    both = np.hstack([IMAGE[:, 3:25], IMAGE[:, 3:25]])
    Image.fromarray(255 - both).resize((220, 140)).save(tmp_path / "both.png")
    assert predict(digits.directory, tmp_path / "both.png", "--json") == 0
    output = capsys.readouterr()
    doubt = "it may not be one digit: 2 shapes lie apart in it"
    assert json.loads(output.out)["doubt"] == doubt
    assert output.err == f"mlp-jax: {tmp_path}/both.png: {doubt}\n"


def test_data_that_are_gone(digits, tmp_path, capsys):
    config = json.loads((digits.directory / "config.json").read_text())
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "params.safetensors").write_bytes((digits.directory / "params.safetensors").read_bytes())
    (lost / "config.json").write_text(json.dumps(config | {"data": str(tmp_path / "gone.npz")}))
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    assert predict(lost, tmp_path / "a.png") == 0
    output = capsys.readouterr()
    assert "pictures are not compared with the training images: there is no data set" in output.err
    assert "answer: " in output.out


def test_pictures_for_other_images_than_digits_are_scaled(tmp_path, capsys):
    """Clothes fill their frame: a picture of 28 x 28 must not be put in a box of 20 x 20."""
    garments = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    garments[:, [0, -1]] = garments[:, :, [0, -1]] = 0
    classes = np.arange(40) % 2
    np.savez(tmp_path / "clothes.npz", x_train=garments, y_train=classes, x_test=garments, y_test=classes)
    small = ["--sizes", "0", "2", "0", "--epochs", "1", "--batch-size", "20"]
    assert main(["train", "--data", f"{tmp_path}/clothes.npz", *small, "--out", f"{tmp_path}/run"]) == 0
    Image.fromarray(garments[0]).save(tmp_path / "dark.png")
    Image.fromarray(255 - garments[0]).save(tmp_path / "light.png")
    seen = tmp_path / "seen"
    assert predict(tmp_path / "run", tmp_path / "dark.png", tmp_path / "light.png", "--seen", seen) == 0
    for path in seen.iterdir():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), garments[0])
    assert "light.png, light border, inverted" in capsys.readouterr().out
