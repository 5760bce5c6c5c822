"""One update, and an epoch of them as a single compiled program."""

from dataclasses import replace
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Integer, Num, UInt8

from mlp_jax.backward import check_like_params, in_float32_or_finer
from mlp_jax.network import Params, as_inputs, as_targets, float32_or_finer, loss, total_weight
from mlp_jax.training.plan import Plan, TrainState, check_takes_weights, member
from mlp_jax.training.sharding import BATCH, POPULATION, on_devices, split

CACHE_LINE = 64
"""Bytes that a CPU reads from memory at once."""
CACHE = 2**21
"""Bytes of parameters that train together on a CPU: gradients and activations need their part of the cache as well."""


def update(
    state: TrainState,
    inputs: Float[Array, "batch n_in"],
    targets: Float[Array, "batch n_out"],
    plan: Plan,
    across: str | None = None,
    weights: Float[Array, " batch"] | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One step downhill on one mini-batch (lesson 3).

    inputs: activations of the first layer, the inputs, (batch, n_in); targets: wanted outputs, (batch, n_out).
    across: inside `shard_map`, the mesh axis that the batch is split over, each device holding an equal part: gradient
        and cost are averaged across it.
    weights: how much each example counts, (batch,), 0 or more.

    Returns the new state and the batch's mean cost before the step, (). Raises ValueError for shapes that do not fit,
    for a rule that returns another structure or other shapes than the parameters', and for weights with a rule that
    takes none.

    >>> from mlp_jax import Model, Plan, TrainState, init_params, make_optimizer
    >>> from mlp_jax.training import update
    >>> plan = Plan(Model(), make_optimizer("sgd", 0.5), batch_size=2)
    >>> state = TrainState.start(init_params(jax.random.key(0), (3, 2)), plan.optimizer)
    >>> new, cost = update(state, jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), jnp.eye(2), plan)
    >>> bool(update(new, jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), jnp.eye(2), plan)[1] < cost)
    True
    """
    params, model = state.params, plan.model_of(state)
    cost = loss(params, inputs, targets, model, weights)  # shares its forward pass with the rule's once compiled
    if weights is None:
        direction = plan.gradient(params, inputs, targets, model)
    else:
        check_takes_weights(plan.gradient)
        direction = plan.gradient(params, inputs, targets, model, weights=weights)
    check_like_params(direction, params, "what the gradient rule returned")
    if across is not None:
        numbers, as_before = ravel_pytree((direction, cost))  # one message: each has to wait for all devices
        if weights is None:
            numbers = jax.lax.pmean(numbers, across)
        else:
            mine = jnp.sum(weights)
            average = jax.lax.psum(numbers * mine, across) / total_weight(jax.lax.psum(mine, across))
            numbers = average.astype(numbers.dtype)
        direction, cost = as_before(numbers)
    # Adam divides by a root plus 1e-8, which is 0 in float16: gradients of 0 would make 0 / 0.
    slopes, fine = in_float32_or_finer((direction, params))
    with jax.numpy_dtype_promotion("standard"):  # Optax's optimisers rely on it
        change, optimizer_state = plan.optimizer.update(slopes, state.optimizer_state, fine)
        moved = optax.apply_updates(fine, change)
    params = cast("Params", jax.tree.map(lambda new, old: new.astype(old.dtype), moved, params))
    return state._replace(params=params, optimizer_state=optimizer_state), cost


@partial(jax.jit, static_argnames="plan", donate_argnames="state")
def train_epoch(
    state: TrainState,
    inputs: Num[Array, "n n_in"],
    targets: Num[Array, "n ..."],
    order: Integer[Array, " n"],
    plan: Plan,
    weights: Float[Array, " n"] | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One epoch of mini-batch gradient descent: every example once, in the given order (lesson 3).

    state: its buffers are donated; do not use it afterwards.
    inputs, targets, weights: as `Examples` has them: (n, n_in) uint8 from 0 to 255 or floats; (n,) classes from 0 to
        the number of outputs - 1, or (n, n_out) wanted outputs; (n,) floats.
    order: which example comes when, each from 0 to n - 1 (not checked: an index out of range finds the nearest).
    plan: of its mesh, each device has an equal part of the examples, and of `order` the part that says when each of
        its own examples comes, from 0; and takes an equal part of every batch.

    Returns the new state and the mean cost of the examples, (), each counted just before the update that it took part
    in. Raises ValueError for a batch size that does not divide over the devices, and whatever `update` refuses.

    >>> from mlp_jax import Model, Plan, TrainState, init_params, make_optimizer, train_epoch
    >>> plan = Plan(Model(), make_optimizer("sgd", 0.5), batch_size=2)
    >>> state = TrainState.start(init_params(jax.random.key(0), (3, 2)), plan.optimizer)
    >>> inputs, classes = jnp.array([[0, 0, 255], [0, 255, 0], [255, 0, 0]], jnp.uint8), jnp.array([0, 1, 1])
    >>> state, cost = train_epoch(state, inputs, classes, jnp.array([2, 0, 1]), plan)
    >>> int(state.epoch), cost.shape
    (1, ())
    """
    if plan.mesh is None:
        return one_epoch(state, inputs, targets, order, telling_batch_size(plan), weights)
    part = partial(one_epoch, plan=plan.on_each_device(), across=plan.across)
    whole, split = P(), P(plan.across)
    on_mesh = on_devices(
        lambda *arrays: part(*arrays[:4], weights=arrays[4]), plan.mesh, (whole, *[split] * 4), (whole, whole)
    )
    return on_mesh(state, inputs, targets, order, weights)


@partial(jax.jit, static_argnames="plan", donate_argnames="state")
def train_population(
    state: TrainState,
    inputs: Num[Array, "n n_in"],
    targets: Num[Array, "n ..."],
    order: Integer[Array, "*members n"],
    plan: Plan,
    weights: Float[Array, " n"] | None = None,
) -> tuple[TrainState, Float[Array, " members"]]:
    """`train_epoch` for all members of a population, whose state has a leading axis for them.

    order: (n,), shared by the members, or (members, n).

    Returns the new state and the mean cost of the examples for each member, (members,).

    >>> from mlp_jax import Model, Plan, init_population, make_optimizer
    >>> from mlp_jax.training import start_population, train_population
    >>> plan = Plan(Model(), make_optimizer("sgd", 0.5), batch_size=2)
    >>> state = start_population(init_population(range(4), (3, 2)), plan.optimizer)
    >>> inputs, classes = jnp.array([[0, 0, 255], [0, 255, 0]], jnp.uint8), jnp.array([0, 1])
    >>> state, costs = train_population(state, inputs, classes, jnp.array([1, 0]), plan)
    >>> costs.shape
    (4,)
    """
    if plan.mesh is None and len(state.epoch) == 1:  # the program of `train_epoch`, to its bits
        only = one_epoch(member(state, 0), inputs, targets, order.ravel(), telling_batch_size(plan), weights)
        return jax.tree.map(lambda leaf: leaf[None], only)
    local = plan.on_each_device()

    def epoch_of_all(
        state: TrainState, order: Array, inputs: Array, targets: Array, weights: Array | None
    ) -> tuple[TrainState, Array]:
        def epoch_of_one(own: tuple[TrainState, Array | None]) -> tuple[TrainState, Array]:
            state, own_order = own
            turn = order if own_order is None else own_order
            return one_epoch(state, inputs, targets, turn, local, weights, plan.across)

        own_batches = order.ndim == 2
        at_once = members_at_once(state.params, local.batch_size * inputs.shape[1] if own_batches else 0)
        return jax.lax.map(epoch_of_one, (state, order if own_batches else None), batch_size=at_once)

    if plan.mesh is not None:
        mine, examples = split(plan.mesh, POPULATION), split(plan.mesh, BATCH)
        orders = split(plan.mesh, POPULATION, BATCH) if order.ndim == 2 else examples
        take = (mine, orders, examples, examples, examples)
        epoch_of_all = on_devices(epoch_of_all, plan.mesh, take, (mine, mine))
    return epoch_of_all(state, order, inputs, targets, weights)


def one_epoch(
    state: TrainState,
    inputs: Num[Array, "n n_in"],
    targets: Num[Array, "n ..."],
    order: Integer[Array, " n"],
    plan: Plan,
    weights: Float[Array, " n"] | None = None,
    across: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """What `train_epoch` compiles, for one device, or inside `shard_map` for its part of each batch."""
    fine = float32_or_finer(state.params[0].weights.dtype)  # float16 ends at 65,504
    weights = None if weights is None else weights.astype(fine)

    def count(weights: Array) -> Array:
        return jnp.sum(weights) if across is None else jax.lax.psum(jnp.sum(weights), across)

    def step(state: TrainState, batch: Integer[Array, " batch"]) -> tuple[TrainState, Float[Array, ""]]:
        x = as_inputs(rows(inputs, prefetch_rows(inputs, batch)), state.params)
        y = as_targets(rows(targets, batch), state.params)
        w = None if weights is None else rows(weights, batch)
        state, cost = update(state, x, y, plan, across, w)
        return state, cost.astype(fine) * (len(batch) if w is None else count(w))

    steps, rest = divmod(len(order), plan.batch_size)
    state, costs = jax.lax.scan(step, state, order[: steps * plan.batch_size].reshape(steps, plan.batch_size))
    total = jnp.sum(costs)
    if rest:
        state, cost = step(state, order[-rest:])
        total += cost
    examples = len(order) if weights is None else total_weight(count(weights))
    return state._replace(epoch=state.epoch + 1), total / examples


def telling_batch_size(plan: Plan) -> Plan:
    """The plan with an optimiser that is told the batch size, if it wants to know it."""
    update = optax.with_extra_args_support(plan.optimizer).update
    told = partial(update, examples=plan.batch_size)
    return replace(plan, optimizer=optax.GradientTransformation(plan.optimizer.init, told))


def rows(array: Array, indices: Integer[Array, " batch"]) -> Array:
    """array[indices] for indices known to be in range: without a check of each, an epoch takes a tenth less."""
    return array.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


def prefetch_rows(inputs: Num[Array, "n n_in"], batch: Integer[Array, " batch"]) -> Integer[Array, " batch"]:
    """The batch again, once its uint8 inputs are in a CPU's cache: a byte of every cache line of theirs has been read.

    Rows read one after another are waited for one after another, these bytes all at once: an epoch of 784-16-16-10
    takes 64 ms instead of 77 (one thread, medians of 25 in turn, JAX 0.10.2). Every second line only gains half of it.
    For uint8 only, because it relies on numbers of 0 or more.
    """
    if jax.default_backend() != "cpu" or inputs.dtype != jnp.uint8:
        return batch
    lines = jnp.arange(0, inputs.shape[1], CACHE_LINE)
    found: UInt8[Array, "batch lines"] = inputs.at[batch[:, None], lines].get(
        mode="promise_in_bounds", wrap_negative_indices=False
    )
    largest = jax.lax.optimization_barrier(jnp.max(found.astype(jnp.int32)))
    return jax.lax.optimization_barrier(jnp.where(largest >= 0, batch, 0))  # it is; but it has to be known first


def members_at_once(params: Params, own_inputs: int) -> int:
    """How many members train together: all, but on a CPU as many as a core's cache holds, one such group after another.

    Networks 784-16-16-10, milliseconds each and epoch: of 64, 10 at a time take 57, 40 or all take 35 to 46 (on one
    device with two threads); of 512, 40 at a time take 48 to 67, all 79 to 96 (on two devices; JAX 0.10.2).

    own_inputs: how many numbers a member's own mini-batch is; 0 if the members share theirs.
    """
    members = len(params[0].weights)
    if jax.default_backend() != "cpu":
        return members
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params)) // members + own_inputs
    bytes_of_one = numbers * params[0].weights.dtype.itemsize
    return min(members, max(1, CACHE // bytes_of_one))
