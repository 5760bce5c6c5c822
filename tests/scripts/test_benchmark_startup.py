"""The benchmark of the command line's start. What it says of time is not tested, but that its parts add up."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROGRAMS = SCRIPTS / "benchmarks"
COMMANDS = ["mlp-jax --help", "mlp-jax train --epochs 1, cold", "mlp-jax train --epochs 1, warm"]


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(PROGRAMS)
    return importlib.import_module


def test_an_instant_belongs_to_the_shortest_part_around_it(module):
    parts = [
        ("whole", 1.0, 9.0),
        ("inner", 2.0, 5.0),
        ("innermost", 3.0, 4.0),
        ("inner", 6.0, 7.0),
        ("late", 9.5, 12.0),
    ]
    seconds = module("startup").seconds_of_parts(parts, 0.0, 10.0)
    assert seconds == {"the rest": 1.5, "whole": 4.0, "inner": 3.0, "innermost": 1.0, "late": 0.5}
    assert sum(seconds.values()) == 10


def test_bad_input_is_refused_before_anything_is_timed(module, tmp_path):
    with pytest.raises(ValueError, match="rounds is 0"):
        module("startup").main(rounds=0)
    with pytest.raises(ValueError, match="no is not a directory"):
        module("startup").main(out=tmp_path / "no" / "a.json")


def test_every_part_of_a_run_is_seen(module, tmp_path):
    """Each function that is watched exists, or the run would fail; and each part of a run is spent in one of them."""
    inputs, targets = np.eye(600, 4, dtype=np.uint8), np.arange(600) % 4  # too many batches for several epochs a call
    np.savez(tmp_path / "data.npz", x_train=inputs, y_train=targets, x_test=inputs, y_test=targets)
    file, train = tmp_path / "parts.json", ["train", "--epochs", "1", "--batch-size", "2", "--sizes", "0", "3", "0"]
    where = ["--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "run")]
    command = [sys.executable, str(PROGRAMS / "phases.py"), str(file), *train, *where]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    inside = json.loads(file.read_text())
    seen = {name for name, _, _ in inside["parts"]}
    assert {"parse the arguments", "start the backend", *module("phases").WATCHED} <= seen
    assert {"first epoch, compiling", "init_params, compiling", "evaluate, compiling"} <= seen
    assert all(inside["begin"] <= start <= end <= inside["end"] for _, start, end in inside["parts"])


@pytest.mark.slow
def test_commands_and_parts_are_printed_and_written(tmp_path):
    command = [sys.executable, str(SCRIPTS / "benchmark.py"), "startup", "--rounds", "1"]
    result = subprocess.run([*command, "--out", str(tmp_path / "report.json")], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["name"] for row in report["commands"]] == COMMANDS
    assert all(row["calls"] == 1 for row in report["commands"])
    assert {"date", "machine", "versions", "rounds"} <= set(report)
    parts = {row["name"]: row for row in report["parts"]}
    assert {"Python begins", "import jax", "read the data", "first epoch", "Python ends"} <= set(parts)
    for name in (*COMMANDS, *parts):
        assert name in result.stdout
