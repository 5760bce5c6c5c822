"""The scripts run as a researcher would run them, and stay short enough to copy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(name, *arguments):
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["train.py", "compare_gradients.py"])
def test_it_fits_on_a_screen(name):
    assert len((SCRIPTS / name).read_text().splitlines()) <= 60


def test_train_learns():
    lines = run("train.py", "--epochs", "2").splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    found = [re.findall(r"cost (\S+), test accuracy (\S+),", line)[0] for line in lines]
    costs, accuracies = ([float(number) for number in column] for column in zip(*found, strict=True))
    assert costs[1] < costs[0]
    assert accuracies[1] > 0.88


@pytest.mark.slow
def test_three_gradients_agree():
    flags = "--hidden tanh --output softmax --cost cross_entropy --examples 20"
    out = run("compare_gradients.py", *flags.split())
    assert "by nudging and automatic agree" in out
    assert "by hand and automatic agree" in out
    (nudging, hand) = re.findall(r"^  all +\S+ +(\S+)", out, re.MULTILINE)
    assert float(hand) < 1e-13
    assert float(nudging) < 1e-7
