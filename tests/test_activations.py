"""Activations against SciPy, and their derivatives against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from problems import ACTIVATIONS

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
JAX_OWN = {name: getattr(jax.nn, name, lambda z: z) for name in ACTIVATIONS}


@pytest.mark.usefixtures("float64")
def test_values_are_scipys_and_derivatives_jaxs_own_at_the_kink_too():
    @jax.jit
    def everything(z):
        return {
            name: (
                getattr(mlp_jax, name).value(z),
                getattr(mlp_jax, name).derivative(z),
                jax.jacobian(JAX_OWN[name])(z),
            )
            for name in ACTIVATIONS
        }

    for name, (value, derivative, jacobian) in everything(Z).items():
        np.testing.assert_allclose(value, BY_SCIPY[name](Z), rtol=1e-14, atol=1e-300, err_msg=name)
        low, high = getattr(mlp_jax, name).range
        assert np.all((value >= low) & (value <= high)), name
        derivative = np.diag(derivative) if derivative.ndim == 1 else derivative
        np.testing.assert_allclose(derivative, jacobian, rtol=1e-13, atol=1e-300, err_msg=name)
        assert derivative[4, 4] == {"relu": 0, "leaky_relu": 1}.get(name, derivative[4, 4])  # at z = 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_type_stays(dtype):
    z = jax.ShapeDtypeStruct((2, 3), dtype)
    for name in ACTIVATIONS:
        activation = getattr(mlp_jax, name)
        for function in (activation.value, activation.derivative, lambda z, a=activation: gradient_through(a, z, z)):
            assert jax.eval_shape(function, z).dtype == dtype, name


@pytest.mark.usefixtures("float64")
def test_the_gradient_through_a_jacobian_is_the_vector_times_the_matrix():
    """An activation whose derivative is a matrix that is not symmetric: rows and columns must not be swapped."""
    mixed = Activation(jnp.cumsum, lambda z: jnp.asarray(np.tril(np.ones((3, 3)))))
    gradient = gradient_through(mixed, jnp.array([0.3, -1.0, 2.0]), jnp.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(gradient, [111, 110, 100])  # z_k is in the sums from a_k on
