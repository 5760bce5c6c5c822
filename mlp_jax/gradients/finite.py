"""Where on the way through a network numbers stop being finite."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from mlp_jax.backprop import average_gradient, backward_pass
from mlp_jax.network import Model, Params, forward_pass


def first_not_finite(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> str:
    """Layer and quantity of the first NaN or infinity, "" if there is none.

    The order is that of the computation: what is given; weighted sums and activations from the first layer to the
    last; errors and gradient from the last to the first. Raises ValueError for shapes that do not fit.
    """
    for quantity, numbers in _quantities(params, inputs, targets, model):
        wrong = ~np.isfinite(np.asarray(numbers, np.float64))
        if wrong.any():
            place = ", ".join(map(str, np.argwhere(wrong)[0]))
            return f"the first number that is not finite: {quantity} [{place}], one of {wrong.sum():,} there"
    return ""


def _quantities(
    params: Params, inputs: ArrayLike, targets: ArrayLike, model: Model
) -> Iterator[tuple[str, Float[ArrayLike, "..."]]]:
    for layer, (weights, biases) in enumerate(params):
        yield f"layer [{layer}], weights", weights
        yield f"layer [{layer}], biases", biases
    yield "inputs", inputs
    yield "targets", targets
    weighted_sums, activations, deltas, gradient = _both_passes(params, inputs, targets, model)
    for layer, (z, a) in enumerate(zip(weighted_sums, activations[1:], strict=True)):
        yield f"layer [{layer}], weighted sums", z
        yield f"layer [{layer}], activations", a
    for layer in reversed(range(len(params))):
        yield f"layer [{layer}], errors (deltas)", deltas[layer]
        yield f"layer [{layer}], gradient of the weights", gradient[layer].weights
        yield f"layer [{layer}], gradient of the biases", gradient[layer].biases


@jax.jit
def _both_passes(params: Params, inputs: ArrayLike, targets: ArrayLike, model: Model) -> tuple[Any, ...]:
    weighted_sums, activations = forward_pass(params, inputs, model)
    deltas = backward_pass(params, weighted_sums, targets, model)
    return weighted_sums, activations, deltas, average_gradient(params, deltas, activations[:-1])
