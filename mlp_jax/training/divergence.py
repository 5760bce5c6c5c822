"""Training that diverged: which number first stopped being finite, found by running an epoch again step by step."""

from collections import OrderedDict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Integer

from mlp_jax.data import Examples
from mlp_jax.gradients.finite import quantities
from mlp_jax.network import as_inputs, as_targets
from mlp_jax.training.epoch import rows, update
from mlp_jax.training.plan import Plan, TrainState
from mlp_jax.training.sharding import on_devices, place, place_examples
from mlp_jax.training.stream import in_file_order, parts_of


class DivergenceError(ArithmeticError):
    """Training stopped because a cost, a parameter or the optimiser's memory was no longer finite.

    state: the TrainState after the last good epoch.

    >>> import numpy as np
    >>> from mlp_jax import Dataset, DivergenceError, Examples, Model, fit, identity, init_params, make_optimizer
    >>> numbers, sgd = Examples(np.full((20, 2), 1e6), np.full((20, 1), 1e6)), make_optimizer("sgd", 3.0)  # too large
    >>> try:
    ...     params = init_params(jax.random.key(0), (2, 3, 1))
    ...     fit(params, Dataset(numbers, numbers), Model(output=identity), epochs=9, batch_size=2, optimizer=sgd)
    ... except DivergenceError as error:
    ...     print(error.state.epoch < 9)
    True
    """

    def __init__(self, message: str, state: TrainState) -> None:
        super().__init__(message)
        self.state = state


def first_failure(state: TrainState, examples: Examples, order: Integer[Array, " n"], plan: Plan) -> str:
    """What stopped being finite first in an epoch, "weighted sums of layers.1 in mini-batch 12 of 600" for instance.

    state: before the epoch, of one network. examples: this process's part, in NumPy arrays. order, plan: the epoch's.

    Of what a mini-batch makes the order is that of computing: forward, the cost, backward, then the parameters and
    the optimiser's memory. Returns "" if everything stays finite.
    """
    parts = parts_of(order)
    share, each = plan.on_each_device().batch_size, len(examples) // len(parts)
    state = place(state, plan.mesh)
    for start in range(0, each, share):
        wanted, turns = in_file_order([part[start : start + share] for part in parts], each)
        state, finite = _step(state, *place_examples((examples.rows(wanted), turns), plan.mesh), plan)
        for name, fine in finite.items():
            if not fine:
                return f"{name} in mini-batch {start // share + 1} of {-(-each // share)}"
    return ""


@partial(jax.jit, static_argnames="plan")
def _step(
    state: TrainState, examples: Examples, turns: Array, plan: Plan
) -> tuple[TrainState, OrderedDict[str, Bool[Array, ""]]]:
    """One update, and whether what it computes is finite, by name, in the order of computing."""
    local = plan if plan.mesh is None else plan.on_each_device()

    def step(state: TrainState, examples: Examples, turns: Array) -> tuple[TrainState, OrderedDict[str, Array]]:
        inputs = as_inputs(rows(examples.inputs, turns), state.params)
        targets = as_targets(rows(examples.targets, turns), state.params)
        weights = None if examples.weights is None else rows(examples.weights, turns)
        after, _ = update(state, inputs, targets, local, plan.across, weights)
        found = quantities(state.params, inputs, targets, plan.model_of(state), plan.gradient, weights)
        for number, layer in enumerate(after.params):
            found |= {f"parameters of layers.{number}": layer}
        found |= {"optimiser's memory": memory_of(state, after)}
        finite = OrderedDict((name, all_finite(tree)) for name, tree in found.items())  # a dict would be sorted
        if plan.across:
            finite = jax.tree.map(lambda fine: jax.lax.pmin(fine.astype(jnp.int32), plan.across) > 0, finite)
        return after, finite

    if plan.mesh is None:
        return step(state, examples, turns)
    whole, split = P(), P(plan.across)
    return on_devices(step, plan.mesh, (whole, split, split), (whole, whole))(state, examples, turns)


def memory_of(before: TrainState, after: TrainState) -> Any:
    """The optimiser's state after some steps, with zeros for numbers that were not finite before them.

    Some begin with infinity, as the lowest cost so far for instance.
    """

    def where_finite(old: Any, new: Any) -> Any:
        return jnp.where(jnp.isfinite(old), new, 0) if jnp.issubdtype(new.dtype, jnp.inexact) else new

    return jax.tree.map(where_finite, before.optimizer_state, after.optimizer_state)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all numbers are finite."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in numbers]))


@jax.jit
def still_finite(before: TrainState, after: TrainState, cost: Array) -> Bool[Array, "*members"]:
    """Whether parameters, cost and the optimiser's memory are finite after an epoch, of each member."""

    def check(before: TrainState, after: TrainState, cost: Array) -> Bool[Array, ""]:
        return all_finite((after.params, cost, memory_of(before, after)))

    return (check if after.epoch.ndim == 0 else jax.vmap(check))(before, after, cost)
