"""Optimisers by name, for the command line and for the default run."""

from functools import cache
from typing import Literal

import jax
import jax.numpy as jnp
import optax

Schedule = Literal["constant", "cosine"]

LEARNING_RATE = 3.0
"""The rate that serves plain SGD best on 784-16-16-10 with batches of 100 and cosine decay over 30 epochs, chosen on
10,000 of the training images: of 1, 2, 3, 4, 6 and 8 the one with the best median and minimum over eight seeds."""


@cache  # the same optimiser is the same object, so that what was compiled for it is found again
def make_optimizer(
    name: str = "sgd", learning_rate: float = LEARNING_RATE, schedule: Schedule = "constant", steps: int = 1
) -> optax.GradientTransformation:
    """The optimiser that Optax has under this name, "sgd" or "adam" for instance.

    learning_rate: above 0. schedule: "constant", or "cosine", which falls from the learning rate to 0 over `steps`
    updates (Loshchilov and Hutter 2017). Raises ValueError for a name that Optax does not have, or a learning rate
    that is not above 0.
    """
    if not (0 < learning_rate < float("inf")):
        raise ValueError(f"the learning rate is {learning_rate}: expected a finite number above 0")
    rate = optax.cosine_decay_schedule(learning_rate, steps) if schedule == "cosine" else learning_rate
    try:
        optimizer = getattr(optax, name)(rate)
        jax.eval_shape(lambda params: optimizer.update(params, optimizer.init(params), params), jnp.zeros(1))
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"Optax has no optimiser {name!r} that works from a learning rate and gradients alone: "
            "try sgd, adam, adamw, lion or rmsprop"
        ) from None
    return optimizer
