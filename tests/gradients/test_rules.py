"""Rules that send errors back another way, against their papers' equations and an identity."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_close, each_model, make_problem

from mlp_jax import Layer, Model, backprop, fit, init_params, load_dataset, make_optimizer
from mlp_jax.gradients import rules
from mlp_jax.gradients.compare import angles

KEY = jax.random.key(5)
SIZES = (5, 4, 6, 3)


@each_model
@pytest.mark.usefixtures("float64")
def test_suggested_activations_with_step_one_half_are_backpropagation(model):
    problem = make_problem()
    expected = jax.jit(backprop)(*problem, model)
    assert_close(jax.jit(rules.suggested_activations())(*problem, model), expected, 1e-12)
    # With another step a layer m below the last hears of the cost through m factors of 2 step.
    found = jax.jit(rules.suggested_activations(0.05))(*problem, model)
    for below, (layer, exact) in enumerate(zip(found[::-1], expected[::-1], strict=True)):
        assert_close(layer, jax.tree.map(lambda g, m=below: g * 0.1**m, exact), 1e-12)


def few_digits(count):
    mnist = load_dataset()
    return replace(mnist, train_images=mnist.train_images[:count], train_labels=mnist.train_labels[:count])


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
    params = problem[0]
    random = jax.tree.map(np.float64, init_params(KEY, SIZES))
    expected = sigmoid_backward(*problem, lambda number, error, last: error @ random[number].weights)
    assert_close(jax.jit(rules.feedback_alignment(KEY, SIZES))(*problem), expected)

    signs = [np.sign(weights) / np.sqrt(weights.shape[1]) for weights, _ in params]
    expected = sigmoid_backward(*problem, lambda number, error, last: error @ signs[number])
    assert_close(jax.jit(rules.sign_symmetric)(*problem), expected)

    # The random matrices of direct feedback, seen through a network that lets errors through as they are.
    direct = jax.jit(rules.direct_feedback_alignment(KEY, SIZES))
    units = jnp.eye(3)
    flat = tuple(Layer(jnp.zeros_like(w), jnp.zeros_like(b)) for w, b in params)
    seen = []
    for number in (0, 1):
        rows = [direct(flat, jnp.zeros((1, 5)), 0.5 - unit[None])[number].biases for unit in units]
        seen.append(np.stack(rows) / (2 * 0.25 * 0.25))  # 2 (a - y) sigma' at the output, sigma' at the hidden neuron
    assert seen[0].shape == (3, 4)
    expected = sigmoid_backward(*problem, lambda number, error, last: last @ seen[number - 1])
    assert_close(direct(*problem), expected, 1e-6)


def test_direct_feedback_is_of_the_size_of_weights():
    sizes = (2, 400, 3)
    direct = jax.jit(rules.direct_feedback_alignment(KEY, sizes))
    params = tuple(Layer(jnp.zeros((j, k)), jnp.zeros(j)) for k, j in itertools.pairwise(sizes))
    errors = [direct(params, jnp.zeros((1, 2)), 0.5 - unit[None])[0].biases for unit in jnp.eye(3)]
    assert np.std(errors) == pytest.approx(2 * 0.25 * 0.25 / 20, rel=0.1)  # 1 / sqrt(400), through two sigmoids


def test_random_feedback_is_fixed_by_its_key_and_of_its_size():
    problem = make_problem(dtype=np.float32)
    for make in (rules.feedback_alignment, rules.direct_feedback_alignment):
        first, again, other = (jax.jit(make(key, SIZES))(*problem) for key in (KEY, KEY, jax.random.key(6)))
        np.testing.assert_array_equal(first[0].weights, again[0].weights)
        assert np.all(first[0].weights != other[0].weights)
        assert_close(first[-1], jax.jit(backprop)(*problem)[-1], 1e-6)  # the last layer gets the true gradient


@pytest.mark.usefixtures("as_installed")
def test_feedback_for_another_network_is_refused():
    problem = make_problem(dtype=np.float32)
    for make in (rules.feedback_alignment, rules.direct_feedback_alignment):
        with pytest.raises(ValueError, match=r"is for layers of \(5, 4, 3\), but the network has \(5, 4, 6, 3\)"):
            make(KEY, (5, 4, 3))(*problem)


@pytest.mark.slow
def test_networks_learn_by_random_feedback_and_the_angle_to_the_gradient_falls():
    """Lillicrap et al.: the forward weights align with the feedback, so the angle falls below the 90 of chance."""
    few, sizes, model = few_digits(10_000), (784, 30, 10), Model()
    inputs = jnp.asarray(few.train_images[:500] / np.float32(255))
    targets = jax.nn.one_hot(few.train_labels[:500], 10)
    rule, found = rules.direct_feedback_alignment(KEY, sizes), []
    params = init_params(jax.random.key(0), sizes)
    measure = jax.jit(lambda p: angles(rule(p, inputs, targets, model), backprop(p, inputs, targets, model)))
    before = measure(params)
    fit(
        params,
        few,
        model,
        epochs=4,
        optimizer=make_optimizer("sgd", 1.0),
        gradient=rule,
        callback=lambda state, metrics: found.append((measure(state.params), metrics.test_accuracy)),
    )
    after, accuracy = found[-1]
    assert accuracy > 0.8
    assert after[0] < before[0] - 10
    assert after[1] < 0.1


def test_a_rule_of_ones_own_is_a_function():
    def signs_of_the_gradient(*problem):
        return jax.tree.map(jnp.sign, backprop(*problem))

    few = few_digits(1000)
    params = init_params(KEY, (784, 4, 10))
    state = fit(
        params, few, epochs=1, batch_size=1000, optimizer=make_optimizer("sgd", 0.5), gradient=signs_of_the_gradient
    )
    change = np.abs(state.params[1].biases - params[1].biases)
    np.testing.assert_allclose(change, 0.5, rtol=1e-5)
