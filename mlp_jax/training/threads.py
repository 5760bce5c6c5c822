"""How many threads a small network deserves, and how many cores a population."""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import jax


def use_one_thread_if_small(sizes: Sequence[int], batch_size: int) -> None:
    """Keep XLA's CPU backend to one thread if a mini-batch is too little work to share.

    Handing a step's small operations to other threads costs more than they save: 784-16-16-10 in batches of 100 takes
    131 ms an epoch with two threads and 78 to 103 with one, 784-64-10 240 and 176; 784-128-64-10 comes out even, and
    784-256-10 takes 510 and 670 (medians of 4 epochs, two cores, JAX 0.10.2). The number of threads is read when the
    backend starts: call this before the first computation, or set PJRT_NPROC in the environment, which has priority.

    >>> from mlp_jax.training import use_one_thread_if_small
    >>> use_one_thread_if_small((784, 16, 16, 10), batch_size=100)
    """
    if _is_small(sizes, batch_size):
        os.environ.setdefault("PJRT_NPROC", "1")


def use_cores_for_members(members: int, sizes: Sequence[int], batch_size: int) -> None:
    """Make a device of each core for a population of networks that are small in the same sense.

    Members need nothing of one another, so each core trains its own without waiting: 64 networks 784-16-16-10 take 28
    to 36 ms each and epoch on a mesh over these devices, with the axis "population", and 40 to 46 on one device with
    as many threads (batches of 100, two cores, JAX 0.10.2). JAX_NUM_CPU_DEVICES in the environment has priority, as
    the devices that JAX has made if it has started already. Call this before the first computation.

    >>> from mlp_jax.training import use_cores_for_members
    >>> use_cores_for_members(64, (784, 16, 16, 10), batch_size=100)
    """
    if _is_small(sizes, batch_size) and "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", min(cores, members))
    use_one_thread_if_small(sizes, batch_size)


def _is_small(sizes: Sequence[int], batch_size: int) -> bool:
    return batch_size * max((n_in * n_out for n_in, n_out in pairwise(sizes)), default=0) < 8_000_000
