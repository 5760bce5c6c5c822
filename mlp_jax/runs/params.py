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
from mlp_jax.data.preprocessing import Preprocessing
from mlp_jax.network import Layer, Model, Params, check_params, sizes_of
from mlp_jax.runs.files import replace_file

DESCRIPTION = "mlp_jax"
"""The only key of the metadata: safetensors writes several in random order, but equal networks make equal files."""
SCALINGS = ("inputs.", "targets.")
"""The beginnings of the names of arrays that are no parameters."""
FORMAT = (
    "layer N maps activations a to sigma(weights a + biases), with layers.N.weights (n_out, n_in) and "
    "layers.N.biases (n_out,); sigma is `hidden`, in the last layer `output`"
)
OF_MEMBERS = "; the arrays have a leading axis of `members`, networks whose outputs are averaged"


def save_params(
    path: str | Path, params: Params, model: Model | None = None, preprocessing: Preprocessing | None = None
) -> None:
    """Write the parameters as safetensors, named layers.0.weights, layers.0.biases, layers.1.weights and so on.

    params: of one network, or of a population, with a leading axis of members.
    model: if given, described in the file's metadata, as JSON: the names of hidden, output and cost, the sizes, and
        what the arrays mean. Your own functions are named as in Python, with their module.
    preprocessing: if given, in the metadata too, but for the numbers of its scalings, which are arrays of float64 named
        inputs.shift, inputs.scale and so on.

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
    about: dict[str, Any] = {}
    if model:
        about = {"format": FORMAT, "sizes": sizes_of(one_of(params)), **names_of(model)}
        if params[0].weights.ndim == 3:
            about |= {"format": FORMAT + OF_MEMBERS, "members": len(params[0].weights)}
    if preprocessing is not None:
        tensors |= preprocessing.to_arrays()
        about["preprocessing"] = preprocessing.to_document()
    try:
        content = save(tensors, {DESCRIPTION: json.dumps(about)} if about else None)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error
    replace_file(Path(path), content)  # safetensors itself would let only the owner read it


def load_params(path: str | Path) -> Params:
    """The parameters that `save_params` wrote, bit for bit, of one network or of a population.

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
        tensors = {name: array for name, array in load_file(path).items() if not name.startswith(SCALINGS)}
    names = [f"layers.{number}.{name}" for number in range(len(tensors) // 2) for name in Layer._fields]
    if not tensors or set(names) != set(tensors):
        raise ValueError(f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}: expected layers.0.weights and so on")
    arrays = [_unrounded(tensors[name], f"{name} in {path}") for name in names]
    params = tuple(map(Layer, arrays[0::2], arrays[1::2]))
    members = {array.shape[:1] for array in arrays} if params[0].weights.ndim == 3 else set()
    if len(members) > 1 or members == {(0,)}:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"{path} has arrays of shapes {shapes}: expected the same number of members in each")
    check_params(one_of(params))
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
    description = _description(path)
    if description is None or description.keys() == {"preprocessing"}:
        return None
    try:
        hidden, output = (_functions(activations, Activation).get(description[name]) for name in ("hidden", "output"))
        cost = _functions(costs, Cost).get(description["cost"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: its metadata describe no model ({error!r})") from error
    return None if hidden is None or output is None or cost is None else Model(hidden, output, cost)


def load_preprocessing(path: str | Path) -> Preprocessing | None:
    """The preprocessing that `save_params` wrote; None if there is none.

    Raises OSError if the file cannot be read, and ValueError if it is damaged.

    >>> import tempfile
    >>> from mlp_jax import init_params, save_params
    >>> from mlp_jax.data import load_table
    >>> from mlp_jax.runs import load_preprocessing
    >>> data = load_table({"x": [0.0, 1.5, 2.0, 3.0], "y": [1.5, 2.5, 3.5, 4.5]}, "y")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = f"{directory}/params.safetensors"
    ...     save_params(path, init_params(jax.random.key(0), (1, 1)), Model(), data.preprocessing)
    ...     load_preprocessing(path).feature_names
    ('x',)
    """
    document = (_description(path) or {}).get("preprocessing")
    if document is None:
        return None
    with _damage_named(path):
        arrays = {name: array for name, array in load_file(path).items() if name.startswith(SCALINGS)}
    try:
        return Preprocessing.from_parts(document, arrays)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its metadata describe no preprocessing ({error!r})") from error


def _description(path: str | Path) -> dict[str, Any] | None:
    """What the metadata say of the network; None if they say nothing."""
    with _damage_named(path), safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    if DESCRIPTION not in metadata:
        return None
    try:
        description = json.loads(metadata[DESCRIPTION])
        if not isinstance(description, dict):
            raise TypeError(f"{description!r:.40} is no JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its metadata describe no model ({error!r})") from error
    return description


def one_of(params: Params) -> Params:
    """The network, or the first one of a population: of a committee the best."""
    return jax.tree.map(lambda leaf: leaf[0], params) if params[0].weights.ndim == 3 else params


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
