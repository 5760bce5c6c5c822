"""An epoch of a whole population as one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Integer, UInt8

from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.network import Model, Params
from mlp_jax.training.devices import split
from mlp_jax.training.epoch import BATCH, POPULATION, TrainState, on_devices, one_epoch, share_of_batch

CACHE = 2**21
"""Bytes of parameters that train together on a CPU: gradients and activations need their room in the cache as well."""


@partial(
    jax.jit, static_argnames=("make_model", "make_optimizer", "batch_size", "gradient", "mesh"), donate_argnames="state"
)
def train_population(
    state: TrainState,
    images: UInt8[Array, "n pixels"],
    labels: Integer[Array, " n"],
    order: Integer[Array, "*members n"],
    model_params: dict[str, Array],
    hyperparams: dict[str, Array],
    make_model: Callable[..., Model],
    make_optimizer: Callable[..., optax.GradientTransformation],
    batch_size: int,
    gradient: GradientRule = backprop,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Float[Array, " members"]]:
    """`train_epoch` for all members of a population.

    state: with the leading axis of members; its buffers are donated.
    order: (n,), shared by the members, or (members, n).
    model_params, hyperparams: of all members, by name, each (members,); `make_model` and `make_optimizer` are called
        with a member's own.
    mesh: has the axis "population", the axis "batch", or both.

    Returns the new state and the mean cost of the examples for each member, (members,).
    """
    share, across = share_of_batch(batch_size, mesh)

    def epoch_of_all(
        state: TrainState,
        order: Array,
        model_params: dict[str, Array],
        hyperparams: dict[str, Array],
        images: Array,
        labels: Array,
    ) -> tuple[TrainState, Array]:
        def epoch_of_one(own: Any) -> tuple[TrainState, Array]:
            state, own_order, model_params, hyperparams = own
            model, optimizer = make_model(**model_params), make_optimizer(**hyperparams)
            turn = order if own_order is None else own_order
            return one_epoch(state, images, labels, turn, model, optimizer, share, gradient, across)

        own = state, order if order.ndim == 2 else None, model_params, hyperparams
        own_inputs = share * images.shape[1] if order.ndim == 2 else 0
        return jax.lax.map(epoch_of_one, own, batch_size=_members_at_once(state.params, own_inputs))

    if mesh is not None:
        mine, examples = split(mesh, POPULATION), split(mesh, BATCH)
        orders = split(mesh, POPULATION, BATCH) if order.ndim == 2 else examples
        take, give = (mine, orders, mine, mine, examples, examples), (mine, mine)
        epoch_of_all = on_devices(epoch_of_all, mesh, take, give)
    return epoch_of_all(state, order, model_params, hyperparams, images, labels)


def _members_at_once(params: Params, own_inputs: int) -> int:
    """How many members train together: all, but on a CPU as many as a core's cache holds, one such group after another.

    Networks 784-16-16-10, milliseconds each and epoch: of 64, 10 at a time take 57, 40 or all take 35 to 46 (on one
    device with two threads); of 512, 40 at a time take 48 to 67, all 79 to 96 (on two devices; JAX 0.10.2).

    own_inputs: how many numbers a member's own mini-batch is; 0 where the members share theirs.
    """
    members = len(params[0].weights)
    if jax.default_backend() != "cpu":
        return members
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params)) // members + own_inputs
    bytes_of_one = numbers * params[0].weights.dtype.itemsize
    return min(members, max(1, CACHE // bytes_of_one))
