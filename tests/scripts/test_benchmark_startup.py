"""The benchmark of the command line's start. What it says of time is not tested, but that its parts add up."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = ["mlp-jax --help", "mlp-jax train --epochs 1, cold", "mlp-jax train --epochs 1, warm"]


def run(*arguments):
    command = [sys.executable, str(SCRIPTS / "benchmark.py"), "startup", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def startup(monkeypatch):
    """The benchmark's module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return runpy.run_module("benchmarks.startup")


def test_an_instant_belongs_to_the_shortest_part_around_it(startup):
    parts = [
        ("whole", 1.0, 9.0),
        ("inner", 2.0, 5.0),
        ("innermost", 3.0, 4.0),
        ("inner", 6.0, 7.0),
        ("late", 9.5, 12.0),
    ]
    seconds = startup["seconds_of_parts"](parts, 0.0, 10.0)
    assert seconds == {"the rest": 1.5, "whole": 4.0, "inner": 3.0, "innermost": 1.0, "late": 0.5}
    assert sum(seconds.values()) == 10


def test_bad_input_is_one_line_before_anything_is_timed(tmp_path):
    for flags, message in (
        (["--rounds", "0"], "rounds is 0"),
        (["--out", str(tmp_path / "no" / "a.json")], "no is not"),
    ):
        result = run(*flags)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert message in result.stderr


@pytest.mark.slow
def test_commands_and_parts_are_printed_and_written(tmp_path):
    result = run("--rounds", "1", "--out", str(tmp_path / "report.json"))
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["name"] for row in report["commands"]] == COMMANDS
    assert all(row["calls"] == 1 for row in report["commands"])
    assert {"date", "machine", "versions", "rounds"} <= set(report)
    parts = {row["name"]: row for row in report["parts"]}
    assert {"Python begins", "import jax", "read the data", "first epoch", "Python ends"} <= set(parts)
    assert {"first epoch, compiling", "init_params, compiling", "evaluate, compiling"} <= set(parts)
    for name in (*COMMANDS, *parts):
        assert name in result.stdout
