"""Costs against their formulas by SciPy and by Optax, far into saturation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

import mlp_jax
from mlp_jax import Activation, Cost, Layer, Model, backprop, cross_entropy, loss, quadratic, sigmoid, softmax

OPTAX = {
    "sigmoid": lambda z, y: optax.sigmoid_binary_cross_entropy(z, y).sum(-1),
    "softmax": optax.softmax_cross_entropy,
}
WEIGHTED_SUMS = np.concatenate(
    [
        np.random.default_rng(0).normal(size=(20, 5)),
        np.random.default_rng(1).normal(size=(20, 5)) * 30,
        np.random.default_rng(2).uniform(-1e4, 1e4, size=(20, 5)),
        [[1e4] * 5, [-1e4] * 5, [0] * 5, [1e4, -1e4, 0, 88, -104]],
    ]
).astype(np.float32)
TARGETS = np.concatenate(
    [np.eye(5)[np.random.default_rng(3).integers(5, size=44)], np.random.default_rng(4).dirichlet(np.ones(5), size=20)]
).astype(np.float32)


def identity_network(n):
    """One layer whose weighted sums are its inputs."""
    return (Layer(jnp.eye(n), jnp.zeros(n)),)


def test_quadratic_is_the_sum_of_squares_without_a_half():
    a, y = jnp.asarray(np.random.default_rng(0).random((2, 7, 4), np.float32))
    np.testing.assert_allclose(quadratic.value(a, y), np.linalg.norm(a - y, axis=1) ** 2, rtol=1e-6)
    assert quadratic.value(jnp.array([0.5, 1.0]), jnp.array([0.0, 1.0])) == 0.25


@pytest.mark.usefixtures("float64")
def test_cross_entropy_of_activations_is_entropy_plus_divergence():
    a, y = jnp.asarray(np.random.default_rng(0).random((2, 7, 4)))
    expected = sum(scipy.special.entr(p) + scipy.special.rel_entr(p, q) for p, q in ((y, a), (1 - y, 1 - a))).sum(-1)
    np.testing.assert_allclose(cross_entropy.value(a, y), expected, rtol=1e-13)


@pytest.mark.parametrize("cost", [quadratic, cross_entropy])
@pytest.mark.usefixtures("float64")
def test_derivative_with_respect_to_the_activations(cost):
    a, y = jnp.asarray(np.random.default_rng(0).random((2, 4)))
    np.testing.assert_allclose(cost.derivative(a, y), jax.grad(cost.value)(a, y), rtol=1e-13)


@pytest.mark.parametrize("name", OPTAX)
def test_cross_entropy_stays_right_for_weighted_sums_up_to_ten_thousand(name):
    """The value, and the gradient by hand, from the same weighted sums in float32 as Optax has them."""
    model = Model(output=getattr(mlp_jax, name), cost=cross_entropy)
    params = identity_network(5)
    value = jax.jit(jax.vmap(loss, (None, 0, 0, None)))(params, WEIGHTED_SUMS, TARGETS, model)
    gradient = jax.jit(jax.vmap(backprop, (None, 0, 0, None)))(params, WEIGHTED_SUMS, TARGETS, model)[0].biases
    expected = OPTAX[name](WEIGHTED_SUMS, TARGETS)
    expected_gradient = jax.jit(jax.vmap(jax.grad(OPTAX[name])))(jnp.asarray(WEIGHTED_SUMS), jnp.asarray(TARGETS))
    assert np.all(np.isfinite(value))
    # Sums of five terms, each rounded a few times: 16 units of rounding of the largest.
    np.testing.assert_allclose(value, expected, rtol=16 * 2**-24, atol=1e-37)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=16 * 2**-24)


@pytest.mark.parametrize("name", OPTAX)
@pytest.mark.usefixtures("float64")
def test_closed_forms_are_the_cost_of_the_activations(name):
    """Where nothing saturates, the two roads from the weighted sums to the cost meet."""
    z, y = jnp.asarray(WEIGHTED_SUMS[:20], jnp.float64), jnp.asarray(TARGETS[:20], jnp.float64)
    a = getattr(mlp_jax, name).value(z)
    closed = cross_entropy.after(getattr(mlp_jax, name))
    expected = cross_entropy.value(a, y) if name == "sigmoid" else -np.sum(y * np.log(a), axis=-1)
    np.testing.assert_allclose(closed.value(z, y), expected, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_cost_and_an_activation_of_ones_own():
    """No registration: the normal distribution function as output, with the package's cost and with a new one."""
    probit = Activation(jax.scipy.stats.norm.cdf, jax.scipy.stats.norm.pdf, range=(0, 1))
    absolute = Cost(lambda a, y: jnp.abs(a - y).sum(-1), lambda a, y: jnp.sign(a - y))
    params = tuple(Layer(jnp.ones((j, k)) / k, jnp.linspace(-1, 1, j)) for j, k in ((4, 3), (2, 4)))
    inputs, targets = jnp.ones((5, 3)) / 3, jnp.eye(2)[jnp.array([0, 1, 1, 0, 1])]
    for cost in (cross_entropy, absolute):
        model = Model(hidden=probit, output=probit, cost=cost)
        by_hand, automatic = (jax.jit(rule)(params, inputs, targets, model) for rule in (backprop, jax.grad(loss)))
        jax.tree.map(lambda g, h: np.testing.assert_allclose(g, h, rtol=1e-12), by_hand, automatic)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "silu", "identity"])
def test_cross_entropy_refuses_outputs_that_are_no_probabilities(name):
    with pytest.raises(ValueError, match=r"from 0 to 1, but this output activation gives .*: use sigmoid or softmax"):
        Model(output=getattr(mlp_jax, name), cost=cross_entropy)
    assert Model(hidden=getattr(mlp_jax, name), cost=cross_entropy).output is sigmoid
    assert Model(output=softmax, cost=cross_entropy) == Model(output=softmax, cost=cross_entropy)


def test_weighted_sums_further_apart_than_their_type_reaches():
    """What is not wanted costs nothing however unlikely; what is wanted, and that unlikely, costs infinitely much."""
    params, model = identity_network(2), Model(output=softmax, cost=cross_entropy)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)
    far, wanted = jnp.array([65504, -65504], jnp.float16), jnp.array([1, 0], jnp.float16)
    assert loss(params, far, wanted, model) == 0
    assert loss(params, far, wanted[::-1], model) == np.inf
    for targets in (wanted, wanted[::-1]):
        for rule in (backprop, jax.grad(loss)):
            assert np.all(np.isfinite(rule(params, jnp.sign(far), targets, model)[0].biases))
            assert np.all(rule(params, far, targets, model)[0].biases == jnp.array([1, 0]) - targets)


@pytest.mark.parametrize("output", [None, softmax])
def test_the_derivative_where_an_activation_has_rounded_to_its_target(output):
    """Once a target of 0 or 1 is reached, -ln(1 - a) has the slope 1 there and -ln a the slope -1; no 0 / 0."""
    cost = cross_entropy if output is None else cross_entropy.of(output)
    a, y = jnp.array([0.0, 1.0, 0.0, 1.0, 0.5]), jnp.array([0.0, 1.0, 1.0, 0.0, 0.5])
    expected = [1, -1, -np.inf, np.inf, 0] if output is None else [0, -1, -np.inf, 0, -1]
    np.testing.assert_array_equal(cost.derivative(a, y), expected)
    certain = jax.jacrev(cost.derivative)(a[:2], y[:2])
    np.testing.assert_array_equal(certain, np.eye(2) if output is None else np.diag([0, 1]))
