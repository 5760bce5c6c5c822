"""What a command prints, whatever reads it, and whatever the machine lacks."""

import os
import re
import subprocess
import sys

import pytest
from processes import environment

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
