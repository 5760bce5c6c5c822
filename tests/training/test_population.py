"""Populations against `fit`, member by member."""

import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import (
    MODEL,
    PICTURES,
    RATE,
    SETTINGS,
    SIZES,
    TABLE,
    TRAIN,
    WEIGHTED,
    assert_close,
    assert_same,
    mesh_of,
)

from mlp_jax import (
    Activation,
    Model,
    Plan,
    backprop,
    cross_entropy,
    fit,
    fit_population,
    init_params,
    init_population,
    loss,
    make_optimizer,
    softmax,
)
from mlp_jax.training import member, start_population, train_population
from mlp_jax.training.little import WORK

SEEDS = (5, 0, 3, 1)
POPULATION = init_population(SEEDS, SIZES)
RATES = (RATE / 2, RATE, RATE * 1.5, RATE * 2)


def alone(number, data=TABLE, **settings):
    """What `fit` makes of the member, and its last metrics."""
    history = []
    settings = SETTINGS | {"optimizer": make_optimizer("sgd", RATES[number])} | settings
    state = fit(member(POPULATION, number), data, callback=lambda _, metrics: history.append(metrics), **settings)
    return state, history[-1]


def test_members_start_as_networks_of_their_own():
    for number, seed in enumerate(SEEDS):
        jax.tree.map(
            np.testing.assert_array_equal, member(POPULATION, number), init_params(jax.random.key(seed), SIZES)
        )
    scaled = init_population(SEEDS, SIZES, scales=[1, 2, 0.5, 0])
    np.testing.assert_array_equal(scaled[0].weights[1], 2 * POPULATION[0].weights[1])
    np.testing.assert_array_equal(scaled[1].weights[3], np.zeros((3, 4)))
    np.testing.assert_array_equal(scaled[0].biases, POPULATION[0].biases)


def leaky(slope):
    value, derivative = (lambda z: jnp.where(z > 0, z, slope * z)), (lambda z: jnp.where(z > 0, 1, slope))
    return Model(Activation(value, lambda z: derivative(z).astype(z.dtype)), MODEL.output)


DEFAULTS = {"model": Model(), "optimizer": None}
# The data, what both get, what the population gets, and what `fit` gets.
ONE = {
    "rate": (TABLE, {}, {"hyperparams": {"learning_rate": RATES[:1]}}, {}),
    "defaults": (PICTURES, DEFAULTS, {}, {}),
    "weights": (WEIGHTED, {"gradient": jax.grad(loss)}, {"hyperparams": {"learning_rate": RATES[:1]}}, {}),
    "Adam": (
        TABLE,
        {},
        {"optimizer": optax.adam, "hyperparams": {"learning_rate": [0.1], "b1": [0.9]}, "seed": np.arange(3, 4)},
        {"optimizer": optax.adam(0.1, b1=0.9), "seed": np.int64(3)},
    ),
    "values of the model": (
        TABLE,
        {"optimizer": SETTINGS["optimizer"]},
        {"model": leaky, "model_params": {"slope": [0.1]}},
        {"model": leaky(0.1)},
    ),
}


@pytest.mark.parametrize("work", [0, WORK])
@pytest.mark.parametrize("name", ONE)
def test_a_population_of_one_is_fit_bit_for_bit(name, work, monkeypatch):
    """Of Adam's b1, what is 1 - b1 must not have been through float32."""
    monkeypatch.setattr("mlp_jax.training.little.WORK", work)
    data, both, given, of_fit = ONE[name]
    one, kept = init_population(SEEDS[:1], SIZES), []
    state, metrics = fit_population(one, data, **SETTINGS | both | given, callback=lambda *now: kept.append(now))
    expected, last = alone(0, data, **both | of_fit)
    jax.tree.map(np.testing.assert_array_equal, member(state, 0), expected)
    assert_same(kept[-1], (state, metrics))
    assert [metrics.epoch for _, metrics in kept] == [1, 2]
    for number, expected_number in zip(metrics[1:5], last[1:5], strict=True):
        assert number is expected_number or (number.shape == (1,) and number[0] == expected_number)


def test_any_hyperparameter_and_those_of_activations():
    """Adam's momentum and the slope of a leaky ReLU, which differ from member to member."""
    slopes, momenta = [0, 0.1, 0.2, 0.5], [0, 0.5, 0.9, 0.99]
    hyperparams = {"learning_rate": [0.01] * 4, "b1": momenta}
    settings = SETTINGS | {"optimizer": optax.adam, "hyperparams": hyperparams, "model_params": {"slope": slopes}}
    state, _ = fit_population(POPULATION, TABLE, **settings | {"model": leaky})
    expected, _ = alone(2, model=leaky(0.2), optimizer=optax.adam(0.01, b1=0.9))
    assert_close(member(state.params, 2), expected.params, 2e-5)  # Adam divides by what may be small
    assert not np.allclose(member(state.params, 3)[0].weights, member(state.params, 2)[0].weights)
    np.testing.assert_allclose(state.optimizer_state.hyperparams["b1"], momenta)


def test_weight_decay_of_each_member():
    optimizer = make_optimizer("sgd", RATE, weight_decay=1.0)
    settings = SETTINGS | {"optimizer": optimizer, "hyperparams": {"weight_decay": [0, 1, 2, 3]}}
    state, _ = fit_population(POPULATION, WEIGHTED, **settings)
    for number in (0, 3):
        of_fit = {"optimizer": make_optimizer("sgd", RATE, weight_decay=float(number))}
        assert_close(member(state.params, number), alone(number, WEIGHTED, **of_fit)[0].params)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [("batch",), ("population", "batch")])
def test_other_meshes(axes):
    settings = SETTINGS | {"hyperparams": {"learning_rate": RATES}}
    state, metrics = fit_population(POPULATION, TABLE, mesh=mesh_of(*axes), **settings)
    expected, last = alone(1, mesh=mesh_of("batch") if axes[0] == "batch" else None)
    assert_close(member(state.params, 1), expected.params)
    assert metrics.score[1] == pytest.approx(last.score, rel=1e-5)


@pytest.mark.slow
def test_one_member_on_a_mesh_of_one_device():
    one, mesh = init_population(SEEDS[:1], SIZES), jax.make_mesh((1,), ("population",), devices=jax.devices()[:1])
    settings = SETTINGS | {"hyperparams": {"learning_rate": RATES[:1]}}
    state, _ = fit_population(one, TABLE, mesh=mesh, **settings)
    assert_close(member(state.params, 0), alone(0)[0].params)


@pytest.mark.slow
def test_hyperparameters_in_the_type_of_the_parameters():
    """Momentum, which enters the optimiser's state, in bfloat16."""
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), POPULATION)
    hyperparams = {"learning_rate": RATES, "momentum": [0.5, 0.9, 0, 0.1]}
    settings = SETTINGS | {"optimizer": optax.sgd, "hyperparams": hyperparams}
    state, metrics = fit_population(half, TABLE, **settings)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    assert np.isfinite(metrics.loss).all()


def test_the_callback_may_keep_what_it_gets_and_stops():
    kept = []

    def keep(state, metrics):
        kept.append(state)
        return metrics.epoch == 2

    state, metrics = fit_population(POPULATION, TABLE, callback=keep, **SETTINGS | {"epochs": 5})
    assert (metrics.epoch, len(kept)) == (2, 2)
    assert_same(state, kept[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((kept, POPULATION)))  # none was donated


BAD = {
    r"learning_rate has shape \(3,\) for 4 members: give one value for each, \(4,\)": {
        "hyperparams": {"learning_rate": RATES[:3]}
    },
    r"learning_rate has shape \(\) for 4 members": {"hyperparams": {"learning_rate": 0.1}},
    r"b1 has shape \(2,\) for 1 members": {
        "params": init_population((1,), SIZES),
        "optimizer": optax.adam,
        "hyperparams": {"b1": (0.1, 0.2)},
    },
    "there are 2 seeds for 4 members: give one for each, or one for all": {"seed": (1, 2)},
    "seed is -1: expected 0 to": {"seed": (1, 2, 3, -1)},
    "batch size is 47: expected 1 to 46": {"batch_size": 47},
    "the optimiser's state has no b1: expected no names at all": {
        "optimizer": optax.sgd(0.1),
        "hyperparams": {"b1": RATES},
    },
    "the model is one for all members, but there are values of slope: give a function": {
        "model_params": {"slope": RATES}
    },
    "targets are from .* but the cost takes 0 to 1": {"model": Model(output=softmax, cost=cross_entropy)},
    "targets are from .* but the output activation gives 0 to 1": {
        "model": lambda slope: Model(leaky(slope).hidden),
        "model_params": {"slope": RATES},
    },
}


@pytest.mark.parametrize("message", BAD)
def test_settings_that_do_not_go_together_are_refused(message):
    settings = {"params": POPULATION} | SETTINGS | BAD[message]
    with pytest.raises(ValueError, match=message):
        fit_population(settings.pop("params"), TABLE, **settings)


def test_populations_that_are_none_are_refused():
    with pytest.raises(ValueError, match="no seeds: give one for each member"):
        init_population([], SIZES)
    with pytest.raises(ValueError, match=r"scales has shape \(2,\) for 4 members"):
        init_population(SEEDS, SIZES, scales=[1, 2])
    with pytest.raises(ValueError, match=r"shapes \(4, 6\), .* expected \(members, n_out, n_in\)"):
        fit_population(member(POPULATION, 0), TABLE)
    with pytest.raises(ValueError, match="scales are .* expected finite numbers"):
        init_population(SEEDS, SIZES, scales=[1, 2, float("nan"), 1])
    with pytest.raises(ValueError, match=r"shapes \(0, 4, 6\), .* expected"):
        fit_population(jax.tree.map(lambda leaf: leaf[:0], POPULATION), TABLE)
    three = init_population(SEEDS[:3], SIZES)
    with pytest.raises(ValueError, match="number of members is 3, which does not divide over the 2 devices"):
        fit_population(three, TABLE, MODEL, batch_size=8, mesh=mesh_of("population"))


def test_a_rule_without_weights_is_refused_if_there_are_some():
    def rule(params, inputs, targets, model):
        raise AssertionError

    with pytest.raises(ValueError, match="the gradient rule rule takes none"):
        fit_population(POPULATION, WEIGHTED, gradient=rule, **SETTINGS)


@pytest.mark.slow
def test_any_gradient_rule():
    def uphill(params, inputs, targets, model):
        return jax.tree.map(jnp.negative, backprop(params, inputs, targets, model))

    down, up = (
        fit_population(POPULATION, TABLE, gradient=rule, **SETTINGS | {"epochs": 1, "batch_size": TRAIN})[0].params
        for rule in (backprop, uphill)
    )
    jax.tree.map(lambda p, q, r: np.testing.assert_allclose(p + q, 2 * r, atol=1e-5), down, up, POPULATION)


@pytest.mark.slow
def test_memory_grows_by_parameters_and_activations_not_by_copies_of_the_data():
    """What the compiled epoch holds besides what it is given and gives back, for 60,000 images of 784 pixels."""
    sizes, batch_size = (784, 16, 16, 10), 100
    plan = Plan(Model(), optax.sgd(0.5), batch_size)

    def temporary(members, examples):
        state = start_population(init_population(range(members), sizes), plan.optimizer)
        inputs, classes = jnp.zeros((examples, 784), jnp.uint8), jnp.zeros(examples, jnp.int32)
        lowered = train_population.lower(state, inputs, classes, jnp.zeros(examples, jnp.int32), plan)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    inputs, numbers = 4 * batch_size * 784, 4 * (13_002 + batch_size * sum(sizes[1:]))  # of a batch; of a member
    few, many, of_fewer_examples = temporary(2, 60_000), temporary(8, 60_000), temporary(8, 6_000)
    assert many <= 2 * inputs + 4 * 8 * numbers
    assert many - few <= 4 * 6 * numbers
    assert many - of_fewer_examples <= 8 * 54_000  # the order, and a cost a step


# What each of two processes of two devices runs. The first axis of the mesh lies across the processes.
ONE_OF_TWO = """
import sys, jax, numpy as np
address, index, out, *axes = sys.argv[1:]
jax.distributed.initialize(address, 2, int(index))
from dataclasses import replace
from small import SETTINGS, TRAIN, WEIGHTED
from test_population import POPULATION, RATES, fit_population
mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2), axes)
half = slice(int(index) * TRAIN // 2, (int(index) + 1) * TRAIN // 2) if axes[0] == "batch" else slice(None)
data = replace(WEIGHTED, train=WEIGHTED.train.rows(half))
state, metrics = fit_population(POPULATION, data, hyperparams={"learning_rate": RATES}, mesh=mesh, **SETTINGS)
np.savez(out, *jax.tree.leaves(state.params), loss=metrics.loss, score=metrics.score)
"""


@pytest.mark.slow
@pytest.mark.parametrize("axes", [("batch", "population"), ("population", "batch")])
def test_two_processes(axes, tmp_path):
    """The first axis of the mesh lies across the processes, the second across the two devices of each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    files = [tmp_path / f"{index}.npz" for index in range(2)]
    commands = [[sys.executable, "-c", ONE_OF_TWO, address, str(index), str(files[index]), *axes] for index in range(2)]
    running = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        assert [process.wait(timeout=200) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    expected, metrics = fit_population(
        POPULATION, WEIGHTED, hyperparams={"learning_rate": RATES}, mesh=mesh_of("batch"), **SETTINGS
    )
    for file in files:
        with np.load(file) as found:
            assert_close([found[f"arr_{number}"] for number in range(4)], jax.tree.leaves(expected.params))
            assert_close([found["loss"], found["score"]], [metrics.loss, metrics.score])


def noisy(inputs, seed):
    """Other inputs for every seed."""
    return inputs + np.random.default_rng(seed).normal(size=inputs.shape).astype(inputs.dtype) / 16


def test_members_see_the_augmented_inputs_that_fit_shows():
    state, _ = fit_population(POPULATION, TABLE, hyperparams={"learning_rate": RATES}, augment=noisy, **SETTINGS)
    for number in (0, 3):
        assert_close(member(state, number).params, alone(number, augment=noisy)[0].params)


def test_members_with_orders_of_their_own_cannot_share_augmented_inputs():
    with pytest.raises(ValueError, match="to be augmented, but they are the same for 4 seeds"):
        fit_population(POPULATION, TABLE, seed=SEEDS, augment=noisy, **SETTINGS)
