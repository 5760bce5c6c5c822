"""Parameters in a safetensors file, which other tools can open as well."""

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
"""The only key of the metadata: safetensors writes several in random order, but equal networks make equal files."""
FORMAT = (
    "layer N maps activations a to sigma(weights a + biases), with layers.N.weights (n_out, n_in) and "
    "layers.N.biases (n_out,); sigma is `hidden`, in the last layer `output`"
)


def save_params(path: str | Path, params: Params, model: Model | None = None) -> None:
    """Write the parameters as safetensors, named layers.0.weights, layers.0.biases, layers.1.weights and so on.

    model: if given, described in the file's metadata, as JSON: the names of hidden, output and cost, the sizes, and
        what the arrays mean. Your own functions are named as in Python, with their module.

    A file that is there is replaced in one step. Raises OSError if the file cannot be written.

    >>> import tempfile
    >>> from mlp_jax import init_params, load_params, save_params
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_params(f"{directory}/params.safetensors", init_params(jax.random.key(0), (2, 3, 1)), Model())
    ...     load_params(f"{directory}/params.safetensors")
    (Layer(weights=float32[3, 2], biases=float32[3]), Layer(weights=float32[1, 3], biases=float32[1]))
    """
    tensors = {
        f"layers.{number}.{name}": np.asarray(array, order="C")  # safetensors copies the memory, whatever the strides
        for number, layer in enumerate(params)
        for name, array in layer._asdict().items()
    }
    about = {"format": FORMAT, "sizes": sizes_of(params), **names_of(model)} if model else None
    try:
        content = save(tensors, about and {DESCRIPTION: json.dumps(about)})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error
    replace_file(Path(path), content)  # safetensors itself would let only the owner read it


def load_params(path: str | Path) -> Params:
    """The parameters that `save_params` wrote, bit for bit.

    Raises OSError if the file cannot be read, and ValueError if it is damaged, holds no network, or holds float64
    while JAX has float64 disabled.

    >>> import tempfile
    >>> from mlp_jax import init_params, load_params, save_params
    >>> params = init_params(jax.random.key(0), (2, 3, 1))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_params(f"{directory}/params.safetensors", params)
    ...     same = load_params(f"{directory}/params.safetensors")
    >>> bool((same[0].weights == params[0].weights).all())
    True
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
    """The model that `save_params` wrote; None if there is none, or if it has functions that are not of this package.

    Raises OSError if the file cannot be read, and ValueError if it is damaged.

    >>> import tempfile
    >>> from mlp_jax import init_params, load_model, save_params
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_params(f"{directory}/params.safetensors", init_params(jax.random.key(0), (2, 3, 1)), Model())
    ...     load_model(f"{directory}/params.safetensors")
    Model(hidden=sigmoid, output=sigmoid, cost=quadratic)
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


def names_of(model: Model) -> dict[str, str]:
    """The names of a model's functions: {"hidden": ..., "output": ..., "cost": ...}."""
    return {"hidden": model.hidden.name, "output": model.output.name, "cost": model.cost.name}


def _functions(module: ModuleType, kind: type) -> dict[str, Any]:
    """The activation functions, or costs, of a module by name."""
    return {name: value for name, value in vars(module).items() if isinstance(value, kind)}


def _unrounded(tensor: np.ndarray, name: str) -> jax.Array:
    """The tensor for JAX in its own dtype; ValueError if that is not floating point, or if JAX would round it."""
    array = jnp.asarray(tensor)
    if array.dtype != tensor.dtype or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{name} is {tensor.dtype}: expected floating point, and for float64 a program that begins with "
            'jax.config.update("jax_enable_x64", True)'
        )
    return array


@contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    """Within it, a file that safetensors cannot read is a ValueError."""
    try:
        yield
    except (SafetensorError, AttributeError) as error:  # AttributeError for dtypes that NumPy does not have
        raise ValueError(f"{path} is damaged, or no safetensors file ({error})") from error
