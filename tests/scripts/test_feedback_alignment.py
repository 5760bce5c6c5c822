"""The script trains by three rules, of which each gets the last layer right."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "feedback_alignment.py"
RULES = ["back-propagation", "feedback alignment", "direct feedback alignment"]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "label", "layers"), [("tanh", "1x16 tanh", 2), ("logistic", "2x16 logistic", 3)])
def test_every_rule_learns(network, label, layers):
    settings = {"networks": network, "epochs": 1, "hidden": 16, "batch-size": 200, "learning-rate": 3e-3}
    out = subprocess.run(
        [sys.executable, str(SCRIPT), *(f"--{name}={value}" for name, value in settings.items())],
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PJRT_NPROC": "1"},  # compiling is most of the time
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    progress, table = out.split("test error after epoch 1;")
    assert re.findall(rf"^{network}, (.+): epoch 1, test error", progress, re.MULTILINE) == RULES
    assert label in table

    rows = re.findall(r"^ *([a-z -]+?) {2,}([0-9.]+) % {2,}([0-9 ]+?) {2,}([0-9 ]+?) *$", table, re.MULTILINE)
    assert [name for name, *_ in rows] == RULES
    for name, error, *columns in rows:
        assert float(error) < 40
        for angles in columns:
            degrees = [int(angle) for angle in angles.split()]
            assert len(degrees) == layers
            assert degrees[-1] == 0  # every rule gives the last layer the true gradient
            assert (max(degrees) == 0) == (name == "back-propagation")
