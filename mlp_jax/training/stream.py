"""An epoch on more images than the device holds: in chunks, the next on its way while the device trains on one.

The order of an epoch is cut into chunks of whole mini-batches. The host gathers the images of a chunk from its memory,
or from a file mapped into it, as they lie there one after another; the device takes them in the order of the epoch. A
call of a compiled program returns before it is done, so the host gathers while the device trains, and waits before it
would be two chunks ahead.
"""

import mmap
from collections.abc import Iterable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Integer, UInt8

from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.network import Model
from mlp_jax.training.devices import place_examples
from mlp_jax.training.epoch import BATCH, CACHE_LINE, TrainState, train_epoch

PIECE = 2**26
"""Bytes of a mapped file that are in memory at a time."""


def images_in_chunk(stream: int, batch_size: int) -> int:
    """How many images a chunk has where `stream` of them lie on the device: half, in whole mini-batches.

    Raises ValueError where that is none.
    """
    chunk = stream // 2 // batch_size * batch_size
    if chunk < 1:
        raise ValueError(
            f"{stream} images are to be on the device at a time: expected {2 * batch_size} or more, two mini-batches, "
            "for it trains on one while the next is on its way"
        )
    return chunk


def stream_epoch(
    state: TrainState,
    images: UInt8[np.ndarray, "mine pixels"],
    labels: Integer[np.ndarray, " mine"],
    order: Integer[Array, " n"],
    model: Model,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    gradient: GradientRule = backprop,
    mesh: Mesh | None = None,
    *,
    stream: int,
) -> tuple[TrainState, Float[Array, ""]]:
    """`train_epoch` on images that stay with the host: the same steps in the same order.

    images, labels: as `train_epoch` has them, but in NumPy arrays; on several processes, each gives its own part.
        Of an `np.memmap` that is opened with mode "r", 64 MB are in memory at a time.
    order: as `train_epoch` has it; all of it is on the device.
    stream: how many images lie on the device at a time, twice the batch size or more.

    Returns what `train_epoch` does: the state to the same bits on a CPU, and the mean cost to rounding, for it is added
    up chunk by chunk. Raises ValueError where `train_epoch` does, and for a smaller `stream`.
    """
    parts = parts_of(order)
    devices = mesh.shape.get(BATCH, 1) if mesh is not None else 1
    share, each = images_in_chunk(stream, batch_size) // devices, len(images) // len(parts)
    # Used in turn: of new memory for every chunk, the system would have to clear the pages each time.
    buffers = [empty((len(parts) * min(share, each), images.shape[1])) for _ in range(2)]
    costs, counts = [], []
    for start in range(0, each, share):
        rows, turns = in_file_order([part[start : start + share] for part in parts], each)
        chunk = gather(images, rows, buffers[len(costs) % 2][: len(rows)])
        examples = place_examples((chunk, labels[rows], turns), mesh)
        state, cost = train_epoch(state, *examples, model, optimizer, batch_size, gradient, mesh)
        costs.append(cost)
        counts.append(len(rows))
        if len(costs) > 1:
            jax.block_until_ready(costs[-2])  # then nobody reads the buffer that is filled next
    mean = jnp.asarray(np.average(jax.device_get(costs), weights=counts), costs[0].dtype)
    return state._replace(epoch=state.epoch - (len(costs) - 1)), mean  # each chunk has counted as an epoch


def parts_of(order: Integer[Array, " n"]) -> list[Integer[np.ndarray, " each"]]:
    """The order of each part of the examples that devices of this process share, in the order of the parts."""
    parts = {shard.index[0].start or 0: shard.data for shard in order.addressable_shards}
    return [np.asarray(parts[start]) for start in sorted(parts)]


def in_file_order(
    wanted: Iterable[Integer[np.ndarray, " share"]], each: int
) -> tuple[Integer[np.ndarray, " chunk"], Integer[np.ndarray, " chunk"]]:
    """Which rows of the images a chunk needs, ascending, and which of them each part takes in turn, counted from 0.

    wanted: the rows of each part, counted from its first. each: how many images a part has.
    """
    ascending = [np.argsort(part) for part in wanted]
    rows = [number * each + part[by] for number, (part, by) in enumerate(zip(wanted, ascending, strict=True))]
    return np.concatenate(rows), np.concatenate([np.argsort(by).astype(np.int32) for by in ascending])


def gather(
    images: UInt8[np.ndarray, "n pixels"], rows: Integer[np.ndarray, " chunk"], out: UInt8[np.ndarray, "chunk pixels"]
) -> UInt8[np.ndarray, "chunk pixels"]:
    """images[rows] for rows that ascend, in `out`. What is read of a mapped file leaves this process's memory again."""
    file = file_of(images)
    piece = len(images) if file is None else max(1, PIECE // images.shape[1])
    edges = np.searchsorted(rows, range(0, len(images) + piece, piece))
    for start, stop in pairwise(edges):
        np.take(images, rows[start:stop], axis=0, out=out[start:stop], mode="clip")  # "raise" takes a copy of `out`
        if file is not None:
            file.madvise(mmap.MADV_DONTNEED)
    return out


def file_of(images: UInt8[np.ndarray, "n pixels"]) -> mmap.mmap | None:
    """The file that images are mapped from, if its pages can be given up and read again, as unchanged ones can."""
    if not (isinstance(images, np.memmap) and images.mode == "r" and hasattr(mmap, "MADV_DONTNEED")):
        return None
    memory = images
    while isinstance(memory, np.ndarray):
        memory = memory.base
    return memory if isinstance(memory, mmap.mmap) else None


def empty(shape: tuple[int, int]) -> UInt8[np.ndarray, "chunk pixels"]:
    """An array that starts with a cache line, as those must that JAX takes for its own on a CPU instead of copying."""
    memory = np.empty(shape[0] * shape[1] + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + shape[0] * shape[1]].reshape(shape)
