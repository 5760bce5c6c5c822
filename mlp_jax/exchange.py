"""Parameters from and for PyTorch, as state dicts, and the prediction function as a StableHLO program."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float, Num

from mlp_jax.network import Layer, Model, Params, as_inputs, check_params, feedforward, sizes_of
from mlp_jax.scaling import Scaling

if TYPE_CHECKING:
    import torch

PLATFORMS = ("cpu", "cuda", "tpu")


def prediction_program(
    params: Params,
    model: Model,
    platforms: Sequence[str] = PLATFORMS,
    dtype: DTypeLike = jnp.uint8,
    scale_inputs: Scaling | None = None,
    scale_targets: Scaling | None = None,
) -> export.Exported:
    """The prediction function as a program that holds the parameters and takes any number of examples.

    params: of one network, or of a population, whose outputs are averaged.
    platforms: by their names in JAX; none of them needs to be on this machine.
    dtype: of the inputs: uint8, 0 to 255, which the program scales as training does, or floating point.
    scale_inputs, scale_targets: what training did to inputs and targets. If given, the program takes inputs that are
        not scaled, and gives its answers in the unit of the targets.

    Returns the function from inputs, (batch, n_in) of type `dtype`, to the activations of the last layer, (batch,
    n_out) in the type of the parameters; `.serialize()` gives its bytes, `.mlir_module()` its text. A program that has
    JAX alone runs them with `jax.export.deserialize(bytes).call(inputs)`. Raises ValueError for parameters that are no
    network, or another dtype.
    """
    several = params[0].weights.ndim == 3
    one = jax.tree.map(lambda leaf: leaf[0], params) if several else params
    check_params(one)
    of_inputs, of_targets = jax.tree.map(lambda number: np.asarray(number, np.float32), (scale_inputs, scale_targets))

    @jax.jit
    def predict(inputs: Num[Array, "batch n_in"]) -> Float[Array, "batch n_out"]:
        scaled = inputs if of_inputs is None else of_inputs(inputs)
        answer = jax.vmap(feedforward, (0, None, None)) if several else feedforward
        outputs = answer(params, as_inputs(scaled, params), model)
        outputs = outputs.mean(axis=0) if several else outputs
        return outputs if of_targets is None else of_targets.undo(outputs)

    inputs = jax.ShapeDtypeStruct((*export.symbolic_shape("batch"), sizes_of(one)[0]), dtype)
    return export.export(predict, platforms=platforms)(inputs)


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """The parameters of a network of `Linear` layers, from its `state_dict()`, in the type that they have there.

    state_dict: for each layer NAME.weight (n_out, n_in) and NAME.bias (n_out,), tensors on any device or NumPy arrays.
        Layers whose names differ in their numbers only are taken by number, others in the order of the dict. It does
        not name the activation functions: they go into a `Model`.

    Returns copies. Raises ValueError, with the key, for anything else among the tensors, a weight or bias without the
    other, shapes that do not fit together, and numbers that are not floating point, or float64 if JAX has it disabled.

    >>> import numpy as np
    >>> from mlp_jax import from_torch
    >>> from_torch({"0.weight": np.ones((3, 2), np.float32), "0.bias": np.zeros(3, np.float32)})
    (Layer(weights=float32[3, 2], biases=float32[3]),)
    """
    layers, n_in = [], "n_in"
    for name in _in_order(state_dict):
        weights, biases = (_to_jax(state_dict, f"{name}{kind}") for kind in ("weight", "bias"))
        if weights.ndim != 2 or n_in not in ("n_in", weights.shape[1]):
            raise ValueError(f"{name}weight has shape {weights.shape}: expected (n_out, {n_in}), a Linear layer's")
        if biases.shape != weights.shape[:1]:
            raise ValueError(f"{name}bias has shape {biases.shape}: expected {weights.shape[:1]}, as {name}weight has")
        layers.append(Layer(weights, biases))
        n_in = weights.shape[0]
    if not layers:
        raise ValueError("the state dict is empty: expected the weight and the bias of each Linear layer")
    return tuple(layers)


def to_torch(params: Params) -> "dict[str, torch.Tensor]":
    """The parameters as a state dict for `nn.Sequential(Linear, activation, Linear, activation, ...)`, bit for bit.

    Returns tensors of their own on the CPU, named 0.weight (n_out, n_in), 0.bias (n_out,), 2.weight and so on. Raises
    ImportError without PyTorch.

    With `module = nn.Sequential(nn.Linear(784, 16), nn.Sigmoid(), nn.Linear(16, 10), nn.Sigmoid())`:

    >>> from mlp_jax import init_params, to_torch
    >>> params = init_params(jax.random.key(0), (784, 16, 10))
    >>> module.load_state_dict(to_torch(params))  # doctest: +SKIP
    """
    return {
        f"{2 * number}.{kind}": _to_torch(array)
        for number, layer in enumerate(params)
        for kind, array in (("weight", layer.weights), ("bias", layer.biases))
    }


def _in_order(state_dict: Mapping[str, Any]) -> list[str]:
    """The layers' names, each with the dot that ends it."""
    names: list[str] = []
    for key in state_dict:
        name, dot, kind = key.rpartition(".")
        name += dot
        other = {"weight": "bias", "bias": "weight"}.get(kind)
        if other is None:
            raise ValueError(f"{key} is neither a weight nor a bias: expected Linear layers alone")
        if f"{name}{other}" not in state_dict:
            raise ValueError(f"there is {key}, but no {name}{other}: each layer has both; zeros stand for no biases")
        if name not in names:
            names.append(name)
    if len({re.sub(r"\d+", "", name) for name in names}) == 1:
        names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    return names


def _to_jax(state_dict: Mapping[str, Any], key: str) -> jax.Array:
    tensor = state_dict[key]
    try:
        if hasattr(tensor, "detach"):
            tensor = tensor.detach().cpu()
        # PyTorch gives NumPy no bfloat16; it is the upper half of float32.
        is_half = str(tensor.dtype) == "torch.bfloat16"
        halves = np.asarray(tensor.float()).view(np.uint32) >> 16 if is_half else None
        array = np.asarray(tensor) if halves is None else halves.astype(np.uint16).view(jnp.bfloat16)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{key} is no array of numbers that NumPy knows ({error})") from error
    ours = jnp.array(array)  # a copy: asarray may share the tensor's memory
    if ours.dtype != array.dtype or not jnp.issubdtype(ours.dtype, jnp.floating):
        raise ValueError(
            f"{key} is {array.dtype}: expected floating point, and for float64 a program that begins with "
            'jax.config.update("jax_enable_x64", True), or module.float() before'
        )
    return ours


def _to_torch(array: ArrayLike) -> "torch.Tensor":
    import torch

    numbers = np.array(array, order="C")
    bits = torch.from_numpy(numbers.view(f"i{numbers.itemsize}"))  # NumPy gives PyTorch no bfloat16
    return bits.view(getattr(torch, numbers.dtype.name))
