"""This machine's rate at large matrix products, and how many operations of that kind an epoch of training is."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from timing import cores, threads

SIDE = 2048
"""Rows and columns of the matrices: a product is 17 GFLOP."""


class Product(NamedTuple):
    """A matrix product in float32: who makes it, on how many threads, and the call."""

    by: str
    threads: int
    call: Callable[[], Any]


Timed = tuple[Product, list[float]]  # a product and the seconds that it took


def products() -> dict[str, Product]:
    """By JAX on the threads that it has, by NumPy on as many and on all cores. Each has been made once."""
    a, b = np.random.default_rng(0).normal(size=(2, SIDE, SIDE)).astype(np.float32)
    on_device = jax.device_put((a, b))
    multiply = jax.jit(jnp.matmul)

    def by_numpy(count: int) -> Callable[[], Any]:
        def call() -> Any:
            with limited(count):
                return a @ b

        return call

    found = [Product("JAX", threads(), lambda: jax.block_until_ready(multiply(*on_device)))]
    counts = sorted({threads(), cores()}) if _threadpoolctl() else [cores()]
    found += [Product("NumPy", count, by_numpy(count)) for count in counts]
    for product in found:
        product.call()
    return {f"a product by {product.by}, threads: {product.threads}": product for product in found}


def limited(count: int) -> AbstractContextManager[Any]:
    """NumPy, SciPy and scikit-learn kept to so many threads; as they are if threadpoolctl is not installed."""
    if not _threadpoolctl():
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(count)


def _threadpoolctl() -> bool:
    return importlib.util.find_spec("threadpoolctl") is not None


def operations(sizes: Sequence[int], examples: int) -> int:
    """Additions and multiplications of the matrix products of an epoch, whatever the mini-batches.

    Each layer has one product forward and one for its weights' gradient, and each but the first one for the errors.
    """
    weights = [n_in * n_out for n_in, n_out in pairwise(sizes)]
    return 2 * examples * (3 * sum(weights) - weights[0])


def summary(made: Mapping[str, Timed], sizes: Sequence[int], examples: int) -> dict[str, Any]:
    """The rates of products, and how long those of an epoch would take at the best of as many threads as JAX has."""
    rates = [
        {"by": product.by, "threads": product.threads, "gflop_per_s": 2e-9 * SIDE**3 / float(np.median(seconds))}
        for product, seconds in made.values()
    ]
    best = max((rate for rate in rates if rate["threads"] == threads()), key=lambda rate: rate["gflop_per_s"])
    gflop = 1e-9 * operations(sizes, examples)
    return {
        "side": SIDE,
        "rates": rates,
        "best": best,
        "gflop_an_epoch": gflop,
        "ms_at_best": 1e3 * gflop / best["gflop_per_s"],
    }
