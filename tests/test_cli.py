"""The command line: what it takes, and one line on stderr for what it cannot use."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlp_jax.arguments import Compare, Evaluate, Predict, Train, parse
from mlp_jax.cli import main

DEFAULT = Train()
BAD = {
    "": r"Expected one of \{train, sweep, evaluate, .*, report, serve, compare, experiment\}; see mlp-jax --help",
    "trian": "Unrecognized options: trian; .*see mlp-jax --help",
    "train --epoch 3": "Unrecognized options: --epoch, 3; perhaps you meant --epochs; see mlp-jax train --help",
    "train --epochs three": "Error parsing --epochs: .*'three'",
    "train --hidden sigmod": "invalid choice 'sigmod' for argument '--hidden'. Expected one of .*'sigmoid'",
    "train --gradient numerical": "Expected one of .'manual', 'automatic'",
    "train --sizes 784 sixteen 10": "Error parsing --sizes: .*'sixteen'",
    "train --data fashion": "there is no data set 'fashion' .*: expected 'mnist'",
    "train --sizes 784 16": "sizes are .784, 16., but the data have 784 pixels and 10 classes: .* end at 10",
    "train --sizes 28 16 10": "sizes are .28, 16, 10., but the data have 784 pixels .* start at 784",
    "train --sizes 784": "sizes are .784,., but the data have",
    "train --sizes": "sizes are .., but the data have",
    "train --sizes 784 0 10": "sizes are .784, 0, 10.: .* of 1 neuron or more",
    "train --batch-size 0": "batch size is 0: expected 1 to 60000",
    "train --batch-size 60001": "batch size is 60001: expected 1 to 60000",
    "train --epochs 0": "number of epochs is 0: expected 1 or more",
    "train --seed -1": "seed is -1: expected 0 to 4294967295",
    "train --seed 4294967296": "seed is 4294967296: expected 0 to 4294967295",
    "train --seed 99999999999999999999": "seed is 99999999999999999999: expected 0 to",
    "compare --seed 99999999999999999999": "seed is 99999999999999999999: expected 0 to",
    "train --sizes 784 100000000 10": "make 79,500,000,010 parameters: expected fewer than",
    "train --optimizer scale": "Optax has no optimiser 'scale'",
    "train --learning-rate 0": "learning rate is 0.0: expected a finite number above 0",
    "train --learning-rate nan": "learning rate is nan: expected",
    "train --optimizer sdg": "Optax has no optimiser 'sdg'",
    "train --output tanh --cost cross_entropy": "cost needs outputs from 0 to 1",
    "train --out full": "full is there already and not empty: give --out a new directory",
    "train --out full/file/below": "Not a directory: 'full/file/below'",
    "sweep --seeds 0": "no network to train: give at least one seed, one learning rate and one scale",
    "sweep --learning-rate": "no network to train",
    "sweep --learning-rate 1 -1": "learning rate is -1.0: expected a finite number above 0",
    "sweep --scale 1 nan": "scales are .* expected finite numbers",
    "sweep --batch-size 0": "batch size is 0: expected 1 to 60000",
    "sweep --seeds 2 --seed 4294967295": "seed is 4294967296: expected 0 to 4294967295",
    "sweep --out full": "full is there already and not empty",
    "compare --batch-size 0": "batch size is 0",
    "compare --sizes 784 11": "sizes are .784, 11.",
    "evaluate": "Missing from mlp-jax evaluate: DIR .*see mlp-jax evaluate --help",
    "evaluate missing": "missing is no run: there is no config.json in it",
    "evaluate full": "full is no run",
    "predict missing full/file": "missing is no run",
}


def test_the_defaults_are_the_lessons():
    assert parse(["train"]) == DEFAULT
    assert (DEFAULT.data, DEFAULT.sizes, DEFAULT.hidden, DEFAULT.output) == (
        "mnist",
        (0, 16, 16, 0),
        "sigmoid",
        "sigmoid",
    )
    assert (DEFAULT.cost, DEFAULT.epochs, DEFAULT.batch_size, DEFAULT.gradient) == ("quadratic", 30, 100, "manual")


def test_flags_reach_their_commands():
    flags = "--sizes 784 30 10 --hidden relu --batch-size 10 --out here --learning-rate 1e-3"
    assert parse(["train", *flags.split()]) == Train(
        sizes=(784, 30, 10), hidden="relu", batch_size=10, out=Path("here"), learning_rate=1e-3
    )
    assert parse(["evaluate", "here"]) == Evaluate(Path("here"))
    assert parse(["predict", "here", "a.png", "b.png"]) == Predict(Path("here"), (Path("a.png"), Path("b.png")))
    assert parse(["compare", "--seed", "3"]) == Compare(seed=3)


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_exit_status_2_and_nothing_is_written(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PJRT_NPROC", "2")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert main(arguments.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("mlp-jax: ")
    assert output.err.count("\n") == 1
    assert re.search(BAD[arguments], output.err)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["full", "full/file"]
    assert (tmp_path / "full" / "file").read_text() == "mine"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("columns", ["40", "200"])
def test_one_line_in_a_terminal_of_any_width_and_encoding(columns, encoding):
    environment = os.environ | {"COLUMNS": columns, "FORCE_COLOR": "1", "PYTHONIOENCODING": encoding}
    result = subprocess.run(
        [sys.executable, "-m", "mlp_jax.cli", "train", "--hidden", "sigmod"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "invalid choice 'sigmod' for argument '--hidden'" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("command", ["", "train", "sweep", "evaluate", "predict", "compare"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert not stop.value.code
    output = capsys.readouterr()
    assert f"usage: mlp-jax {command}".strip() in output.out
    assert output.err == ""
