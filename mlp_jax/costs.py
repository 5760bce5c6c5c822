"""Cost functions: how far the activations a of one example are from the wanted outputs y.

Each is a pair of plain functions, its value and its derivative:

    >>> from mlp_jax import cross_entropy, quadratic
    >>> a, y = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
    >>> for cost in (quadratic, cross_entropy):
    ...     print(f"{cost!r:13} {cost.value(a, y):.3f}", cost.derivative(a, y))
    quadratic     0.500 [-1.  1.]
    cross_entropy 1.386 [-2.  2.]

One of your own is made in a line, and needs no registration:

    >>> absolute = Cost(lambda a, y: abs(a - y).sum(-1), lambda a, y: jnp.sign(a - y))
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlog1py, xlogy
from jaxtyping import Array

from mlp_jax.activations import INFINITY, Activation, gradient_through, name_among, sigmoid, softmax


class Cost(NamedTuple):
    """The cost of one example and its derivative, each a function of activations a and targets y, both (*batch, n).

    value: C_0(a, y), (*batch,).
    derivative: dC_0/da, (*batch, n).
    domain: the interval that activations must lie in for the cost to have a meaning.
    closed_forms: triples of an output activation, the cost after it, and that same cost written as a function of the
        weighted sums z: `value(z, y)` and `derivative(z, y)` = dC_0/dz. Give one if the two steps a = sigma(z) and
        C_0(a, y) lose digits that the whole keeps: an activation may round to 0 before its logarithm is taken.

    >>> cubic = Cost(lambda a, y: (abs(a - y) ** 3).sum(-1), lambda a, y: 3 * (a - y) * abs(a - y))
    >>> float(cubic.value(jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0])))
    8.0
    """

    value: Callable[[Array, Array], Array]
    derivative: Callable[[Array, Array], Array]
    domain: tuple[float, float] = (-INFINITY, INFINITY)
    closed_forms: "tuple[tuple[Activation, Cost, Cost], ...]" = ()

    @property
    def name(self) -> str:
        """Its name in this module; any other's has a dot: the module and the name of its value."""
        return name_among(globals(), self)

    def __repr__(self) -> str:
        return self.name

    def after(self, output: Activation) -> "Cost":
        """This cost as a function of the weighted sums z before the activation function `output`.

        Its derivative is dC_0/dz, the error delta of the last layer.
        """
        for activation, _, closed_form in self.closed_forms:
            if activation == output:
                return closed_form
        return Cost(
            value=lambda z, y: self.value(output.value(z), y),
            derivative=lambda z, y: gradient_through(output, z, self.derivative(output.value(z), y)),
        )

    def of(self, output: Activation) -> "Cost":
        """This cost as a function of the activations that `output` gives: itself, unless it has a closed form."""
        return next((cost for activation, cost, _ in self.closed_forms if activation == output), self)


def _quadratic(a: Array, y: Array) -> Array:
    return jnp.sum((a - y) ** 2, axis=-1)


def _quadratic_derivative(a: Array, y: Array) -> Array:
    return 2 * (a - y)


def _cross_entropy(a: Array, y: Array) -> Array:
    return -jnp.sum(xlogy(y, a) + xlog1py(1 - y, -a), axis=-1)


def _cross_entropy_derivative(a: Array, y: Array) -> Array:
    # (a - y) / (a (1 - a)), in which a target of 0 or 1 leaves one factor: if a has rounded to y, it would be 0 / 0.
    certain = (y == 0) | (y == 1)
    return jnp.where(certain, 1 - 2 * y, a - y) / (jnp.where(y == 0, 1, a) * jnp.where(y == 1, 1, 1 - a))


def _categorical_cross_entropy(a: Array, y: Array) -> Array:
    return -jnp.sum(xlogy(y, a), axis=-1)


def _categorical_cross_entropy_derivative(a: Array, y: Array) -> Array:
    return -y / jnp.where(y == 0, 1, a)  # an output that is not wanted may have rounded to 0


def _sigmoid_cross_entropy(z: Array, y: Array) -> Array:
    return -jnp.sum(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z), axis=-1)


def _sigmoid_cross_entropy_derivative(z: Array, y: Array) -> Array:
    return jax.nn.sigmoid(z) - y  # sigma'(z) = a (1 - a) cancels the denominator


def _softmax_cross_entropy(z: Array, y: Array) -> Array:
    log_a = jax.nn.log_softmax(z)
    finite = jnp.maximum(log_a, jnp.finfo(log_a.dtype).min)  # weighted sums may lie too far apart for their type
    return -jnp.sum(y * jnp.where(y == 0, finite, log_a), axis=-1)


def _softmax_cross_entropy_derivative(z: Array, y: Array) -> Array:
    return jax.nn.softmax(z) * jnp.sum(y, axis=-1, keepdims=True) - y


quadratic = Cost(_quadratic, _quadratic_derivative)
"""sum_j (a_j - y_j)^2, the cost of the lessons, without a factor 1/2."""

cross_entropy = Cost(
    _cross_entropy,
    _cross_entropy_derivative,
    domain=(0, 1),
    closed_forms=(
        (
            sigmoid,
            Cost(_cross_entropy, _cross_entropy_derivative),
            Cost(_sigmoid_cross_entropy, _sigmoid_cross_entropy_derivative),
        ),
        (
            softmax,
            Cost(_categorical_cross_entropy, _categorical_cross_entropy_derivative),
            Cost(_softmax_cross_entropy, _softmax_cross_entropy_derivative),
        ),
    ),
)
"""-sum_j [y_j ln a_j + (1 - y_j) ln(1 - a_j)]: each output a yes or no of its own (Nielsen, chapter 3).

After softmax, whose activations are one distribution over the outputs, it is that distribution's: -sum_j y_j ln a_j.
Targets lie from 0 to 1, ends included. If a target is above 0 and its activation is 0, or below 1 and its activation
is 1, the cost and its derivative are infinite. As functions of the weighted sums they stay finite.
"""
