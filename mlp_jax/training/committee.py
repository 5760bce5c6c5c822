"""A committee: the members of a population, each after the epoch that suits it, whose outputs are averaged."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from mlp_jax.data import Examples
from mlp_jax.network import Model, Params, as_inputs, as_targets, feedforward
from mlp_jax.training.evaluation import Evaluation, evaluation_of
from mlp_jax.training.plan import member

BLOCK = 256
"""Rows that a network answers at a time: one program serves any number of them."""
BEST = 4
"""Of members that vary, the best one in so many is kept."""
TINY, EPSILON = np.finfo(np.float32).tiny, np.finfo(np.float32).epsneg
COVERAGE = 0.9
"""How many of the true numbers an interval is to hold."""


class Chosen:
    """The state, or the parameters, of each member after an epoch of its own.

    members: how many there are.

    >>> from mlp_jax import init_population
    >>> from mlp_jax.training import Chosen
    >>> chosen, earlier, later = Chosen(2), init_population([0, 1], (2, 3)), init_population([2, 3], (2, 3))
    >>> chosen.take(np.array([True, True]), lambda: earlier)
    >>> chosen.take(np.array([False, True]), lambda: later)
    >>> bool((chosen.kept()[0].weights[1] == later[0].weights[1]).all())
    True
    """

    def __init__(self, members: int) -> None:
        self._reached: list[Callable[[], Any] | None] = [None] * members

    def take(self, which: Bool[np.ndarray, " members"], reached: Callable[[], Any]) -> None:
        """From now on what `reached` gives, with a leading axis of members, counts for these."""
        for number in np.flatnonzero(which):
            self._reached[number] = reached

    @property
    def members(self) -> list[int]:
        """The members that something was taken for."""
        return [number for number, reached in enumerate(self._reached) if reached is not None]

    def kept(self) -> Any:
        """What counts for them, in NumPy arrays with a leading axis for `members`."""
        whole = {id(reached): jax.device_get(reached()) for reached in self._reached if reached is not None}
        own = [member(whole[id(reached)], n) for n, reached in enumerate(self._reached) if reached is not None]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *own)


def outputs_of_members(
    params: Params, inputs: Num[np.ndarray, "n n_in"], model: Model
) -> Float[np.ndarray, "members n n_out"]:
    """What each member of a population answers to each row. A row's answers do not depend on the others, to the bit.

    inputs: as `Examples` has them.

    >>> from mlp_jax import Model, init_population
    >>> from mlp_jax.training import outputs_of_members
    >>> outputs_of_members(init_population(range(8), (2, 3)), np.ones((5, 2), np.float32), Model()).shape
    (8, 5, 3)
    """
    params, blocks = jax.device_put(params), []
    for start in range(0, len(inputs), BLOCK):
        rows = inputs[start : start + BLOCK]
        whole = np.concatenate([rows, np.repeat(rows[:1], BLOCK - len(rows), axis=0)])
        blocks.append(np.asarray(_outputs(params, whole, model))[:, : len(rows)])
    return np.concatenate(blocks, axis=1)


@partial(jax.jit, static_argnames="model")
def _outputs(params: Params, inputs: Array, model: Model) -> Float[Array, "members n n_out"]:
    return jax.vmap(feedforward, (0, None, None))(params, as_inputs(inputs, params), model)


def evaluate_committee(params: Params, examples: Examples, model: Model) -> Evaluation:
    """What `evaluate` finds for the mean of the outputs of a population's members.

    >>> from mlp_jax import Examples, Model, init_population
    >>> from mlp_jax.training import evaluate_committee
    >>> test = Examples(np.zeros((4, 2), np.float32), np.array([0, 1, 2, 0]))
    >>> evaluate_committee(init_population(range(8), (2, 3)), test, Model()).confusion.sum()
    np.int64(4)
    """
    outputs = outputs_of_members(params, examples.inputs, model).mean(axis=0)
    n_out, weights = outputs.shape[1], examples.weights
    low, high = model.cost.domain  # an output may have rounded to an end, where the cost has no limit
    inside = np.clip(outputs, low + TINY, high - EPSILON) if high == 1 else outputs
    costs = model.cost.of(model.output).value(jnp.asarray(inside), as_targets(examples.targets, params))
    loss = np.average(np.asarray(costs), weights=weights)
    if examples.has_classes:
        return evaluation_of(loss, outputs.argmax(axis=1), examples, n_out)
    squares = (outputs.astype(np.float64) - examples.targets) ** 2
    return evaluation_of(loss, np.average(squares, axis=0, weights=weights), examples, n_out)


def varied(
    members: int, learning_rate: float, weight_decay: float, random: np.random.Generator | np.random.RandomState
) -> dict[str, Float[np.ndarray, " members"]]:
    """Random hyperparameters around the given ones: learning rates up to 5 times more or less, decays up to 100 times.

    >>> from mlp_jax.training import varied
    >>> varied(3, 0.1, 0.0, np.random.default_rng(0)).keys()
    dict_keys(['learning_rate'])
    """
    rates = {"learning_rate": learning_rate * 5 ** random.uniform(-1, 1, members)}
    return rates | ({"weight_decay": weight_decay * 100 ** random.uniform(-1, 1, members)} if weight_decay else {})


def interval_margin(outputs: Float[np.ndarray, "members n 1"], targets: Float[np.ndarray, "n 1"]) -> float | None:
    """What `half_widths` is to add to the members' spread for intervals that hold nine tenths of the true numbers.

    targets: of examples that were not learned from. Nine tenths of these lie within. Split conformal prediction (Lei et
    al. 2018, Distribution-Free Predictive Inference for Regression, algorithm 2) promises as much for new examples of
    the same kind; a little less is to be expected if these examples have chosen the epoch of each member, or the
    members. None if there are fewer than nine.

    >>> from mlp_jax.training import interval_margin
    >>> answers, true = np.zeros((8, 99, 1)), np.linspace(-1, 1, 99)[:, None]
    >>> round(interval_margin(answers, true), 2)  # of the 90th of 99
    0.92
    """
    beyond = np.sort(np.abs(targets - outputs.mean(axis=0))[:, 0] - half_widths(outputs, 0.0)[:, 0])
    place = math.ceil(COVERAGE * (len(beyond) + 1))
    return float(beyond[place - 1]) if place <= len(beyond) else None


def half_widths(outputs: Float[np.ndarray, "members n n_out"], margin: float) -> Float[np.ndarray, "n n_out"]:
    """Half the width of intervals around the members' means: two standard deviations of their answers, and a margin.

    The first is how far networks that learned the same disagree, the second the noise in what they learned.

    >>> from mlp_jax.training import half_widths
    >>> half_widths(np.array([[[1.0]], [[3.0]]]), margin=0.5).tolist()
    [[2.5]]
    """
    return np.maximum(2 * outputs.std(axis=0) + margin, 0)
