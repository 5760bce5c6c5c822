"""Costs against their formulas by SciPy and by Optax, far into saturation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from problems import assert_close, loss_and_gradients, make_problem

import mlp_jax
from mlp_jax import Activation, Cost, Layer, Model, cross_entropy, quadratic, sigmoid, softmax

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
    [np.eye(5)[np.random.default_rng(3).integers(5, size=44)], np.random.default_rng(4).random((20, 5))]
).astype(np.float32)


def identity_network(n):
    """One layer whose weighted sums are its inputs."""
    return (Layer(np.eye(n, dtype=np.float32), np.zeros(n, np.float32)),)


def test_quadratic_is_the_sum_of_squares_without_a_half():
    a, y = np.random.default_rng(0).random((2, 7, 4), np.float32)
    np.testing.assert_allclose(jax.jit(quadratic.value)(a, y), np.linalg.norm(a - y, axis=1) ** 2, rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_cross_entropy_of_activations_is_entropy_plus_divergence_and_derivatives_are_jaxs():
    @jax.jit
    def everything(a, y):
        costs = (cross_entropy, cross_entropy.of(softmax), quadratic)
        return [(c.value(a, y), c.derivative(a, y), jax.grad(lambda a, c=c: c.value(a, y).sum())(a)) for c in costs]

    a, y = np.random.default_rng(0).random((2, 7, 4))
    found = everything(a, y)
    expected = sum(scipy.special.entr(p) + scipy.special.rel_entr(p, q) for p, q in ((y, a), (1 - y, 1 - a))).sum(-1)
    np.testing.assert_allclose(found[0][0], expected, rtol=1e-13)
    np.testing.assert_allclose(found[1][0], -np.sum(y * np.log(a), axis=-1), rtol=1e-13)
    for _, derivative, automatic in found:
        np.testing.assert_allclose(derivative, automatic, rtol=1e-12)


@pytest.mark.parametrize("name", OPTAX)
def test_cross_entropy_stays_right_for_weighted_sums_up_to_ten_thousand(name):
    """The value, and the gradient by hand, from the same weighted sums in float32 as Optax has them."""
    model = Model(output=getattr(mlp_jax, name), cost=cross_entropy)
    params = identity_network(5)
    value, gradient, _ = jax.jit(jax.vmap(loss_and_gradients, (None, 0, 0, None)))(
        params, WEIGHTED_SUMS, TARGETS, model
    )
    gradient = gradient[0].biases
    expected, expected_gradient = jax.jit(jax.vmap(jax.value_and_grad(OPTAX[name])))(WEIGHTED_SUMS, TARGETS)
    assert np.all(np.isfinite(value))
    # Sums of five terms, each rounded a few times: 16 units of rounding of the largest.
    np.testing.assert_allclose(value, expected, rtol=16 * 2**-24, atol=1e-37)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=16 * 2**-24)


@pytest.mark.parametrize("name", OPTAX)
@pytest.mark.usefixtures("float64")
def test_closed_forms_are_the_cost_of_the_activations(name):
    """SciPy's logarithms of the activations, as long as nothing saturates."""
    z, y = WEIGHTED_SUMS[:20].astype(np.float64), TARGETS[:20].astype(np.float64)
    closed = jax.jit(cross_entropy.after(getattr(mlp_jax, name)).value)(z, y)
    log, log_of_rest = {
        "sigmoid": (scipy.special.log_expit(z), scipy.special.log_expit(-z)),
        "softmax": (scipy.special.log_softmax(z, axis=-1), 0),
    }[name]
    np.testing.assert_allclose(closed, -np.sum(y * log + (1 - y) * log_of_rest, axis=-1), rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_cost_and_an_activation_of_ones_own():
    """No registration: the normal distribution function as output, with the package's cost and with a new one."""
    probit = Activation(jax.scipy.stats.norm.cdf, jax.scipy.stats.norm.pdf, range=(0, 1))
    absolute = Cost(lambda a, y: jnp.abs(a - y).sum(-1), lambda a, y: jnp.sign(a - y))
    for cost in (cross_entropy, absolute):
        _, by_hand, automatic = loss_and_gradients(*make_problem(), Model(hidden=probit, output=probit, cost=cost))
        assert_close(by_hand, automatic)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "silu", "identity"])
def test_cross_entropy_refuses_outputs_that_are_no_probabilities(name):
    with pytest.raises(ValueError, match=r"from 0 to 1, but this output activation gives .*: use sigmoid or softmax"):
        Model(output=getattr(mlp_jax, name), cost=cross_entropy)
    assert Model(hidden=getattr(mlp_jax, name), cost=cross_entropy).output is sigmoid
    assert Model(output=softmax, cost=cross_entropy) == Model(output=softmax, cost=cross_entropy)


def test_weighted_sums_further_apart_than_their_type_reaches():
    """What is not wanted costs nothing however unlikely; what is wanted, and that unlikely, costs infinitely much."""
    model = Model(output=softmax, cost=cross_entropy)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float16), identity_network(2))
    far, wanted = np.array([65504, -65504], np.float16), np.array([1, 0], np.float16)
    for targets, cost in ((wanted, 0), (wanted[::-1], np.inf)):
        found, *gradients = loss_and_gradients(params, far, targets, model)
        near = loss_and_gradients(params, np.sign(far), targets, model)[1:]
        assert found == cost
        for gradient, of_near in zip(gradients, near, strict=True):
            assert np.all(np.isfinite(of_near[0].biases))
            np.testing.assert_array_equal(gradient[0].biases, [1, 0] - targets)


@pytest.mark.parametrize("output", [None, softmax])
def test_the_derivative_where_an_activation_has_rounded_to_its_target(output):
    """Once a target of 0 or 1 is reached, -ln(1 - a) has the slope 1 there and -ln a the slope -1; no 0 / 0."""
    cost = cross_entropy if output is None else cross_entropy.of(output)
    a, y = np.array([0, 1, 0, 1, 0.5], np.float32), np.array([0, 1, 1, 0, 0.5], np.float32)
    expected = [1, -1, -np.inf, np.inf, 0] if output is None else [0, -1, -np.inf, 0, -1]
    derivative, jacobian = jax.jit(lambda a, y: (cost.derivative(a, y), jax.jacrev(cost.derivative)(a, y)))(a, y)
    np.testing.assert_array_equal(derivative, expected)
    np.testing.assert_array_equal(jacobian[:2, :2], np.eye(2) if output is None else np.diag([0, 1]))
