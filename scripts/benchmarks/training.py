"""Epochs of the package's own compiled programs, one after another."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import jax

from mlp_jax import Examples, Plan, TrainState
from mlp_jax.training.sharding import place_order

LESSON = (784, 16, 16, 10)
"""The network of the lessons."""


def one_by_one(
    train: Callable[..., Any], state: TrainState, examples: Examples, plan: Plan, seed: int | Sequence[int] = 0
) -> Iterator[TrainState]:
    """Trains for another epoch at each `next`, in another order, and yields the state, which the next one donates.

    train: `train_epoch`, or one that is called like it. state, examples: on the plan's devices.
    """
    for epoch in count():
        order = place_order(seed, epoch, len(examples), plan.mesh)
        state, _ = jax.block_until_ready(train(state, examples.inputs, examples.targets, order, plan))
        yield state


def named(sizes: Sequence[int]) -> str:
    """784-16-16-10, for instance."""
    return "-".join(map(str, sizes))
