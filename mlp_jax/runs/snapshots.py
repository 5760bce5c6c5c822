"""A run's few snapshots of what its first layer looked for as it learned."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16, Integer

from mlp_jax.network import Params
from mlp_jax.runs.files import replace_file
from mlp_jax.runs.run import RunError

SNAPSHOTS = "snapshots.npz"
NEURONS = 64
"""How many neurons of the first layer are kept: enough to look at, and a wide layer does not fill the disk."""


class Snapshots(NamedTuple):
    """First-layer weights after some epochs; epoch 0 is before training.

    epochs: ascending, (kept,). weights: (kept, neurons, inputs), float16, for they are looked at and not used.
    """

    epochs: Integer[np.ndarray, " kept"]
    weights: Float16[np.ndarray, "kept neurons inputs"]


def is_due(epoch: int, epochs: int) -> bool:
    """Whether a snapshot is kept after this epoch of so many: 0, 1, 2, 3, 5, 8 and so on, and the last.

    Learning is fast first: Fibonacci's numbers are close together where most happens, and twelve reach epoch 144.
    """
    here, following = 0, 1
    while here < epoch:
        here, following = following, here + following
    return epoch in (here, epochs)


def as_kept(params: Params) -> Float16[np.ndarray, "neurons inputs"]:
    """First-layer weights of up to NEURONS neurons, cut to what float16 holds."""
    return np.asarray(params[0].weights[:NEURONS], np.float32).clip(-65504, 65504).astype(np.float16)


def keep_snapshot(directory: Path, epoch: int, params: Params) -> None:
    """Add one to snapshots.npz in place of what was kept of this and later epochs, which a resumed run trains anew.

    Raises OSError where it cannot be written, RunError where what is there is damaged.
    """
    weights = as_kept(params)[None]
    kept = read_snapshots(directory)
    epochs = np.array([epoch])
    if kept is not None:
        earlier = kept.epochs < epoch
        epochs = np.concatenate([kept.epochs[earlier], epochs])
        weights = np.concatenate([kept.weights[earlier], weights])
    content = io.BytesIO()
    np.savez(content, epochs=epochs, weights=weights)
    replace_file(directory / SNAPSHOTS, content.getvalue())


def read_snapshots(directory: Path) -> Snapshots | None:
    """Those that the run in `directory` kept; None where it kept none. Raises RunError where they are damaged."""
    path = directory / SNAPSHOTS
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            epochs, weights = arrays["epochs"], arrays["weights"]
    except Exception as error:  # zip files and npy headers that are damaged raise almost anything
        raise RunError(f"{path} is damaged ({error}): delete it, and earlier epochs are seen no more") from error
    if (
        weights.ndim != 3
        or weights.dtype != np.float16
        or epochs.shape != weights.shape[:1]
        or not np.issubdtype(epochs.dtype, np.integer)
        or not weights.size
    ):
        raise RunError(f"{path} holds no snapshots: epochs {epochs.shape}, weights {weights.dtype} {weights.shape}")
    return Snapshots(epochs, weights)
