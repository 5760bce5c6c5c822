"""Parameters from and for PyTorch: an `nn.Sequential` of `Linear` layers with activation functions between them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlp_jax.network import Layer, Params

if TYPE_CHECKING:
    import torch


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """The parameters of a network of `Linear` layers, from its `state_dict()`, in the type that they have there.

    state_dict: for each layer NAME.weight (n_out, n_in) and NAME.bias (n_out,), tensors on any device or NumPy arrays,
        under any names. Names that differ in their numbers only are taken by number, others in the order in which they
        stand. What the activation functions are it does not say: that goes into a `Model`.

    Returns arrays of their own, which do not follow the tensors. Raises ValueError, with the key, for anything else
    among the tensors, a weight or bias without the other, shapes that do not follow on from one another, and numbers
    that are not floating point, or float64 while JAX is not to use it.
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
