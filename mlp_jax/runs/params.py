"""Parameters in a file that any other tool can open."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from mlp_jax import activations, costs
from mlp_jax.activations import Activation
from mlp_jax.costs import Cost
from mlp_jax.network import Layer, Model, Params, check_params, sizes_of
from mlp_jax.runs.files import replace_file

DESCRIPTION = "mlp_jax"
"""The metadata's only key: safetensors writes several in random order, but equal networks make equal files."""
FORMAT = (
    "layers.N.weights (n_out, n_in) and layers.N.biases (n_out,) make of activations a, layer by layer, "
    "sigma(weights a + biases); sigma is `hidden`, in the last layer `output`"
)


def save_params(path: str | Path, params: Params, model: Model | None = None) -> None:
    """Write the parameters as safetensors, named layers.0.weights, layers.0.biases, layers.1.weights and so on.

    model: if given, kept in the file's metadata, as JSON: the names of hidden, output and cost, the sizes, and how all
        this is meant. Functions of your own are called what Python calls them, with their module.

    What was at `path` before is replaced in one step: at any moment there is either the old file or the new one.
    Raises OSError where it cannot be written.
    """
    tensors = {
        f"layers.{number}.{name}": np.asarray(array, order="C")  # safetensors writes memory as it lies
        for number, layer in enumerate(params)
        for name, array in layer._asdict().items()
    }
    metadata = None if model is None else {DESCRIPTION: json.dumps(_description(params, model))}
    try:
        content = save(tensors, metadata)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error
    replace_file(Path(path), content)  # safetensors itself makes files that their owner alone reads


def load_params(path: str | Path) -> Params:
    """The parameters that `save_params` wrote, bit for bit.

    Raises OSError for a file that cannot be read, and ValueError for one that is damaged, holds no network, or holds
    float64 while JAX is not to use it.
    """
    with _damage_named(path):
        tensors = load_file(path)
    names = [f"layers.{number}.{name}" for number in range(len(tensors) // 2) for name in Layer._fields]
    if not tensors or set(names) != set(tensors):
        raise ValueError(f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}: expected layers.0.weights and so on")
    arrays = [_unrounded(tensors[name], f"{name} in {path}") for name in names]
    params = tuple(map(Layer, arrays[0::2], arrays[1::2]))
    check_params(params)
    return params


def load_model(path: str | Path) -> Model | None:
    """The model that `save_params` kept with the parameters.

    None where it kept none, or one with functions that are not this package's. Raises OSError for a file that cannot
    be read, and ValueError for one that is damaged.
    """
    with _damage_named(path), safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    if DESCRIPTION not in metadata:
        return None
    try:
        description = json.loads(metadata[DESCRIPTION])
        hidden, output = (_functions(activations, Activation).get(description[name]) for name in ("hidden", "output"))
        cost = _functions(costs, Cost).get(description["cost"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its metadata describe no model ({error!r})") from error
    return None if hidden is None or output is None or cost is None else Model(hidden, output, cost)


def _description(params: Params, model: Model) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "sizes": sizes_of(params),
        **names_of(model),
    }


def names_of(model: Model) -> dict[str, str]:
    """What a model's hidden and output activation functions and its cost are called, by these three words."""
    return {
        "hidden": _name_of(model.hidden, activations),
        "output": _name_of(model.output, activations),
        "cost": _name_of(model.cost, costs),
    }


def _functions(room: ModuleType, kind: type) -> dict[str, Any]:
    """The room's activation functions, or costs, by name."""
    return {name: value for name, value in vars(room).items() if isinstance(value, kind)}


def _name_of(function: Activation | Cost, room: ModuleType) -> str:
    """The room's name for a function; one that is not the room's has its module before it, and so a dot."""
    for name, known in _functions(room, type(function)).items():
        if known == function:
            return name
    value = function.value
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _unrounded(tensor: np.ndarray, name: str) -> jax.Array:
    """For JAX, in the type that it has; ValueError where that is no floating point or JAX would round it."""
    array = jnp.asarray(tensor)
    if array.dtype != tensor.dtype or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{name} is {tensor.dtype}: expected floating point, and for float64 a program that begins with "
            'jax.config.update("jax_enable_x64", True)'
        )
    return array


@contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    """Meanwhile what safetensors cannot make sense of is a ValueError."""
    try:
        yield
    except (SafetensorError, AttributeError) as error:  # the latter for types that NumPy does not have
        raise ValueError(f"{path} is damaged, or no safetensors file ({error})") from error
