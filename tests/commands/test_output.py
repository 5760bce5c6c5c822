"""What a command prints, whatever reads it, and whatever the machine lacks."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from processes import call, environment

from mlp_jax.cli import parse
from mlp_jax.commands.recorder import recording
from mlp_jax.config import Train, command_of
from mlp_jax.runs import Run
from mlp_jax.runs.files import quoted

PIPED = ["--help", "--version", "experiment", "evaluate RUN", "train --data DATA --epochs 1"]


@pytest.mark.parametrize("command", PIPED)
def test_a_reader_that_goes_away_ends_the_program_quietly(command, digits, digits_file, tmp_path):
    names = {"RUN": digits.directory, "DATA": digits_file}
    arguments = [str(names.get(word, word)) for word in command.split()]
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-m", "mlp_jax", *arguments]
    result = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path)
    os.close(writing)
    assert result.stderr == ""
    assert result.returncode == (0 if command.startswith("--") else 1)  # argparse takes no notice of it


def test_a_platform_that_is_not_there_is_said_in_one_line(digits):
    for platform in ("cuda", "nonsense"):
        command = [sys.executable, "-m", "mlp_jax", "evaluate", str(digits.directory)]
        more = {"JAX_PLATFORMS": platform}
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | more)
        assert result.returncode == 2
        assert re.fullmatch(f"mlp-jax: JAX cannot use JAX_PLATFORMS={platform} .*: unset it, .*\n", result.stderr)


def test_commands_in_hints_are_quoted_for_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my run", "it's [1]", "-dash", "$(x)*", "new\nline", "ü"):
        assert Path(*shlex.split(quoted(Path(name)))) == Path(name)
        assert not quoted(Path(name)).startswith("-")
        config = json.loads(json.dumps(asdict(Train(data=name, target=name))))
        assert parse(shlex.split(command_of(config))[1:]) == replace(Train(), data=name, target=name)


def test_a_run_that_is_stopped_says_how_to_resume_it_whatever_its_name(digits_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("my [1] run", "-dash"):
        config = {"epochs": 9, "checkpoint_every": 0.0}
        run = Run.create(Path(name), config)
        with recording(Train(), config, run) as recorder:
            recorder.lines, recorder.status = [{"epoch": 3}], 130
        hint = capsys.readouterr().err.partition("; ")[2].removesuffix(" continues\n")
        assert parse(shlex.split(hint)[1:]).resume.resolve() == tmp_path / name


def test_a_run_may_have_any_name(digits_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "-my  [1] 'run' $(x)*?~\n[bold]ü"
    train = [f"--data={digits_file}", "--sizes", 0, 12, 0, "--batch-size", 60]
    assert call("train", *train, "--epochs", 1, f"--out={name}") == 0
    assert call("train", f"--resume={name}", "--epochs", 2) == 0
    assert call("evaluate", f"./{name}") == 0
    assert capsys.readouterr().out.count(json.dumps(name)) == 2
    assert sorted(path.name for path in (tmp_path / name / "checkpoints").iterdir()) == [
        "1.safetensors",
        "2.safetensors",
    ]
