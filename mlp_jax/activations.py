"""Activation functions: what a neuron makes of its weighted sum, a = sigma(z).

Each is a pair of plain functions, its value and its derivative:

    >>> from mlp_jax import identity, leaky_relu, relu, sigmoid, silu, softmax, tanh
    >>> z = jnp.array([-1.0, 0.0, 1.0])
    >>> for sigma in (sigmoid, relu, leaky_relu, tanh, silu, identity, softmax):
    ...     print(f"{sigma!r:10}", *(f"{a:5.2f}" for a in sigma.value(z)))
    sigmoid     0.27  0.50  0.73
    relu        0.00  0.00  1.00
    leaky_relu -0.01  0.00  1.00
    tanh       -0.76  0.00  0.76
    silu       -0.27  0.00  0.73
    identity   -1.00  0.00  1.00
    softmax     0.09  0.24  0.67

One of your own is made in a line, and needs no registration:

    >>> softplus = Activation(jax.nn.softplus, jax.nn.sigmoid, range=(0, float("inf")))
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

INFINITY = float("inf")


class Activation(NamedTuple):
    """A function sigma of a layer's weighted sums, and its derivative.

    value: z (*batch, n) to the activations a = sigma(z), (*batch, n).
    derivative: z (*batch, n) to da/dz. If each activation depends on its own weighted sum alone, this is one number
        per neuron, (*batch, n). If each depends on every weighted sum, as in softmax, it is the matrix of da_j/dz_k,
        (*batch, n, n), row j and column k.
    range: the interval that activations lie in, ends included.

    >>> square = Activation(lambda z: z**2, lambda z: 2 * z, range=(0, float("inf")))
    >>> square.value(3.0), square.derivative(3.0)
    (9.0, 6.0)
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    range: tuple[float, float] = (-INFINITY, INFINITY)

    @property
    def name(self) -> str:
        """Its name in this module; any other's has a dot: the module and the name of its value."""
        return name_among(globals(), self)

    def __repr__(self) -> str:
        return self.name


def name_among(known: Mapping[str, Any], functions: Any) -> str:
    """The name of a pair of functions among those known; else the module and the name of its value."""
    for name, other in known.items():
        if type(other) is type(functions) and other == functions:
            return name
    value = functions.value
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def gradient_through(
    activation: Activation, z: Float[Array, "*#batch n"], gradient: Float[Array, "*#batch n"]
) -> Float[Array, "*#batch n"]:
    """dC/dz from z and gradient = dC/da: the chain rule over one activation function (lesson 4).

    Leading axes broadcast: several gradients may come through the same weighted sums.

    >>> z, gradient = jnp.array([0.0, -1.0]), jnp.array([3.0, 3.0])
    >>> gradient_through(relu, z + 1, gradient).tolist()
    [3.0, 0.0]
    """
    derivative = activation.derivative(z)
    if derivative.ndim == z.ndim:
        with jax.numpy_rank_promotion("allow"):
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
    return (1 - a) * (1 + a)  # 1 - a**2 would lose digits when a is close to 1


def _silu_derivative(z: Array) -> Array:
    s = jax.nn.sigmoid(z)
    return s * (1 + z * (1 - s))


def _softmax_derivative(z: Array) -> Array:
    a = jax.nn.softmax(z)
    with jax.numpy_rank_promotion("allow"):  # the same unit matrix for every row of a batch
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
