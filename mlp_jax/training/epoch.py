"""One update, and an epoch of them as a single compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Split
from jaxtyping import Array, Float, Int, Integer, UInt8

from mlp_jax.backprop import GradientRule, backprop, check_like_params
from mlp_jax.network import Model, Params, loss

BATCH, POPULATION = "batch", "population"
"""The axes that a mesh of devices may have: over one every mini-batch is split, over the other the members are."""

CACHE_LINE = 64
"""Bytes that a CPU reads from memory at once."""


class TrainState(NamedTuple):
    """Where training stands.

    params: the network's parameters.
    optimizer_state: what the Optax transformation remembers from one step to the next.
    epoch: how many epochs are behind it, () int32.
    """

    params: Params
    optimizer_state: optax.OptState
    epoch: Int[Array, ""]

    @classmethod
    def start(cls, params: Params, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first epoch."""
        return cls(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def update(
    state: TrainState,
    inputs: Float[Array, "batch n_in"],
    targets: Float[Array, "batch n_out"],
    model: Model,
    optimizer: optax.GradientTransformation,
    gradient: GradientRule = backprop,
    across: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One step downhill on one mini-batch (lesson 3).

    inputs: activations of the first layer, (batch, n_in); targets: wanted outputs, (batch, n_out).
    optimizer: the Optax transformation that the state was started with.
    gradient: any rule with the signature of `backprop`.
    across: inside `shard_map`, the mesh axis that the batch is split over, each device holding an equal part: gradient
        and cost are averaged across it.

    Returns the new state and the batch's mean cost before the step, (). Raises ValueError for shapes that do not fit,
    and for a rule that returns another structure or other shapes than the parameters'.
    """
    cost = loss(state.params, inputs, targets, model)  # shares its forward pass with the rule's once compiled
    direction = gradient(state.params, inputs, targets, model)
    check_like_params(direction, state.params, "what the gradient rule returned")
    if across is not None:
        numbers, as_before = ravel_pytree((direction, cost))  # one message: each has to wait for all devices
        direction, cost = as_before(jax.lax.pmean(numbers, across))
    change, optimizer_state = optimizer.update(direction, state.optimizer_state, state.params)
    params = cast("Params", optax.apply_updates(state.params, change))
    return TrainState(params, optimizer_state, state.epoch), cost


@partial(jax.jit, static_argnames=("optimizer", "batch_size", "gradient", "mesh"), donate_argnames="state")
def train_epoch(
    state: TrainState,
    images: UInt8[Array, "n pixels"],
    labels: Integer[Array, " n"],
    order: Integer[Array, " n"],
    model: Model,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    gradient: GradientRule = backprop,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One epoch of mini-batch gradient descent: every example once, in the given order (lesson 3).

    state: its buffers are donated; do not use it afterwards.
    images: (n, pixels) uint8, 0 to 255. labels: (n,) from 0 to the number of outputs - 1.
    order: which example comes when, each from 0 to n - 1 (not checked: an index out of range finds the nearest).
    batch_size: 1 or more; where it does not divide the examples, the last update averages over the fewer left.
    mesh: devices that share the work along the mesh's axis "batch". Each has an equal part of images and labels, and of
        `order` the part that says when each of its own examples comes, from 0; and takes an equal part of every batch.

    Returns the new state and the mean cost of the examples, (), each counted just before the update that it took part
    in. Raises ValueError for images that are not uint8, a batch size below 1 or one
    that does not divide over the devices, or shapes that do not fit.
    """
    if mesh is None:
        return one_epoch(state, images, labels, order, model, optimizer, batch_size, gradient)
    share, across = share_of_batch(batch_size, mesh)
    part = partial(
        one_epoch,
        model=model,
        optimizer=optimizer,
        batch_size=share,
        gradient=gradient,
        across=across,
    )
    whole, split = Split(), Split(across)
    return on_devices(part, mesh, (whole, split, split, split), (whole, whole))(state, images, labels, order)


def share_of_batch(batch_size: int, mesh: Mesh | None) -> tuple[int, str | None]:
    """How many examples of a mini-batch each device takes, and the mesh axis to average across, None for no such axis.

    Raises ValueError for a batch size that is not a multiple of that axis's devices.
    """
    if mesh is None or BATCH not in mesh.axis_names:
        return batch_size, None
    share, left_over = divmod(batch_size, mesh.shape[BATCH])
    if left_over:
        raise ValueError(f"the batch size is {batch_size}: expected a multiple of the {mesh.shape[BATCH]} devices")
    return share, BATCH


def on_devices(function: Callable[..., Any], mesh: Mesh, take: tuple[Split, ...], give: tuple[Split, ...]) -> Any:
    """`shard_map`, each device running `function` on its own parts."""
    # With check_vma, jax.grad would sum over the devices by itself what `update` averages.
    return jax.shard_map(function, mesh=mesh, in_specs=take, out_specs=give, check_vma=False)


def one_epoch(
    state: TrainState,
    images: UInt8[Array, "n pixels"],
    labels: Integer[Array, " n"],
    order: Integer[Array, " n"],
    model: Model,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    gradient: GradientRule = backprop,
    across: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """What `train_epoch` compiles, for one device, or inside `shard_map` for its part of each batch."""
    if batch_size < 1:
        raise ValueError(f"the batch size is {batch_size}: expected 1 or more")

    def step(state: TrainState, batch: Integer[Array, " batch"]) -> tuple[TrainState, Float[Array, ""]]:
        inputs = as_inputs(rows(images, brought_near(images, batch)), state.params)
        targets = jax.nn.one_hot(rows(labels, batch), len(state.params[-1].biases), dtype=inputs.dtype)
        return update(state, inputs, targets, model, optimizer, gradient, across)

    steps, rest = divmod(len(order), batch_size)
    state, costs = jax.lax.scan(step, state, order[: steps * batch_size].reshape(steps, batch_size))
    total = batch_size * jnp.sum(costs, dtype=jnp.promote_types(costs.dtype, jnp.float32))  # float16 ends at 65,504
    if rest:
        state, cost = step(state, order[-rest:])
        total += rest * cost
    return state._replace(epoch=state.epoch + 1), total / len(order)


def rows(array: Array, indices: Integer[Array, " batch"]) -> Array:
    """array[indices] for indices known to be in range: without a check of each, an epoch takes a tenth less."""
    return array.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


def brought_near(images: UInt8[Array, "n pixels"], batch: Integer[Array, " batch"]) -> Integer[Array, " batch"]:
    """The batch again, once its images are in a CPU's cache: a pixel of every cache line of theirs has been read.

    Rows read one after another are waited for one after another, these pixels all at once: an epoch of 784-16-16-10
    takes 64 ms instead of 77 (one thread, medians of 25 in turn, JAX 0.10.2). Every second line only gains half of it.
    """
    if jax.default_backend() != "cpu":
        return batch
    lines = jnp.arange(0, images.shape[1], CACHE_LINE)
    pixels = images.at[batch[:, None], lines].get(mode="promise_in_bounds", wrap_negative_indices=False)
    brightest = jax.lax.optimization_barrier(jnp.max(pixels.astype(jnp.int32)))
    return jax.lax.optimization_barrier(jnp.where(brightest >= 0, batch, 0))  # it is; but it has to be known first


def as_inputs(images: UInt8[Array, "*batch pixels"], params: Params) -> Float[Array, "*batch pixels"]:
    """Pixels from 0 to 255 as activations from 0 to 1, in the type of the parameters. ValueError unless uint8."""
    if images.dtype != jnp.uint8:
        raise ValueError(f"images are {images.dtype}: expected uint8, from 0 to 255, as a Dataset has them")
    return images.astype(params[0].weights.dtype) * (1 / 255)
