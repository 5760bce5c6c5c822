"""What is named when numbers stop being finite: the first that did, wherever training ran and whatever it took."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import (
    BATCH,
    KINDS,
    MODEL,
    PARAMS,
    PICTURES,
    RATE,
    SETTINGS,
    SGD,
    TABLE,
    TRAIN,
    WEIGHTED,
    assert_same,
    each_kind,
    mesh_of,
    one_device_order,
)

from mlp_jax import (
    Activation,
    DivergenceError,
    Model,
    Plan,
    TrainState,
    backprop,
    fit,
    fit_population,
    identity,
    init_params,
    init_population,
    sigmoid,
)
from mlp_jax.training.divergence import first_failure
from mlp_jax.training.sharding import place_order

DEEP = init_params(jax.random.key(0), (6, 4, 4, 3))


def named(params=DEEP, model=Model(), optimizer=SGD, gradient=backprop, mesh=None, data=PICTURES):
    state, order = TrainState.start(params, optimizer), place_order(0, 0, TRAIN, mesh)
    return first_failure(state, data.train, order, Plan(model, optimizer, BATCH, gradient, mesh))


def with_weights(layer, value):
    return tuple(p._replace(weights=p.weights + value) if number == layer else p for number, p in enumerate(DEEP))


def with_biases(gradient, layer, change):
    return tuple(g._replace(biases=change(g.biases)) if number == layer else g for number, g in enumerate(gradient))


def infinite_in_layer_1(params, inputs, targets, model, weights=None):
    return with_biases(backprop(params, inputs, targets, model, weights), 1, lambda biases: biases + np.inf)


def nan_everywhere(z):
    return jnp.full_like(z, jnp.nan)


NAN = Activation(nan_everywhere, jnp.ones_like)
LINEAR = Model(identity, identity)
OVERFLOW = optax.chain(optax.scale(-1e38), optax.scale(1e10))
VAST = optax.chain(optax.scale(1e25), optax.scale_by_adam())
"""The square of a gradient overflows: Adam divides by infinity, and parameters and cost stand still, finite."""

CASES = {
    "": {},
    "weights of layers.0 in mini-batch 1 of 6": {"params": with_weights(0, np.nan)},
    "weights of layers.2 in mini-batch 1 of 6": {"params": with_weights(2, np.inf)},
    "weighted sums of layers.2 in mini-batch 1 of 6": {"params": with_weights(2, 3e38)},
    "activations of layers.2 in mini-batch 1 of 6": {"model": Model(sigmoid, NAN)},
    "cost in mini-batch 1 of 6": {"params": with_weights(2, 1e25), "model": LINEAR},
    "gradient of the biases of layers.1 in mini-batch 1 of 6": {"gradient": infinite_in_layer_1},
    "parameters of layers.0 in mini-batch 1 of 6": {"optimizer": OVERFLOW},
    "optimiser's memory in mini-batch 1 of 6": {"optimizer": VAST},
}
ON_MESH = ("", "cost in mini-batch 1 of 6", "gradient of the biases of layers.1 in mini-batch 1 of 6")


@pytest.mark.parametrize(("first", "axes"), [(name, ()) for name in CASES] + [(name, ("batch",)) for name in ON_MESH])
def test_the_first_that_is_not_finite_is_named(first, axes):
    assert named(**CASES[first], mesh=mesh_of(*axes) if axes else None) == first


def test_the_mini_batch_is_counted():
    """The rule is wrong from the third mini-batch on, where a bias has passed a limit that it reaches by steps of 1."""

    def rule(params, inputs, targets, model):
        late = params[1].biases[0] < DEEP[1].biases[0] - 1.5
        still = jax.tree.map(jnp.zeros_like, params)
        return with_biases(still, 1, lambda biases: jnp.where(late, jnp.nan, 1 + biases))

    expected = "gradient of the biases of layers.1 in mini-batch 3 of 6"
    assert named(gradient=rule, optimizer=optax.sgd(1.0)) == expected


@each_kind
def test_fit_says_where_for_every_kind_of_examples(kind):
    with pytest.raises(
        DivergenceError, match=r"in epoch 1 .*, first the gradient of the biases of layers\.1 in mini-b"
    ):
        fit(PARAMS, KINDS[kind], gradient=infinite_in_layer_1, **SETTINGS)


@pytest.mark.parametrize("way", [{"stream": 16}, {"mesh": mesh_of("batch")}], ids=["stream", "mesh"])
def test_fit_says_where_of_streams_and_on_meshes(way):
    """Of weighted numbers."""
    with pytest.raises(
        DivergenceError, match=r"in epoch 1 .*, first the gradient of the biases of layers\.1 in mini-b"
    ):
        fit(PARAMS, KINDS["pixels-numbers-weights"], gradient=infinite_in_layer_1, **SETTINGS, **way)


def test_training_that_explodes_stops_with_the_last_good_state():
    """A rate that is fine for one epoch of six steps and then far too high, and float inputs and targets."""
    rate = optax.piecewise_constant_schedule(0.002, {6: 1e30})
    kept = []
    message = (
        r"in epoch 2 numbers stopped being finite, first the weighted sums of layers\.1 in mini-batch \d of 6: lower "
        "the learning rate; the parameters of 1 epochs of training are the last good ones"
    )
    with pytest.raises(DivergenceError, match=message) as error:
        fit(
            PARAMS,
            TABLE,
            LINEAR,
            epochs=3,
            batch_size=BATCH,
            optimizer=optax.sgd(rate),
            callback=lambda state, _: kept.append(state),
        )
    assert int(error.value.state.epoch) == 1
    assert_same(error.value.state, kept[-1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.value.state))


def test_what_overflows_behind_a_finite_cost_is_noticed():
    """One step an epoch: its cost is that before the step, parameters and memory are those after it."""
    for optimizer, first in ((OVERFLOW, r"parameters of layers\.0"), (VAST, "optimiser's memory")):
        with pytest.raises(DivergenceError, match=f"first the {first} in mini-batch 1 of 1") as error:
            fit(PARAMS, PICTURES, MODEL, epochs=1, batch_size=TRAIN, optimizer=optimizer)
        assert_same(error.value.state.params, PARAMS)


def test_a_member_that_diverges_leaves_the_others_alone():
    population = init_population((5, 0, 3, 1), (6, 4, 3))
    train = partial(fit_population, population, WEIGHTED, **SETTINGS)
    _, metrics = train(hyperparams={"learning_rate": [0.001, 1e30, 0.002, 1e30]})
    for numbers in metrics[1:4]:
        np.testing.assert_array_equal(np.isnan(numbers), [False, True, False, True])
    assert set(metrics.ranking) == {0, 2}
    assert metrics.best in (0, 2)
    low, median, high = metrics.spread
    assert low <= median <= high == metrics.score[metrics.best]
    message = (
        r"in epoch 1 the last of 4 members stopped being finite, in member \d first the .* in mini-batch \d of 6: "
    )
    with pytest.raises(DivergenceError, match=message) as error:
        train(hyperparams={"learning_rate": [1e30] * 4})
    assert_same(error.value.state.params, population)
    with pytest.raises(DivergenceError, match=r"in epoch 1 the last of 4 members stopped being finite: lower"):
        train(hyperparams={"learning_rate": [1e30] * 4}, mesh=mesh_of("batch", "population"))


def test_a_population_of_one_says_what_diverged():
    one = init_population((5,), (6, 4, 3))
    with pytest.raises(DivergenceError, match=r"in epoch 1 the last of 1 members .*, in member 0 first the") as error:
        fit_population(one, TABLE, hyperparams={"learning_rate": [1e30]}, **SETTINGS)
    assert_same(error.value.state.params, one)


def test_weights_are_looked_at_again():
    """By a rule that is wrong for a weight that few examples have."""

    def rule(params, inputs, targets, model, weights):
        wrong = jnp.where(jnp.any(weights == 0.5), jnp.inf, 0)
        return with_biases(backprop(params, inputs, targets, model, weights), 1, lambda biases: biases + wrong)

    first = np.flatnonzero(WEIGHTED.train.weights[one_device_order(0)] == 0.5)[0] // BATCH + 1
    with pytest.raises(DivergenceError, match=rf"gradient of the biases of layers\.1 in mini-batch {first} of 6"):
        fit(PARAMS, WEIGHTED, gradient=rule, **SETTINGS)


def test_the_last_member_is_followed_in_its_own_order():
    """A bias falls by the rate in each step; the second member meets an example that is wrong from epoch 2 on."""

    def rule(params, inputs, targets, model):
        steps = (PARAMS[0].biases[0] - params[0].biases[0]) / RATE
        wrong = (steps > 5.5) & jnp.any(inputs == TABLE.train.inputs[5])
        still = jax.tree.map(jnp.zeros_like, params)
        return with_biases(still, 0, lambda biases: jnp.where(wrong, jnp.inf, 1 + biases))

    both, seeds = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), PARAMS), (7, 9)
    first, expected = (int(np.flatnonzero(one_device_order(1, seed) == 5)[0]) // BATCH + 1 for seed in seeds)
    assert first != expected
    message = rf"in epoch 2 .*, in member 1 first the gradient of the biases of layers\.0 in mini-batch {expected} of 6"
    with pytest.raises(DivergenceError, match=message):
        fit_population(both, TABLE, gradient=rule, seed=seeds, hyperparams={"learning_rate": [1e38, RATE]}, **SETTINGS)


def test_a_memory_that_begins_with_infinity_has_not_diverged():
    """The lowest cost so far, for instance."""
    lowest = optax.GradientTransformation(
        lambda _: jnp.inf * jnp.ones(()), lambda updates, state, _=None: (updates, state)
    )
    state = fit(PARAMS, TABLE, **SETTINGS | {"optimizer": optax.chain(lowest, SGD)})
    assert state.optimizer_state[0] == jnp.inf
