"""Snapshots of the weights of a run's second layer, params[0], after a few of its epochs."""

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
"""How many neurons of the second layer are kept, so that a wide layer does not fill the disk."""


class Snapshots(NamedTuple):
    """The weights of params[0] after some epochs; epoch 0 is before training.

    epochs: ascending, (kept,). weights: (kept, neurons, inputs), float16, because they are only drawn.
    """

    epochs: Integer[np.ndarray, " kept"]
    weights: Float16[np.ndarray, "kept neurons inputs"]


def is_due(epoch: int, epochs: int) -> bool:
    """Whether a snapshot is due after `epoch` of `epochs`: after 0, 1, 2, 3, 5, 8 and so on, and after the last.

    Weights change most in the first epochs, so Fibonacci's numbers suit: twelve snapshots reach epoch 144.
    """
    here, following = 0, 1
    while here < epoch:
        here, following = following, here + following
    return epoch in (here, epochs)


def as_kept(params: Params) -> Float16[np.ndarray, "neurons inputs"]:
    """The weights of params[0], of up to NEURONS neurons, clipped to the range of float16."""
    return np.asarray(params[0].weights[:NEURONS], np.float32).clip(-65504, 65504).astype(np.float16)


def keep_snapshot(directory: Path, epoch: int, params: Params) -> None:
    """Add a snapshot to snapshots.npz, in place of those of this and later epochs, which a resumed run trains again.

    Raises OSError if the file cannot be written, and RunError if the one that is there is damaged.
    """
    epochs, weights, kept = np.array([epoch]), as_kept(params)[None], read_snapshots(directory)
    if kept is not None:
        earlier = kept.epochs < epoch
        epochs = np.concatenate([kept.epochs[earlier], epochs])
        weights = np.concatenate([kept.weights[earlier], weights])
    content = io.BytesIO()
    np.savez(content, epochs=epochs, weights=weights)
    replace_file(directory / SNAPSHOTS, content.getvalue())


def read_snapshots(directory: Path) -> Snapshots | None:
    """The snapshots of the run in `directory`; None if it has none. Raises RunError if they are damaged."""
    path = directory / SNAPSHOTS
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            epochs, weights = arrays["epochs"], arrays["weights"]
    except Exception as error:  # a damaged zip file or npy header raises almost anything
        raise RunError(f"{path} is damaged ({error}): delete it, and the earlier epochs will not be shown") from error
    fits = weights.ndim == 3 and weights.size and epochs.shape == weights.shape[:1]
    if not fits or weights.dtype != np.float16 or epochs.dtype.kind not in "iu":
        raise RunError(f"{path} holds no snapshots: epochs {epochs.shape}, weights {weights.dtype} {weights.shape}")
    return Snapshots(epochs, weights)
