"""Several devices share the examples: what they have, in which order, and what changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import (
    KINDS,
    PARAMS,
    PICTURES,
    SETTINGS,
    TABLE,
    TRAIN,
    assert_close,
    assert_same,
    mesh_of,
    one_device_order,
    two_devices_order,
)

from mlp_jax import backprop, fit, loss
from mlp_jax.training import epoch_order
from mlp_jax.training.sharding import count_examples, place_examples, place_order, unshard


def test_the_order_of_an_epoch_is_a_permutation_that_depends_on_seed_epoch_and_shard():
    order = epoch_order(0, 0, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, epoch_order(0, 0, 1000))
    others = [epoch_order(0, 1, 1000), epoch_order(1, 0, 1000), epoch_order(0, 0, 1000, shard=1)]
    assert not any(np.array_equal(order, other) for other in others)


def test_each_device_has_an_order_of_its_own_part():
    np.testing.assert_array_equal(place_order(3, 1, TRAIN, None), one_device_order(1, 3))
    halves = [epoch_order(3, 1, TRAIN // 2, shard=device) for device in range(2)]
    np.testing.assert_array_equal(place_order(3, 1, TRAIN, mesh_of("batch")), np.concatenate(halves))
    assert sorted(two_devices_order(1, 3)) == list(range(TRAIN))
    own = place_order([3, 4], 1, TRAIN, mesh_of("population"))
    np.testing.assert_array_equal(own, [one_device_order(1, 3), one_device_order(1, 4)])


def test_examples_are_split_whatever_they_are():
    for data in KINDS.values():
        placed = place_examples(data.train, mesh_of("batch"))
        assert all(len(leaf.devices()) == 2 for leaf in jax.tree.leaves(placed))
        assert_same(jax.tree.map(np.asarray, unshard(placed)), jax.tree.map(np.asarray, jax.device_put(data.train)))


def test_examples_are_counted_over_processes_that_hold_different_parts():
    assert count_examples(23, None) == 23
    assert count_examples(TRAIN, mesh_of("batch")) == TRAIN  # both devices are this process's: it holds all parts


def test_automatic_differentiation_on_two_devices():
    """`shard_map` must not sum its gradient over the devices by itself."""
    found = [
        fit(PARAMS, TABLE, gradient=rule, mesh=mesh_of("batch"), **SETTINGS) for rule in (backprop, jax.grad(loss))
    ]
    assert_close(found[0].params, found[1].params)
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(found)} == {1}


@pytest.mark.slow
def test_an_optimiser_that_remembers_a_random_key():
    """Its noise is the same on all devices: the parameters stay replicated."""
    settings = {"epochs": 2, "batch_size": 8, "mesh": mesh_of("batch")}
    noisy = optax.chain(optax.add_noise(0.01, 0.5, key=jax.random.key(0)), optax.sgd(0.1))
    state = fit(PARAMS, PICTURES, optimizer=noisy, **settings)
    quiet = fit(PARAMS, PICTURES, optimizer=optax.sgd(0.1), **settings)
    assert jnp.issubdtype(state.optimizer_state[0].rng_key.dtype, jax.dtypes.prng_key)
    difference = jax.tree.map(lambda p, q: float(abs(p - q).max()), state.params, quiet.params)
    assert 1e-4 < max(jax.tree.leaves(difference)) < 1


@pytest.mark.usefixtures("an_epoch_a_call")
def test_axes_of_one_device_change_nothing():
    expected = fit(PARAMS, TABLE, mesh=mesh_of("batch"), **SETTINGS).params
    assert_same(fit(PARAMS, TABLE, mesh=mesh_of("batch", "model"), **SETTINGS).params, expected)
    one = jax.make_mesh((1,), ("population",), devices=jax.devices()[:1])
    alone = fit(PARAMS, TABLE, seed=np.int64(3), **SETTINGS).params
    assert_same(fit(PARAMS, TABLE, seed=3, mesh=one, **SETTINGS).params, alone)
