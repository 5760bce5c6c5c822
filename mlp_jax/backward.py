"""Backpropagation by hand: the chain rule of lesson 4, layer by layer, for a whole batch at once.

The four equations carry Nielsen's names (chapter 2). The first two yield the errors delta = dC_0/dz; everything that a
backward pass can tell follows from them and the activations. A gradient rule is any function that takes the arguments
of `backprop` and returns a pytree like the parameters:

    >>> from mlp_jax import GradientRule, backprop
    >>> def signs(params, inputs, targets, model):
    ...     return jax.tree.map(jnp.sign, backprop(params, inputs, targets, model))
    >>> rule: GradientRule = signs
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mlp_jax.activations import gradient_through
from mlp_jax.network import (
    ExampleWeights,
    Inputs,
    Layer,
    Model,
    Params,
    Targets,
    checked_targets,
    checked_weights,
    float32_or_finer,
    forward_pass,
    total_weight,
)

Tree = TypeVar("Tree")

GradientRule = Callable[..., Params]
"""Any function with the signature of `backprop`: (params, inputs, targets, model) to a pytree like params.

A rule that can train on weighted examples also takes them, as `weights=`; any other is called without.
"""


def backprop(
    params: Params, inputs: Inputs, targets: Targets, model: Model, weights: ExampleWeights | None = None
) -> Params:
    """The gradient of `loss` with respect to the parameters, by hand: what `jax.grad(loss)` says, to rounding.

    weights: how much each example counts, 0 or more, as in `loss`.

    Returns a pytree like `params`, dtypes included: the average over the examples of each one's gradient. Raises
    ValueError for shapes that do not fit.

    >>> from mlp_jax import Model, backprop, init_params, loss
    >>> params, inputs, targets = init_params(jax.random.key(0), (2, 3, 1)), jnp.array([0.5, 1.0]), jnp.array([1.0])
    >>> by_hand = backprop(params, inputs, targets, Model())
    >>> automatic = jax.grad(loss)(params, inputs, targets, Model())
    >>> bool(jnp.allclose(by_hand[0].weights, automatic[0].weights, rtol=1e-4))
    True
    """
    deltas, activations = deltas_and_activations(params, inputs, targets, model)
    return average_gradient(params, deltas, activations, weights)


def deltas_and_activations(
    params: Params, inputs: Inputs, targets: Targets, model: Model
) -> tuple[tuple[Float[Array, "*batch _"], ...], tuple[Float[Array, "*batch _"], ...]]:
    """For each layer the errors of its neurons, (*batch, n_out), and the activations that come in, (*batch, n_in).

    They are all that a gradient is made of: that of w_jk, for one example, is delta_j a_k. Raises ValueError for shapes
    that do not fit.
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    return backward_pass(params, weighted_sums, targets, model), activations[:-1]


def backward_pass(
    params: Params, weighted_sums: tuple[Float[Array, "*batch _"], ...], targets: Targets, model: Model
) -> tuple[Float[Array, "*batch _"], ...]:
    """The error of every neuron, delta = dC_0/dz: how much the cost of its example answers to its weighted sum.

    weighted_sums: as `forward_pass` gives them. Returns one array (*batch, n) for each layer. Raises ValueError for
    targets that do not have the shape of the outputs.
    """
    targets = checked_targets(targets, weighted_sums[-1])
    delta = model.cost.after(model.output).derivative(weighted_sums[-1], targets)  # BP1
    return propagate_back(params, weighted_sums, delta, model)


def propagate_back(
    params: Params,
    weighted_sums: tuple[Float[Array, "*#batch _"], ...],
    delta: Float[Array, "*#batch n_out"],
    model: Model,
) -> tuple[Float[Array, "*#batch _"], ...]:
    """From the derivative of anything with respect to the last weighted sums, that to all of them, layer by layer.

    delta: its leading axes are those of the weighted sums, or broadcast with them.
    """
    deltas = [delta]
    for layer, z in zip(params[:0:-1], weighted_sums[-2::-1], strict=True):
        delta = gradient_through(model.hidden, z, delta @ layer.weights)  # BP2
        deltas.append(delta)
    return tuple(reversed(deltas))


def average_gradient(
    params: Params,
    deltas: tuple[Float[Array, "*batch _"], ...],
    activations: tuple[Float[Array, "*batch _"], ...],
    weights: ExampleWeights | None = None,
) -> Params:
    """dC_0/dw_jk = delta_j a_k (BP4) and dC_0/db_j = delta_j (BP3), averaged over the examples.

    weights: how much each example counts, as in `loss`.

    Returns a pytree like `params`, dtypes included.
    """
    if weights is not None:
        weights = checked_weights(weights, deltas[-1][..., 0])
        share = weights * (weights.size / total_weight(weights))  # so that the mean below divides by their sum
        deltas = tuple(share[..., None] * delta.astype(share.dtype) for delta in deltas)
    gradient = tuple(map(_average_outer_product, deltas, activations))
    return jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, tuple(params))


def _average_outer_product(delta: Float[Array, "*batch n_out"], a: Float[Array, "*batch n_in"]) -> Layer:
    delta = delta.reshape(-1, delta.shape[-1])
    a = a.reshape(-1, a.shape[-1])
    examples, dtype = len(delta), float32_or_finer(delta.dtype)  # sums would overflow in float16
    weights = jnp.matmul(delta.T, a, preferred_element_type=dtype) / examples
    return Layer(weights=weights, biases=jnp.sum(delta, axis=0, dtype=dtype) / examples)


def in_float32_or_finer(tree: Tree) -> Tree:
    """The arrays of a pytree, float16 and bfloat16 in float32: a square overflows in float16 from 256 on."""
    return jax.tree.map(lambda leaf: leaf.astype(float32_or_finer(leaf.dtype)), tree)


def check_like_params(tree: Any, params: Params, name: str) -> None:
    """Raises ValueError, which calls the tree by its name, unless it has the structure and the shapes of params."""
    given, expected = jax.tree.structure(tree), jax.tree.structure(params)
    if given != expected:
        raise ValueError(f"{name} has the structure {given}: expected that of the parameters, {expected}")
    for (path, leaf), parameter in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(params), strict=True):
        if jnp.shape(leaf) != jnp.shape(parameter):
            raise ValueError(
                f"{name} has shape {jnp.shape(leaf)} at {jax.tree_util.keystr(path)}: "
                f"expected that of the parameters, {jnp.shape(parameter)}"
            )
