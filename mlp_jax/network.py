"""The network of the lessons: layers of weighted sums and activations, and the cost of its outputs.

The parameters are a pytree, a tuple of layers, which alone fixes the sizes. What stays fixed while a network learns is
its `Model`. Every function is pure and takes a batch, or a single example without a batch axis, in any floating-point
type, under `jit`, `vmap`, `grad` and `shard_map`. All raise ValueError if shapes do not match.

    >>> from mlp_jax import Layer, Model, Params, feedforward
    >>> params: Params = (Layer(weights=jnp.array([[1.0, -1.0]]), biases=jnp.array([-2.0])),)
    >>> params
    (Layer(weights=float32[1, 2], biases=float32[1]),)
    >>> feedforward(params, jnp.array([3.0, 1.0]), Model()).tolist()  # sigmoid(3 - 1 - 2)
    [0.5]

Finite inputs give finite results as long as every sum of absolute values fits in the dtype: up to 65,504 for float16,
3e38 for float32 and bfloat16. Beyond that numbers are infinite, and NaN may follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float, Int, PRNGKeyArray

from mlp_jax.activations import Activation, sigmoid
from mlp_jax.costs import Cost, quadratic


class Layer(NamedTuple):
    """The weights and biases between one layer of neurons and the next.

    weights: w_jk leads from neuron k to neuron j; (n_out, n_in), so a row is what one neuron looks for.
    biases: b_j; (n_out,).

    >>> Layer(weights=jnp.ones((3, 2)), biases=jnp.ones(3))
    Layer(weights=float32[3, 2], biases=float32[3])
    """

    weights: Float[Array, "n_out n_in"]
    biases: Float[Array, " n_out"]

    def __repr__(self) -> str:
        return f"Layer(weights={described(self.weights)}, biases={described(self.biases)})"


Params = tuple[Layer, ...]

# What the functions of a network take. A leading axis is the batch; a single example has none.
Inputs = Float[ArrayLike, "*batch n_in"]
Targets = Float[ArrayLike, "*batch n_out"]
ExampleWeights = Float[ArrayLike, "*batch"]
# The same for functions that need a batch.
BatchInputs = Float[ArrayLike, "batch n_in"]
BatchTargets = Float[ArrayLike, "batch n_out"]


def described(leaf: Any) -> str:
    """An array as its dtype and shape; anything else, and a single number, as `repr` shows it.

    >>> described(jnp.ones((16, 784))), described(None)
    ('float32[16, 784]', 'None')
    """
    return f"{leaf.dtype}{[*leaf.shape]}" if getattr(leaf, "shape", ()) and hasattr(leaf, "dtype") else repr(leaf)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Model:
    """What stays fixed while a network learns: hidden and output activation functions, and the cost.

    Hashable, and a pytree without leaves: it passes through `jit`, `vmap` and `grad` as an ordinary argument.

    Raises ValueError if the output's range leaves the cost's domain: cross-entropy after tanh, for instance.

    >>> Model()
    Model(hidden=sigmoid, output=sigmoid, cost=quadratic)
    """

    hidden: Activation = sigmoid
    output: Activation = sigmoid
    cost: Cost = quadratic

    def __post_init__(self) -> None:
        for name, kind in (("hidden", Activation), ("output", Activation), ("cost", Cost)):
            if not isinstance(given := getattr(self, name), kind):
                known = "mlp_jax.relu" if kind is Activation else "mlp_jax.quadratic"
                raise ValueError(
                    f"{name} is {given!r}: expected {known}, or another {kind.__name__}(value, derivative)"
                )
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

    Weights and biases are drawn from Gaussians with mean 0. The standard deviation of a bias is 1. The standard
    deviation of a weight is 1/sqrt(n_in), so that sigmoids do not saturate (Nielsen, chapter 3); with `standard_normal`
    it is 1, as in Nielsen's code. The lessons only say "random".

    Returns a Layer of weights (n_out, n_in) and biases (n_out,) of type `dtype` for each layer but the inputs: 13,002
    numbers for the default sizes. Raises ValueError for anything but a key, fewer than two layers, a layer without
    neurons, or 2^31 numbers and more, which XLA's random generator cannot draw at once.

    >>> init_params(jax.random.key(0), (2, 3, 1))
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    is_array = hasattr(key, "dtype") and hasattr(key, "ndim")
    if not is_array or not (key.ndim or jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"the key is {key!r}: expected a random key, jax.random.key(0) for instance")
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
    """The number of neurons in each layer, inputs first.

    >>> sizes_of(init_params(jax.random.key(0), (2, 3, 1)))
    (2, 3, 1)
    """
    return (params[0].weights.shape[1], *(layer.weights.shape[0] for layer in params))


def forward_pass(
    params: Params, inputs: Inputs, model: Model
) -> tuple[tuple[Float[Array, "*batch _"], ...], tuple[Float[Array, "*batch _"], ...]]:
    """Every weighted sum and every activation on the way from the inputs to the outputs.

    Returns (weighted_sums, activations), one array (*batch, n) for each layer of `params`; the activations have the
    inputs themselves in front, and the outputs last (lesson 1).

    >>> params = init_params(jax.random.key(0), (2, 3, 1))
    >>> weighted_sums, activations = forward_pass(params, jnp.ones((4, 2)), Model())
    >>> [z.shape for z in weighted_sums], [a.shape for a in activations]
    ([(4, 3), (4, 1)], [(4, 2), (4, 3), (4, 1)])
    """
    activation = _checked_inputs(params, inputs)
    weighted_sums, activations = [], [activation]
    with jax.numpy_rank_promotion("allow"):  # the biases are added to every row of a batch
        for (weights, biases), sigma in zip(params, model.activations(len(params)), strict=True):
            z = activation @ weights.T + biases
            activation = sigma.value(z)
            weighted_sums.append(z)
            activations.append(activation)
    return tuple(weighted_sums), tuple(activations)


def feedforward(params: Params, inputs: Inputs, model: Model) -> Float[Array, "*batch n_out"]:
    """The activations of the last layer, (*batch, n_out).

    >>> feedforward(init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), Model()).shape
    (4, 1)
    """
    _, activations = forward_pass(params, inputs, model)
    return activations[-1]


def predict(params: Params, inputs: Inputs, model: Model) -> Int[Array, "*batch"]:
    """The network's choice for each example: which output is brightest, 0 to n_out - 1 (lesson 1).

    >>> larger_of_two = (Layer(weights=jnp.array([[1.0, 0.0], [0.0, 1.0]]), biases=jnp.zeros(2)),)
    >>> predict(larger_of_two, jnp.array([[5.0, 3.0], [0.1, 0.2]]), Model()).tolist()
    [0, 1]
    """
    return jnp.argmax(feedforward(params, inputs, model), axis=-1)


def loss(
    params: Params, inputs: Inputs, targets: Targets, model: Model, weights: ExampleWeights | None = None
) -> Float[Array, ""]:
    """The cost averaged over the examples, C, which training minimises (lesson 2).

    targets: the wanted outputs y, one for each output neuron of each example.
    weights: how much each example counts, 0 or more: the average is sum(weights * cost) / sum(weights). A weight of 2
        is the example twice, a weight of 0 is the example left out. If not given, all count the same.

    >>> always_half = (Layer(weights=jnp.zeros((1, 2)), biases=jnp.zeros(1)),)
    >>> float(loss(always_half, jnp.ones((4, 2)), jnp.ones((4, 1)), Model()))  # (0.5 - 1)^2
    0.25
    """
    weighted_sums, _ = forward_pass(params, inputs, model)
    targets = checked_targets(targets, weighted_sums[-1])
    costs = model.cost.after(model.output).value(weighted_sums[-1], targets)
    if weights is None:
        return jnp.mean(costs)
    weights = checked_weights(weights, costs)
    return (jnp.sum(weights * costs.astype(weights.dtype)) / total_weight(weights)).astype(costs.dtype)


def as_inputs(inputs: ArrayLike, params: Params) -> Float[Array, "*batch n_in"]:
    """Inputs in the dtype of the parameters: uint8, 0 to 255, become 0 to 1; floats keep their values.

    Raises ValueError for any other dtype.

    >>> as_inputs(jnp.array([0, 255], jnp.uint8), init_params(jax.random.key(0), (2, 3, 1))).tolist()
    [0.0, 1.0]
    """
    inputs, dtype = jnp.asarray(inputs), params[0].weights.dtype
    if inputs.dtype == jnp.uint8:
        return inputs.astype(dtype) * (1 / 255)
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(f"inputs are {inputs.dtype}: expected uint8, from 0 to 255, or floating point")
    return inputs.astype(dtype)


def as_targets(targets: ArrayLike, params: Params) -> Float[Array, "*batch n_out"]:
    """Targets in the dtype of the parameters: integers, the classes of the examples, become one-hot.

    targets: (*batch,) integers from 0 to n_out - 1, or (*batch, n_out) floats, which keep their values.

    Raises ValueError for any other dtype.

    >>> as_targets(jnp.array([1, 0]), init_params(jax.random.key(0), (2, 2))).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    targets, dtype = jnp.asarray(targets), params[0].weights.dtype
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return jax.nn.one_hot(targets.astype(jnp.int32), params[-1].biases.shape[-1], dtype=dtype)
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise ValueError(f"targets are {targets.dtype}: expected integers, one class an example, or floating point")
    return targets.astype(dtype)


def checked_targets(targets: ArrayLike, outputs: Array) -> Array:
    """The targets as an array; ValueError unless they have the shape of the outputs, (*batch, n_out)."""
    targets = jnp.asarray(targets)
    if targets.shape != outputs.shape:
        advice = "give one wanted output for each output neuron of each example"
        if jnp.issubdtype(targets.dtype, jnp.integer):
            advice = f"jax.nn.one_hot(classes, {outputs.shape[-1]}) makes wanted outputs of classes"
        raise ValueError(f"targets have shape {targets.shape}, but the outputs have {outputs.shape}: {advice}")
    return targets


def checked_weights(weights: ArrayLike, costs: Array) -> Array:
    """The weights of the examples, in float32 or finer; ValueError unless there is one for each cost, (*batch,)."""
    weights = jnp.asarray(weights, float32_or_finer(costs.dtype))  # sums would overflow in float16
    if weights.shape != costs.shape:
        raise ValueError(
            f"the weights have shape {weights.shape}, but the examples have {costs.shape}: give one weight an example"
        )
    return weights


def float32_or_finer(dtype: Any) -> Any:
    """A floating-point dtype, or float32 in place of float16 and bfloat16."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def total_weight(weights: Float[Array, "*batch"]) -> Float[Array, ""]:
    """The sum of the weights; 1 if all are 0, because the average is then 0 / 1."""
    total = jnp.sum(weights)
    return jnp.where(total == 0, 1, total)


def check_batch(inputs: ArrayLike) -> None:
    """Raises ValueError unless the inputs have one batch axis."""
    if jnp.ndim(inputs) != 2:
        raise ValueError(
            f"inputs have shape {jnp.shape(inputs)}: expected a batch of examples, (batch, n_in); "
            "inputs[None] makes a batch of one"
        )


def check_layers(params: Params) -> None:
    """Raises ValueError unless params are one Layer or more."""
    given = type(params).__name__
    if type(params) in (tuple, list):
        if not params:
            raise ValueError("params are empty: a network has at least one Layer(weights, biases)")
        others = [type(layer).__name__ for layer in params if not isinstance(layer, Layer)]
        if not others:
            return
        given = f"{given} of {others[0]}"
    advice = "its part `params`" if hasattr(params, "params") else "a tuple of Layer(weights, biases), see init_params"
    raise ValueError(f"params are of type {given}: expected {advice}")


def check_params(params: Params) -> None:
    """Raises ValueError unless each layer takes as many activations as the one before gives."""
    check_layers(params)
    n_in = params[0].weights.shape[-1] if params[0].weights.shape else "n_in"
    for number, (weights, biases) in enumerate(params):
        if weights.ndim != 2 or biases.shape != weights.shape[:1] or weights.shape[1] != n_in:
            raise ValueError(
                f"params[{number}] has weights {weights.shape} and biases {biases.shape}: "
                f"expected (n_out, {n_in}) and (n_out,), because {n_in} activations come in"
            )
        n_in = weights.shape[0]


def _checked_inputs(params: Params, inputs: ArrayLike) -> Array:
    """The inputs as an array; ValueError unless params are a network and the inputs are examples for it."""
    check_params(params)
    inputs, n_in = jnp.asarray(inputs), sizes_of(params)[0]
    if inputs.ndim == 0 or inputs.shape[-1] != n_in:
        expected = f"expected (..., {n_in})"
        if inputs.size and inputs.size % n_in == 0:
            expected += f", as inputs.reshape(-1, {n_in}) makes it"
        raise ValueError(f"inputs have shape {inputs.shape}, but the network has {n_in} input neurons: {expected}")
    if inputs.size == 0:
        raise ValueError(f"inputs have shape {inputs.shape}: there is no example in them")
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        advice = "divide pixels by 255.0" if inputs.dtype == jnp.uint8 else "convert them, as with .astype(jnp.float32)"
        raise ValueError(f"inputs are {inputs.dtype}: expected floating point; {advice}")
    return inputs
