"""Optimisers by name, their rates, and what draws weights to 0; and when one thread is enough."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import BATCH, MODEL, PARAMS, PICTURES, RATE, SETTINGS, TABLE, assert_close, epoch_by_numpy, one_device_order

from mlp_jax import (
    Dataset,
    Examples,
    Layer,
    Model,
    Plan,
    TrainState,
    cross_entropy,
    fit,
    fit_population,
    identity,
    init_population,
    make_optimizer,
    relu,
    softmax,
    update,
)
from mlp_jax.network import sizes_of
from mlp_jax.training import current_rate, member, use_one_thread_if_small, usual_rate, with_rates_of
from mlp_jax.training.optimizer import _with_rates_in_state, with_rates

LAYERS = (Layer(jnp.ones((1, 1)), jnp.ones(1)),)


def change(optimizer, steps):
    """How far `steps` gradients of 1 move a weight, step by step."""
    state, changes = optimizer.init(LAYERS), []
    for _ in range(steps):
        moved, state = optimizer.update(LAYERS, state, LAYERS)
        changes.append(float(moved[0].weights[0, 0]))
    return changes


def test_plain_sgd_steps_by_the_learning_rate():
    assert change(make_optimizer("sgd", 0.5), 3) == [-0.5, -0.5, -0.5]


def test_the_cosine_falls_from_the_learning_rate_to_zero():
    first, *_, half, _, _, _, _, last, after = change(make_optimizer("sgd", 2.0, "cosine", 10), 12)
    assert (first, last, after) == (-2.0, 0.0, 0.0)
    assert half == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "nadam", "adagrad"])
def test_any_optimiser_of_optax(name):
    assert change(make_optimizer(name, 0.1), 2) == pytest.approx(change(getattr(optax, name)(0.1), 2), rel=1e-6)


def test_the_rates_are_in_the_state_and_the_learning_rate_of_the_last_step_is_told():
    optimizer = make_optimizer("sgd", 2.0, "cosine", 12, weight_decay=0.5)
    fresh = TrainState.start(PARAMS, optimizer)
    rates = {name: float(value) for name, value in fresh.optimizer_state.hyperparams.items()}
    assert rates == pytest.approx({"learning_rate": 2.0, "phase": np.pi / 12, "weight_decay": 0.5})
    after = fit(PARAMS, TABLE, **SETTINGS | {"optimizer": make_optimizer("sgd", RATE, "cosine", 12)})
    assert current_rate(after) == pytest.approx(RATE * (1 + np.cos(np.pi * 11 / 12)) / 2, rel=1e-5)
    assert current_rate(TrainState.start(PARAMS, optax.sgd(0.1))) is None


def test_a_resumed_state_takes_the_rates_of_the_arguments():
    """Two epochs at one rate and two at a tenth of it."""
    slow = make_optimizer("sgd", RATE / 10)
    half = fit(PARAMS, TABLE, **SETTINGS)
    state, expected = fit(half, TABLE, **SETTINGS | {"epochs": 4, "optimizer": slow}), PARAMS
    for epoch, rate in enumerate((RATE, RATE, RATE / 10, RATE / 10)):
        expected, _ = epoch_by_numpy(expected, TABLE.train, one_device_order(epoch), rate)
    assert_close(state.params, expected)
    fresh = TrainState.start(PARAMS, slow)
    assert with_rates_of(half, fresh).optimizer_state.hyperparams == fresh.optimizer_state.hyperparams


def test_a_rate_that_the_optimiser_does_not_have_is_refused():
    held = make_optimizer("sgd", 0.1).init(PARAMS)
    with pytest.raises(ValueError, match="the optimiser's state has no b1: expected learning_rate, phase; make_opt"):
        with_rates(held, {"b1": 0.9})
    with pytest.raises(ValueError, match="has no learning_rate: expected no names at all"):
        with_rates(optax.sgd(0.1).init(PARAMS), {"learning_rate": 0.9})


def test_the_weight_decay_of_sgd_is_added_to_the_gradient_of_weights():
    """Nielsen's L2 regularisation, chapter 3: w - rate (gradient + decay w), and biases as without.

    One epoch of six steps with the default schedule, each at a rate of its own.
    """
    state, expected = fit(PARAMS, PICTURES, epochs=1, batch_size=BATCH, weight_decay=0.05), PARAMS
    order, sigmoids = one_device_order(0), {"hidden": "sigmoid", "output": "sigmoid"}
    for step in range(6):
        batch, rate = order[BATCH * step : BATCH * (step + 1)], 3 * (1 + np.cos(np.pi * step / 6)) / 2
        expected, _ = epoch_by_numpy(expected, PICTURES.train, batch, rate, decay=0.05, **sigmoids)
    assert_close(state.params, expected, 1e-5)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_the_weight_decay_of_adamw_is_beside_its_step(name):
    """As Optax has it, for weights alone: decoupled from the gradient."""
    mask = tuple(Layer(True, False) for _ in PARAMS)
    optax_own = getattr(optax, name)(0.01, weight_decay=0.5, mask=mask)
    inputs, targets = TABLE.train.inputs, TABLE.train.targets
    found = []
    for optimizer in (optax_own, make_optimizer(name, 0.01, weight_decay=0.5)):
        step = jax.jit(partial(update, plan=Plan(MODEL, optimizer)))
        state = TrainState.start(PARAMS, optimizer)
        for _ in range(3):
            state, _ = step(state, inputs, targets)
        found.append(state.params)
    assert_close(*found)


def test_weight_decay_draws_weights_to_zero_and_biases_not():
    for name in ("sgd", "adamw"):
        optimizer = make_optimizer(name, 0.1, weight_decay=0.5)
        still = jax.tree.map(jnp.zeros_like, PARAMS)
        moved, _ = optimizer.update(still, optimizer.init(PARAMS), PARAMS)
        for layer, before in zip(moved, PARAMS, strict=True):
            np.testing.assert_allclose(layer.weights, -0.05 * before.weights, rtol=1e-6)
            np.testing.assert_array_equal(layer.biases, 0)


def test_weight_decay_keeps_parameters_of_few_bits():
    """A rate in float32 must not make the gradient float32, and with it what the optimiser remembers."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    for name in ("sgd", "adam", "adamw"):
        optimizer = make_optimizer(name, 0.1, weight_decay=0.5)
        before = optimizer.init(params)
        _, after = optimizer.update(params, before, params)
        assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, before)


@pytest.mark.parametrize("make", [optax.adam, optax.rmsprop, lambda rate: make_optimizer("adam", rate)])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_gradients_of_0_in_few_bits(make, dtype):
    """Of an input that is always 0, as MNIST's corners: in float16 Adam's epsilon would be 0 too, and 0 / 0 NaN."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    inputs = jnp.zeros((2, sizes_of(params)[0]), dtype).at[:, 0].set(1)
    plan = Plan(Model(), make(0.01), batch_size=2)
    state, cost = TrainState.start(params, plan.optimizer), 0
    for _ in range(3):
        state, cost = update(state, inputs, jnp.zeros((2, sizes_of(params)[-1]), dtype), plan)
    assert jnp.isfinite(cost)
    for layer, before in zip(state.params, params, strict=True):
        assert layer.weights.dtype == dtype
        assert jnp.isfinite(layer.weights).all()
        assert not jnp.array_equal(layer.biases, before.biases)


def test_weight_decay_is_the_optimisers():
    with pytest.raises(ValueError, match="weight decay is 0.1 beside an optimiser: give it to make_optimizer"):
        fit(PARAMS, TABLE, weight_decay=0.1, **SETTINGS)


@pytest.mark.parametrize(
    "name",
    [
        "sdg",
        "",
        "apply_updates",
        "chain",
        "polyak_sgd",
        "lbfgs",
        "scale",
        "clip",
        "scale_by_adam",
        "freeze",
        "losses",
        "sm3",
    ],
)
def test_what_is_no_optimiser_is_refused(name):
    with pytest.raises(ValueError, match=f"Optax has no optimiser '{name}' .*: try sgd, adam"):
        make_optimizer(name, 0.1)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_that_cannot_be_are_refused(rate):
    with pytest.raises(ValueError, match="learning rate is .*: expected a finite number above 0"):
        make_optimizer("sgd", rate)
    if rate:
        with pytest.raises(ValueError, match="weight decay is .*: expected a finite number of 0 or more"):
            make_optimizer("sgd", 0.1, weight_decay=rate)


@pytest.mark.parametrize(("schedule", "steps"), [("cosine", None), ("cosine", 0), ("cosine", -5), ("cosin", 10)])
@pytest.mark.usefixtures("as_installed")
def test_a_schedule_that_cannot_be_is_refused(schedule, steps):
    with pytest.raises(ValueError, match=f"schedule is '{schedule}' over {steps} steps: expected constant, or cosine"):
        make_optimizer("sgd", 0.1, schedule, steps)


@pytest.mark.parametrize(
    ("sizes", "batch", "before", "after"),
    [
        ((784, 16, 16, 10), 100, None, "1"),
        ((784, 16, 16, 10), 100, "4", "4"),
        ((784, 256, 10), 100, None, None),
        ((784, 16, 10), 5000, None, None),
    ],
)
def test_a_small_network_takes_one_thread_unless_told_otherwise(monkeypatch, sizes, batch, before, after):
    monkeypatch.setenv("PJRT_NPROC", before or "")
    if before is None:
        monkeypatch.delenv("PJRT_NPROC")
    use_one_thread_if_small(sizes, batch)
    assert os.environ.get("PJRT_NPROC") == after


@pytest.mark.parametrize(
    ("model", "sizes", "rate"),
    [
        (Model(), (784, 16, 16, 10), 3),
        (Model(), (784, 30, 10), 3),
        (Model(), (784, 128, 10), 1),
        (Model(), (784, 10), 128 / 784),
        (Model(relu, softmax, cross_entropy), (784, 128, 10), 0.3),
        (Model(relu, softmax, cross_entropy), (784, 10), 128 / 784),
        (Model(output=identity), (5, 16, 2), 0.1),
        (Model(relu, identity), (784, 10), 4 / 784),
    ],
)
def test_the_usual_rate_of_sgd_depends_on_the_network(model, sizes, rate):
    assert usual_rate(model, sizes) == rate


def test_fit_and_populations_use_the_usual_rate():
    draw = np.random.default_rng(0)
    examples = Examples(draw.normal(size=(20, 5)).astype(np.float32), draw.integers(3, size=20))
    data, model = Dataset(examples, examples), Model(relu, softmax, cross_entropy)
    settings = {"epochs": 1, "batch_size": 7, "progress": False}
    params = init_population([0], (5, 4, 3))
    alone = fit(member(params, 0), data, model, **settings)
    together, _ = fit_population(params, data, model, **settings)
    for state in (alone, member(together, 0)):
        assert state.optimizer_state.hyperparams["learning_rate"] == np.float32(0.3)


def test_an_optimiser_that_fails_for_another_reason_says_the_reason(monkeypatch):
    def fail(name):
        raise ValueError("no promotion path")

    monkeypatch.setattr("mlp_jax.training.optimizer._goes_downhill", fail)
    with pytest.raises(ValueError, match="the optimiser rmsprop of Optax cannot be used: no promotion path"):
        _with_rates_in_state("rmsprop", ("learning_rate", "phase"), "float16")  # which nothing has made and kept
