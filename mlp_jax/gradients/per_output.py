"""What each output neuron says of the parameters."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from mlp_jax.backprop import backward_pass, propagate_back
from mlp_jax.network import Layer, Model, Params, forward_pass


def gradients(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> Params:
    """The part of each example's gradient that comes through each output neuron; they sum to the example's gradient.

    Where each output activation depends on its own weighted sum alone, part j is the gradient of the cost that output
    j incurs, (a_j - y_j)^2 for the quadratic cost. After softmax, where every activation depends on every weighted
    sum, it is what passes through weighted sum j.

    Returns a pytree like params with leading axes (*batch, n_out). Raises ValueError for shapes that do not fit.
    Source: the article "Backpropagation, intuitively", which calls these the gradients of c_kj.
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    delta = backward_pass(params, weighted_sums, targets, model)[-1]
    one_at_a_time = delta[..., None] * jnp.eye(delta.shape[-1], dtype=delta.dtype)
    deltas = propagate_back(params, tuple(z[..., None, :] for z in weighted_sums), one_at_a_time, model)
    return tuple(
        Layer(weights=delta[..., :, None] * a[..., None, None, :], biases=delta)
        for delta, a in zip(deltas, activations[:-1], strict=True)
    )
