"""Populations against `fit`, member by member."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax import (
    Activation,
    DivergenceError,
    Model,
    TrainState,
    backprop,
    fit,
    fit_population,
    identity,
    init_params,
    init_population,
    make_optimizer,
)
from mlp_jax.training import member, optimizer_maker, train_population
from tests.training.test_devices import DATA, PIXELS, TRAIN, mesh_of

SIZES = (PIXELS, 4, 3)
SEEDS = (5, 0, 3, 1)
PARAMS = init_population(SEEDS, SIZES)
RATES = (0.5, 1.0, 2.0, 4.0)
SETTINGS = {"epochs": 2, "batch_size": 8}
STEPS = 2 * -(-TRAIN // 8)


def alone(number, **settings):
    """What `fit` makes of the member, and its last metrics."""
    history = []
    settings = SETTINGS | {"optimizer": make_optimizer("sgd", RATES[number], "cosine", STEPS)} | settings
    state = fit(member(PARAMS, number), DATA, callback=lambda _, metrics: history.append(metrics), **settings)
    return state, history[-1]


def assert_close(one, other):
    """To float32 rounding over a dozen steps: the largest difference seen is 2.4e-7, of numbers near 1."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), one, other)


def test_members_start_as_networks_of_their_own():
    for number, seed in enumerate(SEEDS):
        jax.tree.map(np.testing.assert_array_equal, member(PARAMS, number), init_params(jax.random.key(seed), SIZES))
    scaled = init_population(SEEDS, SIZES, scales=[1, 2, 0.5, 0])
    np.testing.assert_array_equal(scaled[0].weights[1], 2 * PARAMS[0].weights[1])
    np.testing.assert_array_equal(scaled[1].weights[3], np.zeros((3, 4)))
    np.testing.assert_array_equal(scaled[0].biases, PARAMS[0].biases)


@pytest.mark.parametrize("seed", [7, (7, 8, 9, 10)], ids=["shared batches", "own batches"])
def test_each_member_is_what_fit_makes_of_it(seed):
    """With its own learning rate, and with the mini-batches of all or its own."""
    state, metrics = fit_population(PARAMS, DATA, hyperparams={"learning_rate": RATES}, seed=seed, **SETTINGS)
    assert metrics.epoch == 2
    np.testing.assert_array_equal(state.epoch, 2)
    for number in (0, 3):
        expected, last = alone(number, seed=seed if isinstance(seed, int) else seed[number])
        assert_close(member(state.params, number), expected.params)
        assert metrics.loss[number] == pytest.approx(last.loss, rel=1e-6)
        assert metrics.test_accuracy[number] == last.test_accuracy


ONE = {
    "rate": ({"hyperparams": {"learning_rate": RATES[:1]}}, {}),
    "defaults": ({}, {"optimizer": None}),
    "Adam": (
        {"optimizer": optax.adam, "hyperparams": {"learning_rate": [0.1], "b1": [0.9]}, "seed": np.arange(3, 4)},
        {"optimizer": optax.adam(0.1, b1=0.9), "seed": np.int64(3)},
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_a_population_of_one_is_fit_bit_for_bit(name):
    """Of Adam's b1, what is 1 - b1 must not have been through float32."""
    given, of_fit = ONE[name]
    one = init_population(SEEDS[:1], SIZES)
    kept = []
    state, metrics = fit_population(one, DATA, **SETTINGS, **given, callback=lambda *last: kept.append(last))
    expected, last = alone(0, **of_fit)
    jax.tree.map(np.testing.assert_array_equal, member(state, 0), expected)
    assert (metrics.loss[0], metrics.test_accuracy[0], len(kept)) == (last.loss, last.test_accuracy, 2)


def test_any_hyperparameter_and_those_of_activations():
    """Adam's momentum and the slope of a leaky ReLU, which differ from member to member."""

    def leaky(slope):
        value, derivative = (lambda z: jnp.where(z > 0, z, slope * z)), (lambda z: jnp.where(z > 0, 1, slope))
        return Model(hidden=Activation(value, lambda z: derivative(z).astype(z.dtype)))

    slopes, momenta = [0, 0.1, 0.2, 0.5], [0, 0.5, 0.9, 0.99]
    hyperparams = {"learning_rate": [0.01] * 4, "b1": momenta}
    optimizer = optax.inject_hyperparams(optax.adam)
    settings = SETTINGS | {"optimizer": optimizer, "hyperparams": hyperparams, "model_params": {"slope": slopes}}
    state, _ = fit_population(PARAMS, DATA, leaky, **settings)
    expected, _ = alone(2, model=leaky(0.2), optimizer=optax.adam(0.01, b1=0.9))
    # To 1e-5, for Adam divides by what may be small: 3e-6 is seen.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), member(state.params, 2), expected.params)
    assert not np.allclose(member(state.params, 3)[0].weights, member(state.params, 2)[0].weights)
    np.testing.assert_allclose(state.optimizer_state.hyperparams["b1"], momenta)


OTHER_MESHES = [pytest.param(axes, marks=pytest.mark.slow) for axes in (("batch",), ("population", "batch"))]


@pytest.mark.parametrize("axes", [("population",), ("batch", "population"), *OTHER_MESHES])
def test_a_population_on_a_mesh(axes):
    """Its members split over devices, or its mini-batches as those of a single network are."""
    settings = SETTINGS | {"hyperparams": {"learning_rate": RATES}}
    state, metrics = fit_population(PARAMS, DATA, mesh=mesh_of(*axes), **settings)
    if axes[0] == "population":  # no axis splits the examples, or one of a single device
        expected, _ = fit_population(PARAMS, DATA, **settings)
        assert_close(state.params, expected.params)
    else:
        expected, last = alone(1, mesh=mesh_of("batch"))
        assert_close(member(state.params, 1), expected.params)
        assert metrics.test_accuracy[1] == last.test_accuracy


@pytest.mark.slow
def test_one_member_on_a_mesh_of_one_device():
    one, mesh = init_population(SEEDS[:1], SIZES), jax.make_mesh((1,), ("population",), devices=jax.devices()[:1])
    state, _ = fit_population(one, DATA, mesh=mesh, **SETTINGS)
    expected, _ = alone(0, optimizer=None)
    assert_close(member(state.params, 0), expected.params)


@pytest.mark.slow
def test_hyperparameters_in_the_type_of_the_parameters():
    """Momentum, which enters the optimiser's state, in bfloat16."""
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    hyperparams = {"learning_rate": RATES, "momentum": [0.5, 0.9, 0, 0.1]}
    state, metrics = fit_population(half, DATA, optimizer=optax.sgd, hyperparams=hyperparams, **SETTINGS)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    assert np.isfinite(metrics.loss).all()


def test_own_orders_on_a_mesh():
    settings = SETTINGS | {"hyperparams": {"learning_rate": RATES}, "seed": (7, 8, 9, 10)}
    state, _ = fit_population(PARAMS, DATA, mesh=mesh_of("batch", "population"), **settings)
    expected, _ = alone(2, mesh=mesh_of("batch"), seed=9)
    assert_close(member(state.params, 2), expected.params)


def test_a_member_that_diverges_leaves_the_others_alone():
    rates, linear = [0.01, 1e30, 0.02, 1e30], Model(identity, identity)
    optimizer = optimizer_maker("sgd")
    settings = SETTINGS | {"optimizer": optimizer}
    _, metrics = fit_population(PARAMS, DATA, linear, hyperparams={"learning_rate": rates}, **settings)
    np.testing.assert_array_equal(np.isnan(metrics.loss), [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(metrics.test_accuracy), [False, True, False, True])
    assert set(metrics.ranking) == {0, 2}
    assert metrics.best in (0, 2)
    low, median, high = metrics.spread
    assert low <= median <= high == metrics.test_accuracy[metrics.best]
    with pytest.raises(
        DivergenceError,
        match=r"in epoch 1 the last of 4 members stopped being finite, in member \d first the .* of layers",
    ) as error:
        fit_population(PARAMS, DATA, linear, hyperparams={"learning_rate": [1e30] * 4}, **settings)
    jax.tree.map(np.testing.assert_array_equal, error.value.state.params, PARAMS)


@pytest.mark.parametrize("members", [4, 1])
def test_a_population_goes_on_from_a_state_to_the_same_bits(members):
    settings = {"seed": SEEDS[:members], "batch_size": 8, "hyperparams": {"learning_rate": RATES[:members]}}
    params, states = jax.tree.map(lambda leaf: leaf[:members], PARAMS), []
    whole, metrics = fit_population(params, DATA, epochs=3, callback=lambda state, _: states.append(state), **settings)
    on_disk = jax.tree.map(np.asarray, states[0])
    rest, last = fit_population(on_disk, DATA, epochs=3, **settings)
    assert last.epoch == 3
    for expected, found in zip(jax.tree.leaves((whole, metrics.loss)), jax.tree.leaves((rest, last.loss)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_callback_may_keep_what_it_gets_and_stops():
    kept = []

    def keep(state, metrics):
        kept.append(state)
        return metrics.epoch == 2

    state, metrics = fit_population(PARAMS, DATA, epochs=5, batch_size=8, callback=keep)
    assert (metrics.epoch, len(kept)) == (2, 2)
    jax.tree.map(np.testing.assert_array_equal, state, kept[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((kept, PARAMS)))  # none was donated


BAD = {
    r"learning_rate has shape \(3,\) for 4 members: give one value for each, \(4,\)": {
        "hyperparams": {"learning_rate": RATES[:3]}
    },
    r"learning_rate has shape \(\) for 4 members": {"hyperparams": {"learning_rate": 0.1}},
    "there are 2 seeds for 4 members: give one for each, or one for all": {"seed": (1, 2)},
    "seed is -1: expected 0 to": {"seed": (1, 2, 3, -1)},
    "batch size is 47: expected 1 to 46": {"batch_size": 47},
    "the optimizer is one for all members, but there are values of b1: give a function": {
        "optimizer": optax.sgd(0.1),
        "hyperparams": {"b1": RATES},
    },
}


@pytest.mark.parametrize("message", BAD)
def test_settings_that_do_not_go_together_are_refused(message):
    with pytest.raises(ValueError, match=message):
        fit_population(PARAMS, DATA, **(SETTINGS | BAD[message]))


def test_populations_that_are_none_are_refused():
    with pytest.raises(ValueError, match="no seeds: give one for each member"):
        init_population([], SIZES)
    with pytest.raises(ValueError, match=r"scales has shape \(2,\) for 4 members"):
        init_population(SEEDS, SIZES, scales=[1, 2])
    with pytest.raises(ValueError, match=r"shapes \(4, 6\), .* expected \(members, n_out, n_in\)"):
        fit_population(member(PARAMS, 0), DATA)
    with pytest.raises(ValueError, match="scales are .* expected finite numbers"):
        init_population(SEEDS, SIZES, scales=[1, 2, float("nan"), 1])
    with pytest.raises(ValueError, match=r"shapes \(0, 4, 6\), .* expected"):
        fit_population(jax.tree.map(lambda leaf: leaf[:0], PARAMS), DATA)
    three = init_population(SEEDS[:3], SIZES)
    with pytest.raises(ValueError, match="number of members is 3, which does not divide over the 2 devices"):
        fit_population(three, DATA, batch_size=8, mesh=mesh_of("population"))


@pytest.mark.slow
def test_any_gradient_rule():
    def uphill(params, inputs, targets, model):
        return jax.tree.map(jnp.negative, backprop(params, inputs, targets, model))

    down, up = (
        fit_population(PARAMS, DATA, epochs=1, batch_size=TRAIN, optimizer=optax.sgd(0.5), gradient=rule)[0].params
        for rule in (backprop, uphill)
    )
    jax.tree.map(lambda p, q, r: np.testing.assert_allclose(p + q, 2 * r, atol=1e-5), down, up, PARAMS)


@pytest.mark.slow
def test_memory_grows_by_parameters_and_activations_not_by_copies_of_the_data():
    """What the compiled epoch holds besides what it is given and gives back, for 60,000 images of 784 pixels."""
    sizes, batch_size, optimizer = (784, 16, 16, 10), 100, optax.sgd(0.5)

    def temporary(members, examples):
        params = init_population(range(members), sizes)
        state = jax.vmap(lambda params: TrainState.start(params, optimizer))(params)
        images, labels = jnp.zeros((examples, 784), jnp.uint8), jnp.zeros(examples, jnp.int32)
        order = jnp.zeros(examples, jnp.int32)
        makers = (lambda: Model()), (lambda: optimizer)
        lowered = train_population.lower(state, images, labels, order, {}, {}, *makers, batch_size)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    inputs, numbers = 4 * batch_size * 784, 4 * (13_002 + batch_size * sum(sizes[1:]))  # of a batch; of a member
    few, many, of_fewer_images = temporary(2, 60_000), temporary(8, 60_000), temporary(8, 6_000)
    assert many <= 2 * inputs + 4 * 8 * numbers
    assert many - few <= 4 * 6 * numbers
    assert many - of_fewer_images <= 8 * 54_000  # the order, and a cost a step


# What each of two processes of two devices runs. The first axis of the mesh lies across the processes.
ONE_OF_TWO = """
import sys, jax, numpy as np
address, index, out, *axes = sys.argv[1:]
jax.distributed.initialize(address, 2, int(index))
from tests.training.test_population import DATA, PARAMS, RATES, SETTINGS, TRAIN, member, fit_population, half_of
mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2), axes)
data = half_of(DATA, int(index)) if axes[0] == "batch" else DATA
state, metrics = fit_population(PARAMS, data, hyperparams={"learning_rate": RATES}, mesh=mesh, **SETTINGS)
np.savez(out, *jax.tree.leaves(state.params), loss=metrics.loss, accuracy=metrics.test_accuracy)
"""


def half_of(data, index):
    """What one of two processes has."""
    own = slice(index * TRAIN // 2, (index + 1) * TRAIN // 2)
    return replace(data, train_images=data.train_images[own], train_labels=data.train_labels[own])


@pytest.mark.slow
@pytest.mark.parametrize("axes", [("batch", "population"), ("population", "batch")])
def test_two_processes(axes, tmp_path):
    """The first axis of the mesh lies across the processes, the second across the two devices of each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(Path(__file__).parents[2])}
    files = [tmp_path / f"{index}.npz" for index in range(2)]
    commands = [[sys.executable, "-c", ONE_OF_TWO, address, str(index), str(files[index]), *axes] for index in range(2)]
    running = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        assert [process.wait(timeout=200) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    expected, metrics = fit_population(
        PARAMS, DATA, hyperparams={"learning_rate": RATES}, mesh=mesh_of("batch"), **SETTINGS
    )
    for file in files:
        with np.load(file) as found:
            assert_close([found[f"arr_{number}"] for number in range(4)], jax.tree.leaves(expected.params))
            np.testing.assert_allclose(found["loss"], metrics.loss, rtol=1e-6)
            np.testing.assert_array_equal(found["accuracy"], metrics.test_accuracy)


def noisy(images, seed):
    """Another lot of images for every seed."""
    return images ^ np.random.default_rng(seed).integers(0, 32, images.shape).astype(np.uint8)


def test_members_see_the_augmented_images_that_fit_shows():
    state, _ = fit_population(PARAMS, DATA, hyperparams={"learning_rate": RATES}, augment=noisy, **SETTINGS)
    for number in range(4):
        assert_close(member(state, number).params, alone(number, augment=noisy)[0].params)


def test_members_with_orders_of_their_own_cannot_share_augmented_images():
    with pytest.raises(ValueError, match="4 seeds, but augmented images are the same for all members: give one"):
        fit_population(PARAMS, DATA, seed=SEEDS, augment=noisy, **SETTINGS)
