"""Settings with a name, and what settings become. What the presets reach is tested by the experiment on accuracy."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import Layer, Model, load_dataset, quadratic
from mlp_jax.build import augment_of, data_of, model_for, optimizer_of, sizes_for, with_learning_rate
from mlp_jax.cli import main, parse
from mlp_jax.config import PRESETS, Sweep, Train, preset
from mlp_jax.data import Dataset, Examples
from mlp_jax.runs import Run


def test_a_preset_is_where_settings_begin():
    assert parse(["train", "--preset", "nielsen"]) == Train(**PRESETS["nielsen"], preset="nielsen")
    given = parse(["train", "--preset", "sixteen", "--epochs", "3", "--no-cache"])
    assert (given.epochs, given.optimizer, given.cache) == (3, "adam", False)
    assert parse(["train", "--preset", "lesson"]) == parse(["train"]) == Train()
    swept = parse(["sweep", "--preset", "ninety-eight", "--seeds", "3"])
    assert (swept.learning_rate, swept.seeds, swept.sizes) == ((0.005,), 3, (0, 256, 0))
    with pytest.raises(ValueError, match="preset"):
        parse(["train", "--preset", "seventeen"])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_model_for_both_commands(name):
    for kind in (Train, Sweep):
        settings = preset(kind, name)
        model = model_for(settings, load_dataset())
        assert (model == Model()) == (name in ("lesson", "nielsen"))


def test_the_network_of_sixteen_is_that_of_the_lessons():
    assert (Train().sizes, model_for(Train(), load_dataset()).cost) == ((0, 16, 16, 0), quadratic)
    assert not {"sizes", "cost"} & set(PRESETS["sixteen"])


def test_ends_of_0_become_what_the_data_need():
    numbers = Examples(np.zeros((4, 3)), np.zeros((4, 2)))
    dataset = Dataset(numbers, numbers)
    assert sizes_for((0, 5, 0), dataset) == (3, 5, 2)
    assert sizes_for((7, 0, 9), dataset) == (7, 0, 9)  # `check_sizes` refuses it
    assert sizes_for((0, 0), dataset) == (3, 2)


def test_learning_rate_and_weight_decay_reach_the_optimiser():
    """One step of plain SGD from gradients of 0 by hand: w - rate (0 + decay w), and biases stay."""
    params = (Layer(jnp.full((1, 2), 3.0), jnp.ones(1)),)
    zeros = (Layer(jnp.zeros((1, 2)), jnp.zeros(1)),)
    for settings, rate in (
        (Train(schedule="constant", weight_decay=0.1, learning_rate=3.0), 3.0),
        (Sweep(schedule="constant", weight_decay=0.1, learning_rate=(0.5, 2.0)), 0.5),
    ):
        optimizer = optimizer_of(settings, steps=10)
        change, _ = optimizer.update(zeros, optimizer.init(params), params)
        np.testing.assert_allclose(change[0].weights, -rate * 0.1 * 3.0, rtol=1e-6)
        np.testing.assert_array_equal(change[0].biases, 0)
    adam = with_learning_rate(Train(optimizer="adam"), Model(), (2, 1))
    rates = optimizer_of(adam, steps=10).init(params).hyperparams
    assert float(rates["learning_rate"]) == pytest.approx(0.001)
    with pytest.raises(ValueError, match=r"learning rate is -2.0: expected"):
        optimizer_of(Sweep(learning_rate=(1.0, -2.0)), steps=10)


def test_held_out_examples_are_no_test_examples():
    held = data_of(Train(validation=10_000)).held_out(10_000)
    mnist = load_dataset()
    assert (len(held.train), len(held.test)) == (50_000, 10_000)
    both = np.concatenate([held.train.inputs, held.test.inputs])
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in mnist.train.inputs)


def test_only_images_of_a_known_height_can_be_moved():
    flat = Examples(np.zeros((4, 12), np.uint8), np.arange(4) % 2)
    with pytest.raises(ValueError, match="--shift needs images of a known height and width: flat.npz has 12 numbers"):
        augment_of(Train(data="flat.npz", shift=1), Dataset(flat, flat))
    assert augment_of(Train(data="flat.npz"), Dataset(flat, flat)) is None


def test_a_run_says_how_it_was_begun_and_resumes_so(tmp_path, capsys):
    out, small = tmp_path / "run", ["--sizes", "0", "2", "0", "--epochs", "1", "--batch-size", "5000"]
    assert main(["train", "--preset", "sixteen", *small, "--validation", "50000", "--out", str(out)]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["of"] == 10_000  # the test examples
    assert set(summary) == {"validation_accuracy", "test_accuracy", "wrong", "of", "seconds", "run"}
    config = Run.open(out).config
    assert (config["preset"], config["shift"], config["epochs"]) == ("sixteen", 1, 1)
    assert main(["train", "--resume", str(out), "--epochs", "2"]) == 0
    assert Run.open(out).config["epochs"] == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["train", "--shift", "-1"], "--shift is -1: expected 0 or more"),
        (["train", "--shift", "28"], "moved by up to 28 pixels: expected 0 to 27"),
        (["train", "--validation", "60000"], "60000 training examples are to be held out: expected 1 to 59999"),
        (["train", "--validation", "-5"], "--validation is -5.0: expected 0 or more"),
        (["train", "--shift", "1", "--stream", "1000"], "leave out --shift"),
        (["sweep", "--shift", "1", "--own-batches"], "leave out --own-batches or --shift"),
    ],
)
def test_settings_that_make_no_sense_leave_nothing_behind(wrong, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(wrong) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
