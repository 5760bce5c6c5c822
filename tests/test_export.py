"""`mlp-jax export`: what it writes runs where this package is not."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from mlp_jax import Model, feedforward, init_params, relu, softmax
from mlp_jax.cli import main
from mlp_jax.runs import Run

MODEL = Model(relu, softmax)
WITHOUT_THE_PACKAGE = """
import sys
sys.modules["mlp_jax"] = None  # importing it is an error now
import jax, numpy as np
program = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
images = np.load(sys.argv[2])
outputs = [program.call(images[:batch]) for batch in (1, 7, 10_000)]
np.savez(sys.argv[3], *outputs)
print(any(name.startswith("mlp_jax") and module for name, module in sys.modules.items()))
"""


def make_run(directory):
    params = init_params(jax.random.key(0), (784, 16, 16, 10))
    config = {"data": "mnist", "hidden": "relu", "output": "softmax", "cost": "quadratic"}
    Run.create(directory, config).save(params)
    return params


def export(*arguments):
    return main(["export", *map(str, arguments)])


def test_a_program_with_jax_alone_answers_as_the_network_does(tmp_path, capsys):
    """To rounding: the compiler may add up in another order where it knows the parameters."""
    params = make_run(tmp_path / "run")
    assert export(tmp_path / "run") == 0
    path = tmp_path / "run" / "predict.stablehlo"
    assert json.loads(capsys.readouterr().out) == {
        "path": str(path),
        "bytes": path.stat().st_size,
        "platforms": ["cpu", "cuda", "tpu"],
        "input": {"shape": ["batch", 784], "dtype": "uint8"},
        "output": {"shape": ["batch", 10], "dtype": "float32"},
    }
    images = np.random.default_rng(0).integers(0, 256, (10_000, 784), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "elsewhere").mkdir()
    paths = (path, tmp_path / "images.npy", tmp_path / "outputs.npz")
    command = [sys.executable, "-I", "-c", WITHOUT_THE_PACKAGE, *map(str, paths)]
    result = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "False\n", "")
    expected = np.asarray(feedforward(params, images.astype(np.float32) / 255, MODEL))
    outputs = np.load(tmp_path / "outputs.npz")
    assert [len(batch) for batch in outputs.values()] == [1, 7, 10_000]
    for batch in outputs.values():
        np.testing.assert_allclose(batch, expected[: len(batch)], rtol=1e-5, atol=1e-7)


def test_the_file_may_be_elsewhere_and_takes_the_place_of_an_earlier_one(tmp_path, capsys):
    make_run(tmp_path / "run")
    (tmp_path / "mine").write_text("earlier")
    assert export(tmp_path / "run", "--out", tmp_path / "mine") == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == (tmp_path / "mine").stat().st_size > 13_002 * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run"]
    assert not list(tmp_path.rglob("predict*"))


@pytest.mark.parametrize("arguments", [("missing",), ("run", "--out", "missing/program")])
def test_what_cannot_be_done_is_said_in_a_line(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    assert export(*arguments) == 2
    error = capsys.readouterr().err
    assert "missing" in error
    assert error.count("\n") == 1
