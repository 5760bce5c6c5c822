"""What one step computes, by name and in the order of computing, and the first number in it that is not finite."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mlp_jax.backward import GradientRule, average_gradient, backprop, backward_pass
from mlp_jax.network import ExampleWeights, Inputs, Model, Params, Targets, forward_pass, loss


def quantities(
    params: Params,
    inputs: Inputs,
    targets: Targets,
    model: Model,
    gradient: GradientRule = backprop,
    weights: ExampleWeights | None = None,
) -> OrderedDict[str, Array]:
    """Everything that one step computes before it changes the parameters, by name, in the order of computing.

    gradient: the rule of the step. Only the errors (deltas) of `backprop` are known and returned.
    weights: how much each example counts, as in `loss`.

    Returns the parameters, inputs and targets; weighted sums and activations from the first layer to the last; the
    average cost; errors and gradient from the last layer to the first. Names are "weighted sums of layers.1" or
    "gradient of the biases of layers.0"; layers count from 0, as in files of parameters. Pure, also under `jit`, which
    keeps the order of an OrderedDict. Raises ValueError if shapes do not match.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> found = quantities(*problem)
    >>> list(found)[-2:], found["weighted sums of layers.0"].shape
    (['gradient of the weights of layers.0', 'gradient of the biases of layers.0'], (4, 3))
    """
    found: OrderedDict[str, Array] = OrderedDict()
    for number, layer in enumerate(params):
        found |= {f"weights of layers.{number}": layer.weights, f"biases of layers.{number}": layer.biases}
    found |= {"inputs": jnp.asarray(inputs), "targets": jnp.asarray(targets)}
    weighting = {} if weights is None else {"weights": jnp.asarray(weights)}
    found |= {f"{name} of the examples": array for name, array in weighting.items()}

    weighted_sums, activations = forward_pass(params, inputs, model)
    for number, (z, a) in enumerate(zip(weighted_sums, activations[1:], strict=True)):
        found |= {f"weighted sums of layers.{number}": z, f"activations of layers.{number}": a}
    found["cost"] = loss(params, inputs, targets, model, **weighting)

    if gradient is backprop:
        deltas = backward_pass(params, weighted_sums, targets, model)
        direction = average_gradient(params, deltas, activations[:-1], weights)
    else:
        deltas, direction = None, gradient(params, inputs, targets, model, **weighting)
    for number in reversed(range(len(params))):
        if deltas:
            found[f"errors (deltas) of layers.{number}"] = deltas[number]
        found[f"gradient of the weights of layers.{number}"] = direction[number].weights
        found[f"gradient of the biases of layers.{number}"] = direction[number].biases
    return found


def first_not_finite(params: Params, inputs: Inputs, targets: Targets, model: Model) -> str:
    """Quantity and index of the first NaN or infinity in a step of `backprop`; "" if there is none.

    Raises ValueError if shapes do not match.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> first_not_finite(problem[0], jnp.full((4, 2), jnp.nan), *problem[2:])
    'the first number that is not finite: inputs [0, 0], one of 8 there'
    """
    for name, numbers in jax.jit(quantities)(params, inputs, targets, model).items():
        wrong = ~np.isfinite(np.asarray(numbers, np.float64))
        if wrong.any():
            index = f" [{', '.join(map(str, np.argwhere(wrong)[0]))}]" if wrong.ndim else ""
            return f"the first number that is not finite: {name}{index}, one of {wrong.sum():,} there"
    return ""
