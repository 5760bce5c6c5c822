"""An epoch on more examples than the device holds: in chunks, the next on its way while the device trains on one.

The order of an epoch is cut into chunks of whole mini-batches. The host gathers the inputs of a chunk from its memory,
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
from jaxtyping import Array, Float, Integer, Num

from mlp_jax.data import Examples
from mlp_jax.training.epoch import CACHE_LINE, train_epoch
from mlp_jax.training.plan import Plan, TrainState
from mlp_jax.training.sharding import BATCH, place_examples

PIECE = 2**26
"""Bytes of a mapped file that are in memory at a time."""


def examples_in_chunk(stream: int, batch_size: int) -> int:
    """How many examples a chunk has if `stream` of them lie on the device: half, in whole mini-batches.

    Raises ValueError if that is none.

    >>> from mlp_jax.training import examples_in_chunk
    >>> examples_in_chunk(1_050, batch_size=100)
    500
    """
    chunk = stream // 2 // batch_size * batch_size
    if chunk < 1:
        raise ValueError(
            f"{stream} examples are to be on the device at a time: expected {2 * batch_size} or more, two "
            "mini-batches, because it trains on one while the next is on its way"
        )
    return chunk


def stream_epoch(
    state: TrainState,
    inputs: Num[np.ndarray, "mine n_in"],
    targets: Num[np.ndarray, "mine ..."],
    order: Integer[Array, " n"],
    plan: Plan,
    weights: Float[np.ndarray, " mine"] | None = None,
    *,
    stream: int,
) -> tuple[TrainState, Float[Array, ""]]:
    """`train_epoch` on inputs that stay with the host: the same steps in the same order.

    inputs, targets, weights: as `train_epoch` has them, but in NumPy arrays; on several processes, each gives its own
        part. Of an `np.memmap` that is opened with mode "r", 64 MB are in memory at a time.
    order: as `train_epoch` has it; all of it is on the device.
    stream: how many examples lie on the device at a time, twice the batch size or more.

    Returns what `train_epoch` does: the state to the same bits on a CPU, and the mean cost to rounding, because it is
    added up chunk by chunk. Raises ValueError for a smaller `stream`, and whatever `train_epoch` refuses.
    """
    parts = parts_of(order)
    share, each = examples_in_chunk(stream, plan.batch_size) // plan.devices(BATCH), len(inputs) // len(parts)
    # Used in turn: of new memory for every chunk, the system would have to clear the pages each time.
    buffers = [empty((len(parts) * min(share, each), inputs.shape[1]), inputs.dtype) for _ in range(2)]
    costs, counts = [], []
    for start in range(0, each, share):
        rows, turns = in_file_order([part[start : start + share] for part in parts], each)
        gathered = gather(inputs, rows, buffers[len(costs) % 2][: len(rows)])
        chosen = Examples(gathered, targets[rows], None if weights is None else weights[rows])
        placed, turns = place_examples((chosen, turns), plan.mesh)
        state, cost = train_epoch(state, placed.inputs, placed.targets, turns, plan, placed.weights)
        costs.append(cost)
        counts.append(len(rows) if weights is None else jnp.sum(placed.weights, dtype=cost.dtype))
        if len(costs) > 1:
            jax.block_until_ready(costs[-2])  # then nobody reads the buffer that is filled next
    mean = jnp.asarray(np.average(*jax.device_get((costs, None, counts))), costs[0].dtype)
    return state._replace(epoch=state.epoch - (len(costs) - 1)), mean  # each chunk has counted as an epoch


def parts_of(order: Integer[Array, " n"]) -> list[Integer[np.ndarray, " each"]]:
    """The order of each part of the examples that devices of this process share, in the order of the parts."""
    parts = {shard.index[0].start or 0: shard.data for shard in order.addressable_shards}
    return [np.asarray(parts[start]) for start in sorted(parts)]


def in_file_order(
    wanted: Iterable[Integer[np.ndarray, " share"]], each: int
) -> tuple[Integer[np.ndarray, " chunk"], Integer[np.ndarray, " chunk"]]:
    """Which rows of the inputs a chunk needs, ascending, and which of them each part takes in turn, counted from 0.

    wanted: the rows of each part, counted from its first. each: how many examples a part has.
    """
    ascending = [np.argsort(part) for part in wanted]
    rows = [number * each + part[by] for number, (part, by) in enumerate(zip(wanted, ascending, strict=True))]
    return np.concatenate(rows), np.concatenate([np.argsort(by).astype(np.int32) for by in ascending])


def gather(
    inputs: Num[np.ndarray, "n n_in"], rows: Integer[np.ndarray, " chunk"], out: Num[np.ndarray, "chunk n_in"]
) -> Num[np.ndarray, "chunk n_in"]:
    """inputs[rows] for ascending rows, in `out`. Pages read from a mapped file leave this process's memory again."""
    file, dtype = file_of(inputs), out.dtype
    if inputs.flags.c_contiguous:  # as bytes: NumPy would first copy all of a mapped file that is not aligned
        inputs, out = inputs.view(np.uint8), out.view(np.uint8)
    piece = len(inputs) if file is None else max(1, PIECE // inputs[0].nbytes)
    edges = np.searchsorted(rows, range(0, len(inputs) + piece, piece))
    for start, stop in pairwise(edges):
        np.take(inputs, rows[start:stop], axis=0, out=out[start:stop], mode="clip")  # "raise" takes a copy of `out`
        if file is not None:
            file.madvise(mmap.MADV_DONTNEED)
    return out.view(dtype)


def file_of(inputs: Num[np.ndarray, "n n_in"]) -> mmap.mmap | None:
    """The file that inputs are mapped from, if its pages can be given up and read again, as unchanged ones can."""
    if not (isinstance(inputs, np.memmap) and inputs.mode == "r" and hasattr(mmap, "MADV_DONTNEED")):
        return None
    memory = inputs
    while isinstance(memory, np.ndarray):
        memory = memory.base
    return memory if isinstance(memory, mmap.mmap) else None


def empty(shape: tuple[int, int], dtype: np.dtype) -> Num[np.ndarray, "chunk n_in"]:
    """An array that starts with a cache line, as those must that JAX takes for its own on a CPU instead of copying."""
    size = shape[0] * shape[1] * dtype.itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)
