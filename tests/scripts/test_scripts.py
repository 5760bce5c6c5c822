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


def test_three_gradients_agree():
    out = run(
        "compare_gradients.py", "--hidden", "tanh", "--output", "softmax", "--cost", "cross_entropy", "--examples", "20"
    )
    differences = [float(number) for number in re.findall(r"manual against automatic (\S+)", out)]
    slopes = [tuple(map(float, pair)) for pair in re.findall(r"predicted slope (\S+), measured (\S+)", out)]
    assert (len(differences), len(slopes)) == (6, 5)
    assert max(differences) < 1e-12
    assert all(predicted == pytest.approx(measured, abs=1e-8) for predicted, measured in slopes)


@pytest.mark.slow
def test_the_benchmarks_contestants_learn_the_same():
    pytest.importorskip("torch")
    out = run("benchmark.py", "--rounds", "1")
    accuracies = [float(number) for number in re.findall(r"(\d+\.\d+)%", out)]
    assert len(accuracies) == 3
    assert max(accuracies) - min(accuracies) < 0.1
