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
    tuple(accuracy.SETTINGS),
    ("784-16-16-10", "784-16-16-10", "784-16-16-10", "784-256-10", "784-30-10"),
    tuple(accuracy.SAID.values()),
    (
        np.array([0.951, 0.956, 0.96]),
        np.array([0.95, 0.952, 0.96]),
        np.array([0.965, 0.967]),
        np.array([0.985]),
        np.array([0.95]),
    ),
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


def test_each_row_is_a_preset_but_the_one_that_is_judged():
    for name, settings in accuracy.SETTINGS.items():
        if name == accuracy.DESCRIBED:
            assert (settings.batch_size, settings.learning_rate) == (20, 1)
            assert replace(settings, batch_size=100, learning_rate=None) == preset(Train, "lesson")
        else:
            assert settings == preset(Train, name)
    assert set(PRESETS) - {"table"} < set(accuracy.SETTINGS) == set(accuracy.SEEDS) == set(accuracy.SAID)


@pytest.mark.parametrize(
    ("less", "parts"),
    [
        ((0, 0, 0, 0, 0), [True, True]),
        ((0.002, 0, 0, 0, 0), [False, True]),
        ((0, 0, 0, 0.006, 0), [True, False]),
        ((0, 0.1, 0.1, 0, 0.1), [True, True]),
    ],
    ids=["both", "not as described", "not with tweaks", "the other rows are judged as neither"],
)
def test_each_part_of_the_claim_is_judged_on_its_own_network(less, parts):
    found = tuple(row - amount for row, amount in zip(MEASURED.accuracies, less, strict=True))
    finding = accuracy.judge(MEASURED._replace(accuracies=found))
    assert list(finding.parts.values()) == parts
    assert f"as described gets {0.956 - less[0]:.2%} of the test images right" in finding.text
    judged, _, *others = finding.table.values()
    assert judged == f"{0.956 - less[0]:.2%} (3 networks)"
    assert any(value.endswith("(one network)") for value in others)
    assert any(value.endswith("(2 networks)") for value in others)


def test_the_figure_shows_every_network():
    (panel,) = accuracy.draw(MEASURED).axes
    assert panel.get_xlabel() == "test accuracy, %"
    shown = [x for line in panel.get_lines() if line.get_label() == "a network" for x in line.get_xdata()]
    np.testing.assert_allclose(shown, 100 * np.concatenate(MEASURED.accuracies))


def test_images_of_no_known_height_are_refused():
    with pytest.raises(SubjectError, match="height and width: the data have 784 inputs"):
        accuracy.measure(replace(SMALL, image_shape=None))
