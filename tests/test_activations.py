"""Activations against SciPy, and their derivatives against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import mlp_jax
from mlp_jax.activations import Activation, gradient_through

Z = np.array([-50, -3, -1, -1e-3, 0, 1e-3, 0.5, 2, 40])
BY_SCIPY = {
    "sigmoid": scipy.special.expit,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z < 0, 0.01 * z, z),
    "tanh": np.tanh,
    "silu": lambda z: z * scipy.special.expit(z),
    "identity": lambda z: z,
    "softmax": scipy.special.softmax,
}
JAX_OWN = {"identity": lambda z: z} | {
    name: getattr(jax.nn, name) for name in ("sigmoid", "relu", "leaky_relu", "tanh", "silu", "softmax")
}


@pytest.mark.parametrize("name", BY_SCIPY)
@pytest.mark.usefixtures("float64")
def test_value_is_scipys(name):
    activation = getattr(mlp_jax, name)
    np.testing.assert_allclose(activation.value(jnp.asarray(Z)), BY_SCIPY[name](Z), rtol=1e-14, atol=1e-300)
    low, high = activation.range
    assert np.all(activation.value(jnp.asarray(Z)) >= low)
    assert np.all(activation.value(jnp.asarray(Z)) <= high)


@pytest.mark.parametrize("name", BY_SCIPY)
@pytest.mark.usefixtures("float64")
def test_derivative_is_jaxs_own_at_the_kink_too(name):
    jacobian = jax.jacobian(JAX_OWN[name])(jnp.asarray(Z))
    derivative = getattr(mlp_jax, name).derivative(jnp.asarray(Z))
    if derivative.ndim == 1:
        derivative = jnp.diag(derivative)
    np.testing.assert_allclose(derivative, jacobian, rtol=1e-13, atol=1e-300)


def test_relus_derivative_at_zero_is_zero_and_leaky_relus_is_one():
    assert mlp_jax.relu.derivative(jnp.zeros(1)) == 0
    assert mlp_jax.leaky_relu.derivative(jnp.zeros(1)) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", BY_SCIPY)
def test_the_type_stays(name, dtype):
    z = jnp.ones((2, 3), dtype)
    activation = getattr(mlp_jax, name)
    assert activation.value(z).dtype == activation.derivative(z).dtype == dtype
    assert gradient_through(activation, z, z).dtype == dtype


@pytest.mark.usefixtures("float64")
def test_the_gradient_through_a_jacobian_is_the_vector_times_the_matrix():
    """An activation whose derivative is a matrix that is not symmetric: rows and columns must not be swapped."""
    mixed = Activation(jnp.cumsum, lambda z: jnp.tril(jnp.ones((3, 3))))
    z, gradient = jnp.array([0.3, -1.0, 2.0]), jnp.array([1.0, 10.0, 100.0])
    _, pullback = jax.vjp(jnp.cumsum, z)
    np.testing.assert_array_equal(gradient_through(mixed, z, gradient), pullback(gradient)[0])
