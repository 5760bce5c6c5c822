"""One update and one epoch against NumPy and Optax, written out step by step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import (
    FLOATS,
    MODEL,
    PARAMS,
    PICTURES,
    PLAN,
    TABLE,
    TRAIN,
    WEIGHTED,
    arrays_of,
    assert_close,
    epoch_by_numpy,
    mesh_of,
    one_device_order,
    own_copy,
)

from mlp_jax import (
    Layer,
    Model,
    Plan,
    TrainState,
    backprop,
    cross_entropy,
    identity,
    loss,
    make_optimizer,
    sigmoid,
    softmax,
    train_epoch,
    update,
)

ORDER = one_device_order(0)
FULL = make_optimizer("sgd", 0.5)


def trained(data, plan, order=ORDER, params=PARAMS):
    examples, state = data.train, TrainState.start(own_copy(params), plan.optimizer)
    return train_epoch(state, examples.inputs, examples.targets, order, plan, examples.weights)


@pytest.mark.parametrize("batch_size", [1, 45, 46])
def test_an_epoch_of_the_lessons_network(batch_size):
    """Sigmoids and the quadratic cost, on single examples, with a last one alone, and on all at once."""
    state, cost = trained(PICTURES, Plan(Model(), FULL, batch_size))
    expected, expected_cost = epoch_by_numpy(
        PARAMS, PICTURES.train, ORDER, 0.5, batch_size, hidden="sigmoid", output="sigmoid"
    )
    assert int(state.epoch) == 1
    assert_close((state.params, cost), (expected, expected_cost), 1e-5)


def test_an_epoch_is_a_sequence_of_updates_with_any_optimiser():
    """Adam has a memory, which must pass from step to step; its own update functions are called here one by one."""
    optimizer, model = optax.adam(0.01), Model(output=softmax, cost=cross_entropy)
    state, _ = trained(WEIGHTED, Plan(model, optimizer, 23))

    @jax.jit
    def step(params, memory, *examples):
        change, memory = optimizer.update(jax.grad(loss)(params, *examples[:2], model, examples[2]), memory, params)
        return optax.apply_updates(params, change), memory

    params, memory = PARAMS, optimizer.init(PARAMS)
    for batch in (ORDER[:23], ORDER[23:]):
        params, memory = step(params, memory, *(np.float32(array[batch]) for array in arrays_of(WEIGHTED.train)))
    assert_close(state.params, params, 1e-5)


def test_update_returns_the_cost_before_its_step_and_lowers_it():
    inputs, targets, _ = map(np.float32, arrays_of(TABLE.train))
    costs, state = [], TrainState.start(PARAMS, PLAN.optimizer)
    for _ in range(2):
        state, cost = jax.jit(update, static_argnums=3)(state, inputs, targets, PLAN)
        costs.append(cost)
    assert costs[0] == pytest.approx(epoch_by_numpy(PARAMS, TABLE.train, ORDER, rate=0)[1], rel=1e-6)
    assert costs[1] < costs[0]


def test_any_gradient_rule_can_be_given():
    """A rule of one's own, and jax.grad; the second gives what backprop gives, to rounding, with weights too."""

    def uphill(params, inputs, targets, model):
        return jax.tree.map(jnp.negative, backprop(params, inputs, targets, model))

    by_hand, up = (trained(PICTURES, Plan(MODEL, FULL, TRAIN, rule))[0].params for rule in (backprop, uphill))
    jax.tree.map(lambda p, q, r: np.testing.assert_allclose(p + q, 2 * r, atol=1e-5), by_hand, up, PARAMS)
    by_hand, automatic = (
        trained(WEIGHTED, Plan(MODEL, PLAN.optimizer, 8, rule))[0].params for rule in (backprop, jax.grad(loss))
    )
    assert_close(by_hand, automatic)


def test_weights_need_a_rule_that_takes_them():
    def rule(params, inputs, targets, model):
        raise AssertionError

    with pytest.raises(ValueError, match="the examples have weights, but the gradient rule rule takes none: give it a"):
        trained(WEIGHTED, Plan(MODEL, PLAN.optimizer, 8, rule))
    with pytest.raises(ValueError, match="the examples have weights, but the gradient rule .*rule.* takes none"):
        trained(WEIGHTED, Plan(MODEL, PLAN.optimizer, 8, partial(rule)))


def test_a_rule_that_returns_something_else_is_refused():
    def rule(params, inputs, targets, model):
        return params[:1]

    with pytest.raises(ValueError, match="what the gradient rule returned has the structure"):
        trained(PICTURES, Plan(MODEL, PLAN.optimizer, 8, rule))


def test_the_buffers_of_the_state_are_donated():
    state = TrainState.start(own_copy(PARAMS), PLAN.optimizer)
    train_epoch(state, TABLE.train.inputs, TABLE.train.targets, ORDER, PLAN)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.usefixtures("as_installed")
def test_what_no_network_takes_is_refused():
    """`Dataset` has refused it before; who calls `train_epoch` meets these."""
    start, classes = TrainState.start(PARAMS, PLAN.optimizer), PICTURES.train.targets
    with pytest.raises(ValueError, match="inputs are int32: expected uint8, from 0 to 255, or floating point"):
        train_epoch(start, np.zeros((TRAIN, 6), int), classes, ORDER, PLAN)
    with pytest.raises(ValueError, match="targets are bool: expected integers, one class an example, or floating"):
        train_epoch(start, FLOATS[:TRAIN], classes > 0, ORDER, PLAN)
    with pytest.raises(ValueError, match=r"targets have shape \(8,\), but the outputs have \(8, 3\)"):
        train_epoch(start, FLOATS[:TRAIN], np.float32(classes), ORDER, PLAN)
    with pytest.raises(ValueError, match="batch size is 7: expected a multiple of the 2 devices"):
        train_epoch(start, FLOATS[:TRAIN], classes, ORDER, Plan(MODEL, FULL, 7, mesh=mesh_of("batch")))


@pytest.mark.parametrize("weight", [None, 2])
def test_the_mean_cost_of_more_examples_than_float16_counts(weight):
    """Outputs of 0 and a wanted output of 1: a cost of 1 for each of 70,000 examples."""
    params = (Layer(jnp.zeros((2, 1), jnp.float16), jnp.zeros(2, jnp.float16)),)
    inputs, classes, order = np.zeros((70_000, 1), np.uint8), np.zeros(70_000, np.int32), np.arange(70_000)
    plan = Plan(Model(identity, identity), optax.sgd(0.0), 7_000)
    weights = None if weight is None else np.full(70_000, weight, np.float16)
    _, cost = train_epoch(TrainState.start(params, plan.optimizer), inputs, classes, order, plan, weights)
    assert cost == 1


def test_a_step_of_sgd_in_float16_whose_sum_is_beyond_float16():
    """A gradient of 40 in a mini-batch of 5,000, whose sum Nielsen's form of the step divides by their number."""
    params = (Layer(jnp.zeros((1, 1), jnp.float16), jnp.zeros(1, jnp.float16)),)
    inputs, targets, order = np.ones((5_000, 1), np.float16), np.full((5_000, 1), -20, np.float16), np.arange(5_000)
    plan = Plan(Model(sigmoid, identity), make_optimizer("sgd", 0.01), 5_000)
    state, _ = train_epoch(TrainState.start(params, plan.optimizer), inputs, targets, order, plan)
    np.testing.assert_allclose(state.params[0].biases, -0.4, rtol=1e-3)
