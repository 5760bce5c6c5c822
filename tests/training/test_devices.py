"""Several devices share the examples: the numbers of one device, to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import Dataset, Model, TrainState, backprop, fit, init_params, loss, train_epoch
from mlp_jax.training import epoch_order
from mlp_jax.training.devices import count_examples

DRAW = np.random.default_rng(0)
TRAIN, TEST, PIXELS = 46, 10, 6
DATA = Dataset(
    DRAW.integers(0, 256, (TRAIN, PIXELS), np.uint8),
    DRAW.integers(0, 3, TRAIN),
    DRAW.integers(0, 256, (TEST, PIXELS), np.uint8),
    DRAW.integers(0, 3, TEST),
    classes=3,
)
PARAMS = init_params(jax.random.key(0), (PIXELS, 4, 3))
OPTIMIZER = optax.sgd(0.5)


def mesh_of(*axes):
    """A mesh over both CPU devices that tests have."""
    return jax.make_mesh((2,) + (1,) * (len(axes) - 1), axes)


def same_order_on_one_device(epoch, batch_size):
    """Which example comes when, where two devices draw half of every batch each from its own half of the examples."""
    half = TRAIN // 2
    halves = [device * half + epoch_order(0, epoch, half, shard=device) for device in range(2)]
    steps = range(0, half, batch_size // 2)
    return np.concatenate([own[step : step + batch_size // 2] for step in steps for own in halves])


@pytest.mark.parametrize("rule", [backprop, jax.grad(loss)])
def test_two_devices_give_the_parameters_of_one_for_the_same_order(rule):
    """Two epochs with a last smaller batch: 23 examples on each device, 4 a step. Rounding: 2 ulp of numbers near 1."""
    history = []
    state = fit(
        PARAMS,
        DATA,
        epochs=2,
        batch_size=8,
        optimizer=OPTIMIZER,
        gradient=rule,
        mesh=mesh_of("batch"),
        callback=lambda state, metrics: history.append(metrics),
    )
    expected, costs = TrainState.start(jax.device_put(PARAMS, may_alias=False), OPTIMIZER), []
    for epoch in range(2):
        order = same_order_on_one_device(epoch, 8)
        assert sorted(order) == list(range(TRAIN))
        expected, cost = train_epoch(expected, DATA.train_images, DATA.train_labels, order, Model(), OPTIMIZER, 8, rule)
        costs.append(cost)
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=0, atol=2.4e-7), state.params, expected.params)
    np.testing.assert_allclose([metrics.loss for metrics in history], costs, rtol=1e-6)
    assert int(state.epoch) == 2
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(state)} == {1}


def test_examples_are_counted_over_processes_that_hold_different_parts():
    assert count_examples(23, None) == 23
    assert count_examples(TRAIN, mesh_of("batch")) == TRAIN  # both devices are this process's: it holds all parts


BAD = {
    "batch size is 7, which does not divide over the 2 devices of the mesh's axis batch": {"batch_size": 7},
    "mesh has the axes data: expected no other than batch": {"mesh": ("data",)},
    "mesh has the axes population, batch: expected no other than batch": {"mesh": ("population", "batch")},
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_divide_is_refused(message):
    settings = {"batch_size": 8, "mesh": ("batch",)} | BAD[message]
    with pytest.raises(ValueError, match=message):
        fit(PARAMS, DATA, batch_size=settings["batch_size"], mesh=mesh_of(*settings["mesh"]))


@pytest.mark.slow
def test_an_optimiser_that_remembers_a_random_key():
    """Its noise is the same on all devices: the parameters stay replicated."""
    noisy = optax.chain(optax.add_noise(0.01, 0.5, key=jax.random.key(0)), optax.sgd(0.1))
    state = fit(PARAMS, DATA, epochs=2, batch_size=8, optimizer=noisy, mesh=mesh_of("batch"))
    quiet = fit(PARAMS, DATA, epochs=2, batch_size=8, optimizer=optax.sgd(0.1), mesh=mesh_of("batch"))
    assert jnp.issubdtype(state.optimizer_state[0].rng_key.dtype, jax.dtypes.prng_key)
    difference = jax.tree.map(lambda p, q: float(abs(p - q).max()), state.params, quiet.params)
    assert 1e-4 < max(jax.tree.leaves(difference)) < 1


def test_axes_of_one_device_change_nothing():
    settings = {"epochs": 1, "batch_size": 8, "optimizer": OPTIMIZER}
    expected = fit(PARAMS, DATA, mesh=mesh_of("batch"), **settings).params
    jax.tree.map(
        np.testing.assert_array_equal, fit(PARAMS, DATA, mesh=mesh_of("batch", "model"), **settings).params, expected
    )
    alone = fit(PARAMS, DATA, seed=np.int64(3), **settings).params
    one = jax.make_mesh((1,), ("population",), devices=jax.devices()[:1])
    jax.tree.map(np.testing.assert_array_equal, fit(PARAMS, DATA, seed=3, mesh=one, **settings).params, alone)


def test_a_batch_that_does_not_divide_is_refused_by_the_epoch_too():
    state = TrainState.start(jax.device_put(PARAMS, may_alias=False), OPTIMIZER)
    order = np.zeros(TRAIN, np.int32)
    with pytest.raises(ValueError, match="batch size is 7: expected a multiple of the 2 devices"):
        train_epoch(state, DATA.train_images, DATA.train_labels, order, Model(), OPTIMIZER, 7, mesh=mesh_of("batch"))


def test_images_that_do_not_divide_are_refused():
    odd = Dataset(DATA.train_images[1:], DATA.train_labels[1:], DATA.test_images, DATA.test_labels, classes=3)
    with pytest.raises(ValueError, match="number of training examples is 45, which does not divide over the 2 devices"):
        fit(PARAMS, odd, batch_size=8, mesh=mesh_of("batch"))
