"""One update and one epoch against NumPy and Optax, written out step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import (
    Layer,
    Model,
    TrainState,
    backprop,
    cross_entropy,
    identity,
    init_params,
    loss,
    softmax,
    train_epoch,
    update,
)
from mlp_jax.training import as_inputs, epoch_order

EXAMPLES, PIXELS = 23, 6
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, size=(EXAMPLES, PIXELS), dtype=np.uint8)
LABELS = DRAW.integers(0, 3, size=EXAMPLES)
PARAMS = init_params(jax.random.key(0), (PIXELS, 4, 3))
RATE = 0.5


def start(optimizer, params=PARAMS):
    return TrainState.start(jax.device_put(params, may_alias=False), optimizer)


def by_numpy(order, batch_size):
    """Nielsen's algorithm, example by example in float64: the sum of the gradients of a batch, then one step."""
    layers = [[np.asarray(array, np.float64) for array in layer] for layer in PARAMS]
    costs = []
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        sums = [[np.zeros_like(array) for array in layer] for layer in layers]
        for example in batch:
            a = [IMAGES[example] / 255]
            for w, b in layers:
                a.append(1 / (1 + np.exp(-(w @ a[-1] + b))))
            y = np.eye(3)[LABELS[example]]
            costs.append(np.sum((a[-1] - y) ** 2))
            dc_da = 2 * (a[-1] - y)
            for number in (1, 0):
                delta = dc_da * a[number + 1] * (1 - a[number + 1])
                sums[number][0] += np.outer(delta, a[number])
                sums[number][1] += delta
                dc_da = layers[number][0].T @ delta
        for layer, gradient in zip(layers, sums, strict=True):
            for number in (0, 1):
                layer[number] = layer[number] - RATE * gradient[number] / len(batch)
    return tuple(Layer(*layer) for layer in layers), np.mean(costs)


@pytest.mark.parametrize("batch_size", [1, 5, 22, 23])
def test_an_epoch_is_nielsens_algorithm_with_the_last_smaller_batch(batch_size):
    order = epoch_order(0, 0, EXAMPLES)
    optimizer = optax.sgd(RATE)
    state, cost = train_epoch(start(optimizer), IMAGES, LABELS, order, Model(), optimizer, batch_size)
    expected, expected_cost = by_numpy(order, batch_size)
    assert int(state.epoch) == 1
    np.testing.assert_allclose(cost, expected_cost, rtol=1e-5)
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=2e-4, atol=1e-6), state.params, expected)


def test_an_epoch_is_a_sequence_of_updates_with_any_optimiser():
    """Adam has a memory, which must pass from step to step; its own update functions are called here one by one."""
    optimizer, model = optax.adam(0.01), Model(output=softmax, cost=cross_entropy)
    order = epoch_order(3, 1, EXAMPLES)
    state, _ = train_epoch(start(optimizer), IMAGES, LABELS, order, model, optimizer, 10)

    @jax.jit
    def step(params, memory, inputs, targets):
        change, memory = optimizer.update(jax.grad(loss)(params, inputs, targets, model), memory, params)
        return optax.apply_updates(params, change), memory

    params, memory = PARAMS, optimizer.init(PARAMS)
    for batch in (order[:10], order[10:20], order[20:]):
        params, memory = step(params, memory, IMAGES[batch] / np.float32(255), np.eye(3)[LABELS[batch]])
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=1e-4, atol=1e-6), state.params, params)


def test_update_returns_the_cost_before_its_step_and_lowers_it():
    optimizer = optax.sgd(RATE)
    inputs, targets = as_inputs(jnp.asarray(IMAGES), PARAMS), jnp.eye(3)[LABELS]
    state, before = update(start(optimizer), inputs, targets, Model(), optimizer)
    np.testing.assert_allclose(before, loss(PARAMS, inputs, targets), rtol=1e-6)
    assert loss(state.params, inputs, targets) < before


def test_any_gradient_rule_can_be_given():
    """A rule of one's own, and jax.grad; the second gives what backprop gives, to rounding."""
    optimizer = optax.sgd(RATE)
    order = epoch_order(0, 0, EXAMPLES)

    def uphill(params, inputs, targets, model):
        return jax.tree.map(jnp.negative, backprop(params, inputs, targets, model))

    results = [
        train_epoch(start(optimizer), IMAGES, LABELS, order, Model(), optimizer, EXAMPLES, rule)[0].params
        for rule in (backprop, jax.grad(loss), uphill)
    ]
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-6), results[0], results[1])
    jax.tree.map(lambda p, q, r: np.testing.assert_allclose(p + q, 2 * r, atol=1e-5), results[0], results[2], PARAMS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_parameters_keep_their_type(dtype):
    params = init_params(jax.random.key(0), (PIXELS, 4, 3), dtype=dtype)
    optimizer = optax.sgd(RATE)
    order = epoch_order(0, 0, EXAMPLES)
    state, cost = train_epoch(start(optimizer, params), IMAGES, LABELS, order, Model(), optimizer, 5)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(dtype)}
    assert np.isfinite(cost)


def test_the_buffers_of_the_state_are_donated():
    optimizer = optax.sgd(RATE)
    state = start(optimizer)
    train_epoch(state, IMAGES, LABELS, epoch_order(0, 0, EXAMPLES), Model(), optimizer, 5)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.usefixtures("as_installed")
def test_scaled_images_and_empty_batches_are_refused():
    optimizer, order = optax.sgd(RATE), epoch_order(0, 0, EXAMPLES)
    with pytest.raises(ValueError, match="images are float32: expected uint8"):
        train_epoch(start(optimizer), IMAGES.astype(np.float32), LABELS, order, Model(), optimizer, 5)
    with pytest.raises(ValueError, match="batch size is 0: expected 1 or more"):
        train_epoch(start(optimizer), IMAGES, LABELS, order, Model(), optimizer, 0)


def test_pixels_become_activations_from_0_to_1():
    inputs = as_inputs(jnp.arange(256, dtype=jnp.uint8), PARAMS)
    np.testing.assert_allclose(inputs, np.arange(256) / 255, rtol=2**-23)
    assert (inputs[0], inputs[255]) == (0, 1)


def test_the_mean_cost_of_more_examples_than_float16_counts():
    """Outputs of 0 and a wanted output of 1: a cost of 1 for each of 70,000 examples."""
    params = (Layer(jnp.zeros((2, 1), jnp.float16), jnp.zeros(2, jnp.float16)),)
    images, labels, order = np.zeros((70_000, 1), np.uint8), np.zeros(70_000, np.int32), np.arange(70_000)
    still = optax.sgd(0.0)
    state = TrainState.start(params, still)
    _, cost = train_epoch(state, images, labels, order, Model(identity, identity), still, 7_000)
    assert cost == 1
