"""Little training: many epochs in one call, of one program for examples of almost any number.

A small network on few examples takes less time to train than its program takes to compile, and an epoch less than a
call. So the examples are padded to one of eight sizes in a doubling, with rows of weight 0, and the number of
mini-batches is an argument: with a row more, or with another fold of a cross-validation, the same program runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from mlp_jax.data import Dataset, Examples
from mlp_jax.network import as_inputs, as_targets, float32_or_finer, total_weight
from mlp_jax.training.divergence import all_finite, memory_of
from mlp_jax.training.epoch import members_at_once, rows, telling_batch_size, update
from mlp_jax.training.evaluation import loss_and_answers
from mlp_jax.training.plan import Plan, TrainState, takes_weights
from mlp_jax.training.sharding import epoch_order

EPOCHS = 16
"""How many epochs a call makes at most."""
WORK = 2**25
"""How many products of an example and a parameter an epoch has at most: some 10 ms on a CPU."""
STEP = 2**17
"""As how many products a mini-batch counts, however small it is: some 40 microseconds."""
MEMORY = 2**25
"""How many bytes the states after all epochs of a call take at most."""


class Epochs(NamedTuple):
    """What some epochs made: arrays with an axis for them, after that of the members if it is a population.

    state: after each. cost: the mean cost of the training examples. finite: whether all numbers still are.
    test_loss, answers: of the test examples, as `loss_and_answers` has them.
    """

    state: TrainState
    cost: Float[Array, "*members epochs"]
    finite: Bool[Array, "*members epochs"]
    test_loss: Float[Array, "*members epochs"]
    answers: Num[Array, "*members epochs _"]


def is_little(state: TrainState, dataset: Dataset, plan: Plan) -> bool:
    """Whether an epoch is so little work that many of them belong in one call."""
    leaves = jax.tree.leaves(state)
    if plan.mesh is not None or not takes_weights(plan.gradient):
        return False
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves):  # NumPy has no such numbers
        return False
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    memory = EPOCHS * sum(leaf.nbytes for leaf in leaves)
    work = numbers * (len(dataset.train) + len(dataset.test)) + STEP * (len(dataset.train) // plan.batch_size)
    return work <= WORK and memory <= MEMORY


def little_epochs(
    state: TrainState, dataset: Dataset, plan: Plan, numbers: range, seeds: Sequence[int]
) -> Iterator[tuple[range, Epochs]]:
    """The epochs of these numbers, from 0, some at a time: NumPy arrays whose first axis are the epochs.

    Made are as many as one call makes, of which the first count: as many as there are numbers.

    seeds: of the order of the examples, one, or one for each member of a population.
    """
    count, members = len(dataset.train), np.shape(state.epoch)
    train, test = padded(dataset.train, spare=1), padded(dataset.test)
    if plan.batch_size >= count:
        plan = replace(plan, batch_size=len(train))
    train, test = jax.device_put((train, test))
    slots = -(-len(train) // plan.batch_size) * plan.batch_size
    if members == (1,):  # the program of one network, to its bits
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state)
    for first in numbers[::EPOCHS]:
        some = range(first, min(first + EPOCHS, numbers.stop))
        orders = np.full((len(seeds), EPOCHS, slots), count, np.int32)  # a row of weight 0
        for number, seed in enumerate(seeds):
            for turn, epoch in enumerate(some):
                orders[number, turn, :count] = epoch_order(seed, epoch, count)
        steps = np.where(np.arange(EPOCHS) < len(some), -(-count // plan.batch_size), 0).astype(np.int32)
        made = jax.device_get(train_epochs(state, train, test, orders[0] if len(seeds) == 1 else orders, steps, plan))
        if np.ndim(state.epoch):
            made = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), made)
        state = _at(len(some) - 1, made.state)
        yield some, jax.tree.map(lambda leaf: leaf[:, None], made) if members == (1,) else made


def state_at(made: Epochs, turn: int) -> TrainState:
    """The state after the epoch whose turn, from 0, it was; on the device."""
    return jax.device_put(_at(turn, made.state))


def _at(turn: int, states: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[turn], states)


def padded(examples: Examples, spare: int = 0) -> Examples:
    """The examples, and behind them copies of the first with weight 0, `spare` of them or more.

    The number of rows is then one of eight in each doubling.

    >>> [len(padded(Examples(np.zeros((n, 2)), np.zeros(n, int)))) for n in (7, 8, 17, 100, 1000)]
    [7, 8, 18, 104, 1024]
    """
    rows = len(examples) + spare
    step = 2 ** max(0, (rows - 1).bit_length() - 4)
    more = spare + -rows % step
    weights = np.ones(len(examples), np.float32) if examples.weights is None else examples.weights

    def longer(array: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "padded ..."]:
        return np.concatenate([array, np.repeat(array[:1], more, axis=0)])

    return Examples(longer(examples.inputs), longer(examples.targets), np.pad(weights, (0, more)))


@partial(jax.jit, static_argnames="plan")
def train_epochs(
    state: TrainState,
    train: Examples,
    test: Examples,
    orders: Int[Array, "*members epochs slots"],
    steps: Int[Array, " epochs"],
    plan: Plan,
) -> Epochs:
    """Some epochs of one network, or of a population, and its evaluation after each.

    train, test: with weights. orders: in each epoch which example comes when, shared by the members or of each; as
    many as whole mini-batches have. steps: how many mini-batches each epoch takes of them, 0 or more.
    """
    plan = telling_batch_size(plan)
    fine = float32_or_finer(state.params[0].weights.dtype)  # float16 ends at 65,504
    weights = train.weights.astype(fine)

    def one_epoch(before: TrainState, given: tuple[Int[Array, " slots"], Int[Array, ""]]) -> tuple[TrainState, Epochs]:
        order, steps = given
        batches = order.reshape(-1, plan.batch_size)

        def step(number: Array, reached: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, total = reached
            batch = batches[number]
            x = as_inputs(rows(train.inputs, batch), state.params)
            y, w = as_targets(rows(train.targets, batch), state.params), rows(weights, batch)
            state, cost = update(state, x, y, plan, weights=w)
            return state, total + cost.astype(fine) * jnp.sum(w)

        after, total = jax.lax.fori_loop(0, steps, step, (before, jnp.zeros((), fine)))
        after, cost = after._replace(epoch=before.epoch + 1), total / total_weight(jnp.sum(weights))
        finite = all_finite((after.params, cost, memory_of(before, after)))
        model = plan.model_of(after)
        found = loss_and_answers(after.params, test.inputs, test.targets, model, test.weights)
        return after, Epochs(after, cost, finite, *found)

    if state.epoch.ndim == 0:
        return jax.lax.scan(one_epoch, state, (orders, steps))[1]

    def of_one(own: tuple[TrainState, Array | None]) -> Epochs:
        state, own_orders = own
        return jax.lax.scan(one_epoch, state, (orders if own_orders is None else own_orders, steps))[1]

    own_orders = orders.ndim == 3
    at_once = members_at_once(state.params, plan.batch_size * train.inputs.shape[1] if own_orders else 0)
    return jax.lax.map(of_one, (state, orders if own_orders else None), batch_size=at_once)
