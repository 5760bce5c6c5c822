"""Event files, as TensorBoard's own reader finds them."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlp_jax import Layer, Model, identity, init_params
from mlp_jax.cli import main
from mlp_jax.data.dataset import Examples
from mlp_jax.runs.tensorboard import EventWriter, deltas

PARAMS = init_params(jax.random.key(0), (4, 3, 2))
DELTAS = (np.linspace(-1, 1, 30).reshape(10, 3), np.arange(20.0).reshape(10, 2))
TAGS = {f"layers.{number}/{name}" for number in (0, 1) for name in ("weights", "biases", "deltas")}


def read(directory):
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0})
    return events.Reload()


def numbers(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_reads_what_was_written(tmp_path):
    writer = EventWriter(tmp_path / "deep" / "run")
    for epoch in (1, 2):
        numbers_of_it = {"cost": 0.5 / epoch, "test_accuracy": 0.25 * epoch, "learning_rate": None}
        writer.write(epoch, numbers_of_it, PARAMS, DELTAS)
    events = read(tmp_path / "deep" / "run")
    assert events.Tags()["scalars"] == ["cost", "test_accuracy"]
    assert numbers(events, "cost") == [(1, 0.5), (2, 0.25)]
    assert numbers(events, "test_accuracy") == [(1, 0.25), (2, 0.5)]
    assert set(events.Tags()["histograms"]) == TAGS
    arrays = {f"layers.{n}/{name}": array for n, layer in enumerate(PARAMS) for name, array in layer._asdict().items()}
    arrays |= {f"layers.{n}/deltas": delta for n, delta in enumerate(DELTAS)}
    for tag, array in arrays.items():
        first, second = events.Histograms(tag)
        assert (first.step, second.step) == (1, 2)
        array, histogram = np.asarray(array, np.float64).ravel(), first.histogram_value
        assert (histogram.min, histogram.max, histogram.num) == pytest.approx((array.min(), array.max(), array.size))
        assert (histogram.sum, histogram.sum_squares) == pytest.approx((array.sum(), (array**2).sum()), rel=1e-5)
        # As many numbers lie below each limit as the counts up to it say, but for rounding at the limit itself.
        below = [(array <= limit + 1e-6).sum() for limit in histogram.bucket_limit]
        assert all(abs(np.cumsum(histogram.bucket) - below) <= 1)
        assert sum(histogram.bucket) == array.size


@pytest.mark.parametrize("lost", [0, 7])
def test_what_a_resumed_training_does_again_is_shown_once(tmp_path, lost):
    """The first was killed after the third epoch, perhaps while it wrote; the second goes on from the second."""
    first = EventWriter(tmp_path)
    for epoch in (1, 2, 3):
        first.write(epoch, {"cost": 1.0}, PARAMS, DELTAS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size - lost])
    second = EventWriter(tmp_path, epoch=2)
    for epoch in (3, 4):
        second.write(epoch, {"cost": 2.0}, PARAMS, DELTAS)
    events = read(tmp_path)
    assert numbers(events, "cost") == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]
    assert [event.step for event in events.Histograms("layers.1/deltas")] == [1, 2, 3, 4]


def test_files_of_many_beginnings_are_read_in_their_order(tmp_path):
    for beginning in range(12):
        EventWriter(tmp_path).write(1, {"cost": float(beginning)}, PARAMS, DELTAS)
    assert len(list(tmp_path.iterdir())) == 12
    assert numbers(read(tmp_path), "cost") == [(1, 11.0)]


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5),
        np.array([7.0]),
        np.array([1.0, np.nextafter(1.0, 2)]),
        np.array([1e-45, 3e38], np.float32),
        np.array([-1e300, 0, 1e300]),
        np.array([np.nan, np.inf, 1.0, -np.inf, 2.0]),
        np.full(3, np.nan),
        np.zeros((0, 4)),
        jnp.ones((3, 4), jnp.bfloat16),
    ],
    ids=lambda values: f"{values.dtype} {values.ravel()[:3]}",
)
def test_numbers_of_any_kind_have_a_histogram(tmp_path, values):
    EventWriter(tmp_path).write(1, {}, (Layer(values, values),), (values,))
    (event,) = read(tmp_path).Histograms("layers.0/weights")
    with np.errstate(over="ignore"):
        assert event.histogram_value.num == np.isfinite(np.asarray(values).astype(np.float32)).sum()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    message = r"^event files need the package tensorboard \(.*\): pip install -e '\.\[tensorboard\]' in a clone$"
    with pytest.raises(ValueError, match=message):
        EventWriter(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_one_is_an_oserror(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        EventWriter(tmp_path / "file")


def test_errors_are_those_of_the_formula():
    """Of a network of one layer: 2 (a - y) a (1 - a) after a sigmoid, 2 (a - y) without one."""
    draw = np.random.default_rng(0)
    params = init_params(jax.random.key(0), (6, 4))
    weights, biases = (np.asarray(leaf, np.float64) for leaf in params[0])
    pixels, classes = draw.integers(0, 256, (20, 6), dtype=np.uint8), draw.integers(0, 4, 20)
    a, y = 1 / (1 + np.exp(-(pixels / 255 @ weights.T + biases))), np.eye(4)[classes]
    (found,) = deltas(params, Examples(pixels, classes), Model())
    np.testing.assert_allclose(found, 2 * (a - y) * a * (1 - a), rtol=1e-5, atol=1e-6)
    inputs, y = draw.normal(size=(20, 6)), draw.normal(size=(20, 4))
    (found,) = deltas(params, Examples(inputs, y), Model(output=identity))
    np.testing.assert_allclose(found, 2 * (inputs @ weights.T + biases - y), rtol=1e-5, atol=1e-5)


def test_the_command_keeps_events_and_goes_on_with_them(tmp_path):
    """The learning rate is that of the epoch's last step, of 60."""
    directory, flags = tmp_path / "run", ["--schedule", "cosine", "--batch-size", "1000", "--tensorboard"]
    flags += ["--sizes", "784", "4", "10", "--learning-rate", "2"]
    assert main(["train", "--epochs", "1", "--out", str(directory), *flags]) == 0
    assert main(["train", "--resume", str(directory), "--epochs", "2"]) == 0
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    events = read(directory)
    assert numbers(events, "loss") == [(line["epoch"], pytest.approx(line["loss"])) for line in lines]
    rates = [1 + np.cos(np.pi * 59 / 60), 1 + np.cos(np.pi * 119 / 120)]
    assert numbers(events, "learning_rate") == [
        (1, pytest.approx(rates[0], rel=1e-3)),
        (2, pytest.approx(rates[1], rel=1e-3)),
    ]
    for layer in (0, 1):
        (first, second) = events.Histograms(f"layers.{layer}/deltas")
        assert (first.step, second.step) == (1, 2)
        assert first.histogram_value.num == 1_000 * (4, 10)[layer]
    assert len(list(directory.glob("events.out.tfevents.*"))) == 2
