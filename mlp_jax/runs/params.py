"""Parameters in a file that any other tool can open."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mlp_jax.network import Layer, Params, check_params


def save_params(path: str | Path, params: Params) -> None:
    """Write the parameters as safetensors, named layers.0.weights, layers.0.biases, layers.1.weights and so on.

    What was at `path` before is replaced in one step: at any moment there is either the old file or the new one.
    Raises OSError where it cannot be written.
    """
    tensors = {
        f"layers.{number}.{name}": np.asarray(array)
        for number, layer in enumerate(params)
        for name, array in layer._asdict().items()
    }
    unfinished = Path(path).with_suffix(".unfinished")
    try:
        save_file(tensors, unfinished)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error
    os.replace(unfinished, path)


def load_params(path: str | Path) -> Params:
    """The parameters that `save_params` wrote, bit for bit.

    Raises OSError for a file that cannot be read, and ValueError for one that is damaged or holds no network.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no safetensors file ({error})") from error
    names = [f"layers.{number}.{name}" for number in range(len(tensors) // 2) for name in Layer._fields]
    if not tensors or set(names) != set(tensors):
        raise ValueError(f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}: expected layers.0.weights and so on")
    arrays = [jnp.asarray(tensors[name]) for name in names]
    params = tuple(map(Layer, arrays[0::2], arrays[1::2]))
    check_params(params)
    return params
