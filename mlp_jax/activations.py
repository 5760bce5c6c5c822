"""Activation functions: what a neuron makes of its weighted sum, a = sigma(z).

Each is a pair of plain functions, so one of your own needs no registration::

    softplus = Activation(jax.nn.softplus, jax.nn.sigmoid, range=(0, float("inf")))
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

INFINITY = float("inf")


class Activation(NamedTuple):
    """A function sigma of a layer's weighted sums, and its derivative.

    value: z (*batch, n) to the activations a = sigma(z), (*batch, n).
    derivative: z (*batch, n) to da/dz. Where each activation depends on its own weighted sum alone, that is one
        number per neuron, (*batch, n). Where each depends on every weighted sum, as in softmax, it is the matrix of
        da_j/dz_k, (*batch, n, n), row j and column k.
    range: the interval that activations lie in, ends included.
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    range: tuple[float, float] = (-INFINITY, INFINITY)


def gradient_through(
    activation: Activation, z: Float[Array, "*#batch n"], gradient: Float[Array, "*#batch n"]
) -> Float[Array, "*#batch n"]:
    """dC/dz from z and gradient = dC/da: the chain rule over one activation function (lesson 4).

    Leading axes broadcast: several gradients may come through the same weighted sums.
    """
    derivative = activation.derivative(z)
    if derivative.ndim == z.ndim:
        return gradient * derivative
    return jnp.einsum("...j,...jk->...k", gradient, derivative)


def _sigmoid_derivative(z: Array) -> Array:
    a = jax.nn.sigmoid(z)
    return a * (1 - a)


def _relu_derivative(z: Array) -> Array:
    return (z > 0).astype(z.dtype)


def _leaky_relu_derivative(z: Array) -> Array:
    return jnp.where(z >= 0, 1, 0.01).astype(z.dtype)


def _tanh_derivative(z: Array) -> Array:
    a = jnp.tanh(z)
    return (1 - a) * (1 + a)  # 1 - a**2 would round away what is left of 1 - a when a is close to 1


def _silu_derivative(z: Array) -> Array:
    s = jax.nn.sigmoid(z)
    return s * (1 + z * (1 - s))


def _softmax_derivative(z: Array) -> Array:
    a = jax.nn.softmax(z)
    return a[..., :, None] * (jnp.eye(z.shape[-1], dtype=z.dtype) - a[..., None, :])


def _identity(z: Array) -> Array:
    return z


sigmoid = Activation(jax.nn.sigmoid, _sigmoid_derivative, range=(0, 1))
"""1 / (1 + exp(-z)), the squishing function of lesson 1."""

relu = Activation(jax.nn.relu, _relu_derivative, range=(0, INFINITY))
"""max(0, z) (lesson 1). At the kink, z = 0, the derivative is taken as 0, as JAX does."""

leaky_relu = Activation(jax.nn.leaky_relu, _leaky_relu_derivative)
"""z, or 0.01 z if z is negative. At the kink, z = 0, the derivative is taken as 1, as JAX does."""

tanh = Activation(jnp.tanh, _tanh_derivative, range=(-1, 1))
"""The hyperbolic tangent: 2 sigmoid(2z) - 1."""

silu = Activation(jax.nn.silu, _silu_derivative, range=(-0.27846455, INFINITY))
"""z sigmoid(z) (Elfwing, Uchibe and Doya 2018, https://arxiv.org/abs/1702.03118)."""

identity = Activation(_identity, jnp.ones_like)
"""z itself: a linear layer."""

softmax = Activation(jax.nn.softmax, _softmax_derivative, range=(0, 1))
"""exp(z_j) / sum_k exp(z_k): activations that are positive and add up to 1 (Nielsen, chapter 3)."""
