"""Backpropagation by hand: the chain rule of lesson 4, layer by layer, for a whole batch at once.

The four equations carry Nielsen's names (chapter 2). The first two yield the errors delta = dC_0/dz; everything that a
backward pass can tell follows from them and the activations.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mlp_jax.activations import gradient_through
from mlp_jax.network import Layer, Model, Params, checked_targets, forward_pass


def backward_pass(
    params: Params,
    weighted_sums: tuple[Float[Array, "*batch _"], ...],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> tuple[Float[Array, "*batch _"], ...]:
    """The error of every neuron, delta = dC_0/dz: how much the cost of its example answers to its weighted sum.

    weighted_sums: as `forward_pass` gives them. Returns one array (*batch, n) for each layer. Raises ValueError for
    targets that do not have the shape of the outputs.
    """
    targets = checked_targets(targets, weighted_sums[-1])
    delta = model.cost.after(model.output).derivative(weighted_sums[-1], targets)  # BP1
    deltas = [delta]
    for layer, z in zip(params[:0:-1], weighted_sums[-2::-1], strict=True):
        delta = gradient_through(model.hidden, z, delta @ layer.weights)  # BP2
        deltas.append(delta)
    return tuple(reversed(deltas))


def backprop(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> Params:
    """The gradient of `loss` with respect to the parameters, by hand: what `jax.grad(loss)` says, to rounding.

    Returns a pytree like `params`, types included: the average over the examples of each one's gradient. Raises
    ValueError for shapes that do not fit.
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    deltas = backward_pass(params, weighted_sums, targets, model)
    gradient = tuple(map(_average_gradient, deltas, activations[:-1]))
    return jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, tuple(params))


def _average_gradient(delta: Float[Array, "*batch n_out"], a: Float[Array, "*batch n_in"]) -> Layer:
    """dC_0/dw_jk = delta_j a_k (BP4) and dC_0/db_j = delta_j (BP3), averaged over the examples."""
    delta = delta.reshape(-1, delta.shape[-1])
    a = a.reshape(-1, a.shape[-1])
    examples = len(delta)
    return Layer(weights=delta.T @ a / examples, biases=jnp.sum(delta, axis=0) / examples)
