"""Rules that send errors back another way, against their papers' equations and an identity."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import SIZES, assert_close, by_hand, each_model, make_problem

from mlp_jax import Dataset, Layer, Model, backprop, fit, init_params, load_dataset, make_optimizer
from mlp_jax.data import Examples
from mlp_jax.gradients import rules
from mlp_jax.gradients.compare import angles
from mlp_jax.network import as_inputs, as_targets

KEY = jax.random.key(5)
MODEL = Model()


@each_model
@pytest.mark.usefixtures("float64")
def test_suggested_activations_with_step_one_half_are_backpropagation(model):
    problem = (*make_problem(), model)
    expected = by_hand(*problem)
    half, found = jax.jit(lambda *p: [rules.suggested_activations(step)(*p) for step in (0.5, 0.05)])(*problem)
    assert_close(half, expected, 1e-12)
    # With another step a layer m below the last hears of the cost through m factors of 2 step.
    for below, (layer, exact) in enumerate(zip(found[::-1], expected[::-1], strict=True)):
        assert_close(layer, jax.tree.map(lambda g, m=below: g * 0.1**m, exact), 1e-12)


RULES = {
    "feedback alignment": rules.feedback_alignment(KEY, SIZES),
    "direct feedback alignment": rules.direct_feedback_alignment(KEY, SIZES),
    "sign symmetric": rules.sign_symmetric,
    "suggested activations": rules.suggested_activations(),
}


@jax.jit
def by_every_rule(*problem):
    return {name: rule(*problem) for name, rule in RULES.items()}


@pytest.mark.usefixtures("float64")
def test_a_weight_is_how_often_a_rule_sees_an_example():
    params, *examples = make_problem()
    counts = np.array([2, 0, 1, 3, 1, 0, 0])
    repeated = by_every_rule(params, *(np.repeat(array, counts, axis=0) for array in examples), MODEL)
    assert_close(by_every_rule(params, *examples, MODEL, 2.0 * counts), repeated)


def sigmoid_backward(params, inputs, targets, feedback):
    """The equations of Lillicrap et al. and of Nokland for sigmoids, in NumPy; feedback makes each hidden error."""
    activations = [np.asarray(inputs)]
    for weights, biases in params:
        activations.append(1 / (1 + np.exp(-(activations[-1] @ weights.T + biases))))
    a = activations[-1]
    error = last = 2 * (a - targets) * a * (1 - a)
    gradient = []
    for number in reversed(range(len(params))):
        gradient.append(Layer(error.T @ activations[number] / len(a), error.mean(axis=0)))
        if number:
            a_before = activations[number]
            error = feedback(number, error, last) * a_before * (1 - a_before)
    return tuple(reversed(gradient))


@pytest.mark.usefixtures("float64")
def test_each_rule_is_its_equation():
    problem = make_problem()
    params, found = jax.tree.map(np.asarray, problem[0]), by_every_rule(*problem, MODEL)
    random = jax.tree.map(np.float64, init_params(KEY, SIZES))
    expected = sigmoid_backward(*problem, lambda number, error, last: error @ random[number].weights)
    assert_close(found["feedback alignment"], expected)

    signs = [np.sign(weights) / np.sqrt(weights.shape[1]) for weights, _ in params]
    expected = sigmoid_backward(*problem, lambda number, error, last: error @ signs[number])
    assert_close(found["sign symmetric"], expected)

    # The random matrices of direct feedback, seen through a network that lets errors through as they are.
    direct = jax.jit(rules.direct_feedback_alignment(KEY, SIZES))
    flat = jax.tree.map(np.zeros_like, params)
    seen = []
    for number in (0, 1):
        rows = [direct(flat, np.zeros((1, 5)), 0.5 - unit[None], MODEL)[number].biases for unit in np.eye(3)]
        seen.append(np.stack(rows) / (2 * 0.25 * 0.25))  # 2 (a - y) sigma' at the output, sigma' at the hidden neuron
    assert seen[0].shape == (3, 4)
    expected = sigmoid_backward(*problem, lambda number, error, last: last @ seen[number - 1])
    assert_close(found["direct feedback alignment"], expected, 1e-6)


def test_direct_feedback_is_of_the_size_of_weights():
    sizes = (2, 400, 3)
    direct = jax.jit(rules.direct_feedback_alignment(KEY, sizes))
    zeros, units = partial(np.zeros, dtype=np.float32), np.eye(3, dtype=np.float32)
    params = tuple(Layer(zeros((j, k)), zeros(j)) for k, j in itertools.pairwise(sizes))
    errors = [direct(params, zeros((1, 2)), 0.5 - unit[None], MODEL)[0].biases for unit in units]
    assert np.std(errors) == pytest.approx(2 * 0.25 * 0.25 / 20, rel=0.1)  # 1 / sqrt(400), through two sigmoids


def test_random_feedback_is_fixed_by_its_key_and_of_its_size():
    problem = (*make_problem(dtype=np.float32), MODEL)
    keys = (KEY, KEY, jax.random.key(6))
    for make in (rules.feedback_alignment, rules.direct_feedback_alignment):
        first, again, other = jax.jit(lambda *p, make=make: [make(key, SIZES)(*p) for key in keys])(*problem)
        np.testing.assert_array_equal(first[0].weights, again[0].weights)
        assert np.all(first[0].weights != other[0].weights)
        assert_close(first[-1], by_hand(*problem)[-1], 1e-6)  # the last layer gets the true gradient


@pytest.mark.usefixtures("as_installed")
def test_feedback_for_another_network_is_refused():
    problem = (*make_problem(dtype=np.float32), MODEL)
    for make in (rules.feedback_alignment, rules.direct_feedback_alignment):
        with pytest.raises(ValueError, match=r"is for layers of \(5, 4, 3\), but the network has \(5, 4, 6, 3\)"):
            make(KEY, (5, 4, 3))(*problem)


@pytest.mark.slow
def test_networks_learn_by_random_feedback_and_the_angle_to_the_gradient_falls():
    """Lillicrap et al.: the forward weights align with the feedback, so the angle falls below the 90 of chance."""
    few, sizes = load_dataset().first(10_000), (784, 30, 10)
    rule, found = rules.direct_feedback_alignment(KEY, sizes), []
    params = init_params(jax.random.key(0), sizes)
    examples = as_inputs(few.train.inputs[:500], params), as_targets(few.train.targets[:500], params)
    measure = jax.jit(lambda p: angles(rule(p, *examples, MODEL), backprop(p, *examples, MODEL)))
    before = measure(params)
    fit(
        params,
        few,
        MODEL,
        epochs=4,
        optimizer=make_optimizer("sgd", 1.0),
        gradient=rule,
        callback=lambda state, metrics: found.append((measure(state.params), metrics.score)),
    )
    after, accuracy = found[-1]
    assert accuracy > 0.8
    assert after[0] < before[0] - 10
    assert after[1] < 0.1


def test_a_rule_of_ones_own_is_a_function():
    def signs_of_the_gradient(*problem):
        return jax.tree.map(jnp.sign, backprop(*problem))

    draw = np.random.default_rng(0)
    train = Examples(draw.normal(size=(20, 5)).astype(np.float32), draw.integers(3, size=20))
    params, optimizer = make_problem(dtype=np.float32)[0], make_optimizer("sgd", 0.5)
    state = fit(
        params,
        Dataset(train, train),
        MODEL,
        epochs=1,
        batch_size=20,
        optimizer=optimizer,
        gradient=signs_of_the_gradient,
    )
    change = np.abs(state.params[1].biases - params[1].biases)
    np.testing.assert_allclose(change, 0.5, rtol=1e-5)
