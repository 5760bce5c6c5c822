"""accuracy: against the command that trains the same networks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mlp_jax import load_dataset
from mlp_jax.cli import main
from mlp_jax.config import PRESETS, Train, preset
from mlp_jax.data import Dataset
from mlp_jax.experiments import accuracy
from mlp_jax.experiments.subject import SubjectError

MNIST = load_dataset()
SMALL = Dataset(MNIST.train.rows(slice(600)), MNIST.test.rows(slice(300)), image_shape=(28, 28, 1))
MEASURED = accuracy.Measurement(
    tuple(PRESETS),
    ("784-16-16-10", "784-16-16-10", "784-256-10", "784-30-10"),
    tuple(accuracy.SAID[name] for name in PRESETS),
    (np.array([0.95, 0.952, 0.96]), np.array([0.965, 0.967]), np.array([0.985]), np.array([0.95])),
)


@pytest.mark.parametrize("name", [pytest.param("sixteen", marks=pytest.mark.slow), "nielsen"])
def test_networks_are_those_that_the_command_trains(name, tmp_path):
    data = tmp_path / "small.npz"
    np.savez(
        data,
        x_train=SMALL.train.inputs.reshape(-1, 28, 28),
        y_train=SMALL.train.targets,
        x_test=SMALL.test.inputs.reshape(-1, 28, 28),
        y_test=SMALL.test.targets,
    )
    flags = f"--preset {name} --epochs 2 --seeds 2"
    assert main(["sweep", *flags.split(), "--data", str(data), "--out", str(tmp_path / "sweep")]) == 0
    sizes, found = accuracy.train(replace(preset(Train, name), epochs=2), SMALL, seeds=2)
    assert sizes == (784, *PRESETS[name].get("sizes", (0, 16, 16, 0))[1:-1], 10)
    for number, accuracy_found in enumerate(found):
        lines = (tmp_path / "sweep" / "members" / str(number) / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["test_accuracy"] == pytest.approx(accuracy_found, abs=1 / 300)


def test_the_claim_holds_where_both_networks_get_there():
    finding = accuracy.judge(MEASURED)
    assert finding.holds
    assert "preset sixteen 96.60% (of 2; 96.50% to 96.70%)" in finding.text
    assert "preset ninety-eight 98.50% (one network)" in finding.text
    lesson, sixteen, wide, nielsen = MEASURED.accuracies
    assert not accuracy.judge(MEASURED._replace(accuracies=(lesson, sixteen - 0.02, wide, nielsen))).holds
    assert not accuracy.judge(MEASURED._replace(accuracies=(lesson, sixteen, wide - 0.01, nielsen))).holds


def test_the_figure_shows_every_network():
    (panel,) = accuracy.draw(MEASURED).axes
    assert panel.get_xlabel() == "test accuracy, %"
    shown = [x for line in panel.get_lines() if line.get_label() == "a network" for x in line.get_xdata()]
    np.testing.assert_allclose(shown, 100 * np.concatenate(MEASURED.accuracies))


def test_images_of_no_known_height_are_refused():
    with pytest.raises(SubjectError, match="height and width: the data have 784 inputs"):
        accuracy.measure(replace(SMALL, image_shape=None))
