"""fit: what it learns, that it repeats itself, what it hands out, and how it fails."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import (
    Dataset,
    DivergenceError,
    Model,
    TrainState,
    backprop,
    evaluate,
    fit,
    identity,
    init_params,
    load_dataset,
    loss,
)
from mlp_jax.training import epoch_order

MNIST = load_dataset()
SMALL = Dataset(MNIST.train_images[:1050], MNIST.train_labels[:1050], MNIST.test_images[:500], MNIST.test_labels[:500])
PARAMS = init_params(jax.random.key(0))


def same_bits(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), one, other))


def test_the_order_of_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch():
    order = epoch_order(0, 0, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, epoch_order(0, 0, 1000))
    assert not any(np.array_equal(order, epoch_order(*other, 1000)) for other in ((0, 1), (1, 0)))


def test_fit_learns_and_says_how():
    history = []
    state = fit(PARAMS, SMALL, epochs=5, batch_size=10, callback=lambda state, metrics: history.append(metrics))
    assert [metrics.epoch for metrics in history] == [1, 2, 3, 4, 5]
    assert int(state.epoch) == 5
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].test_accuracy > 0.7
    answers = evaluate(state.params, SMALL.test_images, SMALL.test_labels)
    assert history[-1].test_accuracy == answers.accuracy == 1 - answers.wrong / 500
    assert all(metrics.seconds > 0 for metrics in history)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (fit(PARAMS, SMALL, epochs=2, seed=seed).params for seed in (5, 5, 6))
    assert same_bits(first, again)
    assert not same_bits(first, other)


def test_the_same_bits_in_another_process():
    code = (
        "import hashlib, jax, numpy as np; from tests.training.test_loop import *;"
        "params = fit(PARAMS, SMALL, epochs=2).params;"
        "print(hashlib.sha256(b''.join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))).hexdigest())"
    )
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, other = (process.communicate(timeout=100)[0] for process in processes)
    assert len(one) == 65
    assert one == other


def test_automatic_differentiation_trains_to_the_same_numbers():
    by_hand, automatic = (fit(PARAMS, SMALL, epochs=1, gradient=rule) for rule in (backprop, jax.grad(loss)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), by_hand.params, automatic.params)


def test_what_the_callback_gets_is_its_own_to_keep_and_a_true_answer_stops():
    kept = []

    def keep(state, metrics):
        kept.append(state)
        return metrics.epoch == 2

    final = fit(PARAMS, SMALL, epochs=5, callback=keep)
    assert [int(state.epoch) for state in kept] == [1, 2]
    assert same_bits(final, kept[-1])
    assert not same_bits(kept[0].params, kept[1].params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((PARAMS, kept)))  # none was donated


@pytest.mark.parametrize("optimizer", [None, optax.adam(1e-3)], ids=["sgd, cosine", "adam"])
def test_what_goes_on_from_a_state_ends_with_the_bits_of_what_never_stopped(optimizer):
    states = []
    whole = fit(PARAMS, SMALL, epochs=4, optimizer=optimizer, callback=lambda state, metrics: states.append(state))
    epochs = []
    on_disk = jax.tree.map(np.asarray, states[1])
    rest = fit(on_disk, SMALL, epochs=4, optimizer=optimizer, callback=lambda _, metrics: epochs.append(metrics.epoch))
    assert epochs == [3, 4]
    assert same_bits(rest, whole)


def test_a_state_that_training_cannot_go_on_from_is_refused():
    state = fit(PARAMS, SMALL, epochs=1, optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match="1 of 1 epochs are behind the state already, and none is left: ask for more"):
        fit(state, SMALL, epochs=1, optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match="the state is one of another optimiser: it remembers .* but this one"):
        fit(state, SMALL, epochs=2, optimizer=optax.adam(0.1))


def test_an_optimizer_that_loses_its_memory_to_infinity_is_noticed():
    """The square of a gradient overflows: Adam divides by infinity, and parameters and cost stand still, finite."""
    vast = optax.chain(optax.scale(1e25), optax.scale_by_adam())
    with pytest.raises(DivergenceError, match="first the optimiser's memory in mini-batch 1 of 11"):
        fit(PARAMS, SMALL, epochs=1, optimizer=vast)


EXPLODED = (
    r"in epoch 2 numbers stopped being finite, first the weighted sums of layers\.1 in mini-batch \d of 11: "
    "lower the learning rate; .* of 1 epochs"
)


def test_a_cost_that_explodes_stops_training_with_the_last_good_state():
    """Linear neurons and the quadratic cost with a rate that is fine for one epoch and then far too high."""
    rate = optax.piecewise_constant_schedule(1e-4, {11: 1e30})
    history = []
    with pytest.raises(DivergenceError, match=EXPLODED) as error:
        fit(
            PARAMS,
            SMALL,
            Model(identity, identity),
            epochs=3,
            optimizer=optax.sgd(rate),
            callback=lambda state, metrics: history.append(state),
        )
    assert int(error.value.state.epoch) == 1
    assert same_bits(error.value.state, history[-1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.value.state))


def test_parameters_that_overflow_behind_a_finite_cost_are_noticed():
    """One step an epoch: its cost is that before the step, the parameters those after it."""
    overflow = optax.chain(optax.scale(-1e38), optax.scale(1e10))
    with pytest.raises(DivergenceError, match=r"first the parameters of layers\.0 in mini-batch 1 of 1") as error:
        fit(PARAMS, SMALL, epochs=1, batch_size=1050, optimizer=overflow)
    assert same_bits(error.value.state.params, PARAMS)


BAD = {
    r"sizes are \(700, 16, 10\), but the data have 784 pixels and 10 classes: .* start at 784": {
        "sizes": (700, 16, 10)
    },
    r"sizes are \(784, 9\), .* end at 10": {"sizes": (784, 9)},
    "batch size is 0: expected 1 to 1050": {"batch_size": 0},
    "batch size is 1051: expected 1 to 1050": {"batch_size": 1051},
    "number of epochs is 0: expected 1 or more": {"epochs": 0},
    "seed is -1: expected 0 to": {"seed": -1},
}


@pytest.mark.parametrize("message", BAD)
def test_settings_that_cannot_be_are_refused(message):
    settings = dict(BAD[message])
    params = init_params(jax.random.key(0), settings.pop("sizes", (784, 16, 10)))
    with pytest.raises(ValueError, match=message):
        fit(params, SMALL, **settings)


def test_evaluation_counts_answers_by_class():
    result = evaluate(PARAMS, SMALL.test_images, SMALL.test_labels)
    np.testing.assert_array_equal(result.confusion.sum(axis=1), np.bincount(SMALL.test_labels, minlength=10))
    assert result.wrong == 500 - np.trace(result.confusion)
    inputs, targets = SMALL.test_images / np.float32(255), np.eye(10, dtype=np.float32)[SMALL.test_labels]
    np.testing.assert_allclose(result.loss, loss(PARAMS, inputs, targets), rtol=1e-5)


@pytest.mark.usefixtures("as_installed")
def test_evaluation_refuses_scaled_images_and_labels_out_of_range():
    with pytest.raises(ValueError, match="images are float32: expected uint8, from 0 to 255"):
        evaluate(PARAMS, SMALL.test_images / np.float32(255), SMALL.test_labels)
    with pytest.raises(ValueError, match="labels run from -1 to 8: expected 0 to 9"):
        evaluate(PARAMS, SMALL.test_images, SMALL.test_labels - 1)


@pytest.mark.slow
def test_the_default_run_reaches_its_accuracy():
    """Median over seeds 0 to 7 of the test accuracy after 30 epochs of 784-16-16-10 with its default settings."""
    accuracies = []
    for seed in range(8):
        state = fit(init_params(jax.random.key(seed)), MNIST, seed=seed)
        accuracies.append(evaluate(state.params, MNIST.test_images, MNIST.test_labels).accuracy)
    print("test accuracy of seeds 0 to 7:", accuracies)
    assert np.median(accuracies) >= 0.947


def noisy(images, seed):
    """Another lot of images for every seed."""
    return images ^ np.random.default_rng(seed).integers(0, 32, images.shape).astype(np.uint8)


def test_augmented_images_are_those_of_their_epoch():
    state = fit(PARAMS, SMALL, epochs=2, augment=noisy, optimizer=optax.sgd(1.0))
    by_hand = PARAMS
    for epoch in range(2):
        data = replace(SMALL, train_images=noisy(SMALL.train_images, (0, epoch, 0, 1)))
        before = TrainState.start(by_hand, optax.sgd(1.0))._replace(epoch=jnp.int32(epoch))
        by_hand = fit(before, data, epochs=epoch + 1, optimizer=optax.sgd(1.0)).params
    assert same_bits(state.params, by_hand)


def test_training_on_augmented_images_goes_on_to_the_same_bits():
    settings = {"augment": noisy, "optimizer": optax.sgd(1.0)}
    half = fit(PARAMS, SMALL, epochs=1, **settings)
    assert same_bits(fit(half, SMALL, epochs=2, **settings), fit(PARAMS, SMALL, epochs=2, **settings))


def test_images_are_not_both_streamed_and_augmented():
    with pytest.raises(ValueError, match="both streamed and augmented"):
        fit(PARAMS, SMALL, epochs=1, stream=400, augment=noisy)
