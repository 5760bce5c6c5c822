"""The network of the lessons: layers of weighted sums and activations, and what its answers cost.

The parameters are a pytree, a tuple of layers, and alone fix the sizes; what stays fixed while a network learns is its
`Model`. Every function is pure, takes `model` last, works on a batch or on a single example without a batch axis, in
any floating-point type, under `jit`, `vmap`, `grad` and `shard_map`.

What is finite stays finite while no sum on the way, its terms taken by their sizes, leaves the range of its type, which
ends at 65,504 for float16 and at 3e38 for float32 and bfloat16. Beyond it numbers are infinite, and NaN may follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float, Int, PRNGKeyArray

from mlp_jax.activations import Activation, sigmoid
from mlp_jax.costs import Cost, quadratic


class Layer(NamedTuple):
    """The dials between one layer of neurons and the next.

    weights: w_jk leads from neuron k to neuron j; (n_out, n_in), so a row is what one neuron looks for.
    biases: b_j; (n_out,).
    """

    weights: Float[Array, "n_out n_in"]
    biases: Float[Array, " n_out"]


Params = tuple[Layer, ...]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Model:
    """What stays fixed while a network learns: hidden and output activation functions, and the cost.

    Hashable, and a pytree without leaves: it passes through `jit`, `vmap` and `grad` as an ordinary argument.

    Raises ValueError where the output's range leaves the cost's domain: cross-entropy after tanh, say.
    """

    hidden: Activation = sigmoid
    output: Activation = sigmoid
    cost: Cost = quadratic

    def __post_init__(self) -> None:
        (low, high), (least, most) = self.output.range, self.cost.domain
        if low < least or high > most:
            raise ValueError(
                f"the cost needs outputs from {least} to {most}, but this output activation gives {low} to {high}: "
                "use sigmoid or softmax with cross_entropy, or the quadratic cost"
            )

    def activations(self, depth: int) -> tuple[Activation, ...]:
        """The activation function of each of `depth` layers."""
        return (self.hidden,) * (depth - 1) + (self.output,)


def init_params(
    key: PRNGKeyArray,
    sizes: Sequence[int] = (784, 16, 16, 10),
    *,
    standard_normal: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Random parameters for a network with `sizes` neurons in its layers, inputs first.

    Weights and biases are drawn from Gaussians with mean 0. The standard deviation of a bias is 1; that of a weight
    is 1/sqrt(n_in), which keeps weighted sums of a size that a sigmoid does not saturate at (Nielsen, chapter 3), or,
    with `standard_normal`, 1 too, as in the lessons.

    Returns a Layer of weights (n_out, n_in) and biases (n_out,) of type `dtype` for each layer but the inputs: 13,002
    numbers for the default sizes. Raises ValueError for fewer than two layers, a layer without neurons, or
    2^31 numbers and more, which XLA's random generator cannot draw at once.
    """
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError(f"sizes are {tuple(sizes)}: give at least two layers, inputs and outputs, of 1 neuron or more")
    return _random_layers(key, tuple(sizes), standard_normal, dtype)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _random_layers(key: PRNGKeyArray, sizes: tuple[int, ...], standard_normal: bool, dtype: DTypeLike) -> Params:
    # One draw for all layers: compiling a generator for each shape would take seconds.
    count = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
    if count >= 2**31:
        raise ValueError(f"sizes {sizes} make {count:,} parameters: expected fewer than {2**31:,}")
    numbers = jax.random.normal(key, (count,), dtype)
    layers, start = [], 0
    for n_in, n_out in pairwise(sizes):
        neurons = numbers[start : start + n_out * (n_in + 1)].reshape(n_out, n_in + 1)
        scale = 1 if standard_normal else 1 / n_in**0.5
        layers.append(Layer(weights=neurons[:, :-1] * scale, biases=neurons[:, -1]))
        start += neurons.size
    return tuple(layers)


def sizes_of(params: Params) -> tuple[int, ...]:
    """The number of neurons in each layer, inputs first."""
    return (params[0].weights.shape[1], *(layer.weights.shape[0] for layer in params))


def forward_pass(
    params: Params, inputs: Float[ArrayLike, "*batch n_in"], model: Model = Model()
) -> tuple[tuple[Float[Array, "*batch _"], ...], tuple[Float[Array, "*batch _"], ...]]:
    """Every weighted sum and every activation on the way from the inputs to the outputs.

    Returns (weighted_sums, activations), one array (*batch, n) for each layer of `params`; the activations have the
    inputs themselves in front, and the outputs last (lesson 1). Raises ValueError for shapes that do not fit.
    """
    activation = _checked_inputs(params, inputs)
    weighted_sums, activations = [], [activation]
    for (weights, biases), sigma in zip(params, model.activations(len(params)), strict=True):
        z = activation @ weights.T + biases
        activation = sigma.value(z)
        weighted_sums.append(z)
        activations.append(activation)
    return tuple(weighted_sums), tuple(activations)


def feedforward(
    params: Params, inputs: Float[ArrayLike, "*batch n_in"], model: Model = Model()
) -> Float[Array, "*batch n_out"]:
    """The activations of the last layer, (*batch, n_out). Raises ValueError for shapes that do not fit."""
    _, activations = forward_pass(params, inputs, model)
    return activations[-1]


def predict(params: Params, inputs: Float[ArrayLike, "*batch n_in"], model: Model = Model()) -> Int[Array, "*batch"]:
    """The network's choice for each example: which output is brightest, 0 to n_out - 1 (lesson 1).

    Raises ValueError for shapes that do not fit.
    """
    return jnp.argmax(feedforward(params, inputs, model), axis=-1)


def loss(
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
) -> Float[Array, ""]:
    """The cost averaged over the examples, C, which training minimises (lesson 2).

    targets: the wanted outputs y, one for each output neuron of each example. Raises ValueError for shapes that do not
    fit.
    """
    weighted_sums, _ = forward_pass(params, inputs, model)
    targets = checked_targets(targets, weighted_sums[-1])
    return jnp.mean(model.cost.after(model.output).value(weighted_sums[-1], targets))


def checked_targets(targets: ArrayLike, outputs: Array) -> Array:
    """The targets as an array; ValueError unless they have the shape of the outputs, (*batch, n_out)."""
    targets = jnp.asarray(targets)
    if targets.shape != outputs.shape:
        raise ValueError(
            f"targets have shape {targets.shape}, but the outputs have {outputs.shape}: "
            "give one wanted output for each output neuron of each example (jax.nn.one_hot makes them from labels)"
        )
    return targets


def check_batch(inputs: ArrayLike) -> None:
    """Raises ValueError unless the inputs have one batch axis."""
    if jnp.ndim(inputs) != 2:
        raise ValueError(
            f"inputs have shape {jnp.shape(inputs)}: expected a batch of examples, (batch, n_in); "
            "inputs[None] makes a batch of one"
        )


def check_params(params: Params) -> None:
    """Raises ValueError unless each layer takes as many activations as the one before gives."""
    if not params:
        raise ValueError("params are empty: a network has at least one Layer(weights, biases)")
    n_in = params[0].weights.shape[-1] if params[0].weights.shape else "n_in"
    for number, (weights, biases) in enumerate(params):
        if weights.ndim != 2 or biases.shape != weights.shape[:1] or weights.shape[1] != n_in:
            raise ValueError(
                f"layer {number} has weights {weights.shape} and biases {biases.shape}: "
                f"expected (n_out, {n_in}) and (n_out,), for {n_in} activations come in"
            )
        n_in = weights.shape[0]


def _checked_inputs(params: Params, inputs: ArrayLike) -> Array:
    """The inputs as an array; ValueError unless params are a network and the inputs are examples for it."""
    check_params(params)
    inputs, n_in = jnp.asarray(inputs), sizes_of(params)[0]
    if inputs.ndim == 0 or inputs.shape[-1] != n_in:
        raise ValueError(
            f"inputs have shape {inputs.shape}, but the network has {n_in} input neurons: expected (..., {n_in})"
        )
    if inputs.size == 0:
        raise ValueError(f"inputs have shape {inputs.shape}: there is no example in them")
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(f"inputs are {inputs.dtype}: expected floating point; divide uint8 images by 255 first")
    return inputs
