"""What `--tensorboard` keeps of an epoch."""

import json

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlp_jax import Dataset, EpochMetrics, Model, fit, init_params
from mlp_jax.arguments import Train
from mlp_jax.cli import main
from mlp_jax.commands.events import event_keeper

DRAW = np.random.default_rng(0)
IMAGES, LABELS = DRAW.integers(0, 256, (1_200, 6), dtype=np.uint8), DRAW.integers(0, 4, 1_200).astype(np.uint8)
DATASET = Dataset(IMAGES, LABELS, IMAGES[:50], LABELS[:50], classes=4)
SETTINGS = Train(epochs=4, batch_size=500)


def keeper(directory, epoch=0, settings=SETTINGS):
    return event_keeper(directory, epoch, DATASET, Model(), settings=settings, learning_rate=2.0, examples=1_200)


def read(directory):
    return EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0}).Reload()


def scalars(directory, name):
    return [(event.step, event.value) for event in read(directory).Scalars(name)]


def test_errors_are_those_of_the_first_thousand_training_images(tmp_path):
    """Of a network of one layer, whose errors are 2 (a - y) a (1 - a)."""
    params = init_params(jax.random.key(0), (6, 4))
    keeper(tmp_path)(params, EpochMetrics(epoch=1, loss=0.5, test_accuracy=0.25, seconds=2.0))
    (event,) = read(tmp_path).Histograms("layers.0/deltas")
    a = 1 / (1 + np.exp(-(IMAGES[:1_000] / 255 @ np.asarray(params[0].weights).T + np.asarray(params[0].biases))))
    deltas = 2 * (a - np.eye(4)[LABELS[:1_000]]) * a * (1 - a)
    found = event.histogram_value
    assert found.num == 4_000
    assert (found.min, found.max) == pytest.approx((deltas.min(), deltas.max()), rel=1e-5)
    assert found.sum_squares == pytest.approx((deltas**2).sum(), rel=1e-5)
    for name, number in {"cost": 0.5, "test_accuracy": 0.25, "examples_per_second": 600.0}.items():
        assert scalars(tmp_path, name) == [(1, number)]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_is_that_of_the_epochs_last_step(tmp_path, schedule):
    settings = Train(epochs=4, batch_size=500, schedule=schedule)
    keep = keeper(tmp_path, settings=settings)
    for epoch in (1, 4):
        keep(init_params(jax.random.key(0), (6, 4)), EpochMetrics(epoch, 0.5, 0.25, 2.0))
    first, last = (1 + np.cos(np.pi * 2 / 12), 1 + np.cos(np.pi * 11 / 12)) if schedule == "cosine" else (2, 2)
    assert scalars(tmp_path, "learning_rate") == [(1, pytest.approx(first)), (4, pytest.approx(last, rel=1e-5))]


def test_training_that_goes_on_is_one_curve(tmp_path):
    """As if the first had been killed after its third epoch, which was not kept for good."""
    params = init_params(jax.random.key(0), (6, 5, 4))
    for behind, last in ((0, 3), (2, 4)):
        keep = keeper(tmp_path, behind)

        def after_epoch(state, metrics, keep=keep, behind=behind):
            if metrics.epoch > behind:
                keep(state.params, metrics)

        fit(params, DATASET, epochs=last, batch_size=500, callback=after_epoch)
    assert [step for step, _ in scalars(tmp_path, "cost")] == [1, 2, 3, 4]
    events = read(tmp_path)
    for name in ("weights", "biases", "deltas"):
        assert [event.step for event in events.Histograms(f"layers.1/{name}")] == [1, 2, 3, 4]


def test_the_command_keeps_events_and_goes_on_with_them(tmp_path, capsys):
    directory, flags = tmp_path / "run", ["--schedule", "constant", "--batch-size", "1000", "--tensorboard"]
    assert main(["train", "--sizes", "784", "4", "10", "--epochs", "1", "--out", str(directory), *flags]) == 0
    assert main(["train", "--resume", str(directory), "--epochs", "2"]) == 0
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert scalars(directory, "cost") == [(line["epoch"], pytest.approx(line["loss"])) for line in lines]
    assert [event.step for event in read(directory).Histograms("layers.1/deltas")] == [1, 2]
    assert len(list(directory.glob("events.out.tfevents.*"))) == 2
