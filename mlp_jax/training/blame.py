"""Where a number first stopped being finite: an epoch once more, one mini-batch after another."""

from collections import OrderedDict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Split
from jaxtyping import Array, Bool, Integer, UInt8

from mlp_jax.backprop import GradientRule
from mlp_jax.network import Model, forward_pass
from mlp_jax.training.devices import place, place_examples
from mlp_jax.training.epoch import TrainState, as_inputs, on_devices, rows, share_of_batch, update
from mlp_jax.training.stream import in_file_order, parts_of


def first_failure(
    state: TrainState,
    images: UInt8[np.ndarray, "mine pixels"],
    labels: Integer[np.ndarray, " mine"],
    order: Integer[Array, " n"],
    model: Model,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    gradient: GradientRule,
    mesh: Mesh | None = None,
) -> str | None:
    """What stopped being finite first in an epoch, "weighted sums of layers.1 in mini-batch 12 of 600" for instance.

    state: before the epoch. images, labels: this process's part of them. The other arguments are those of the epoch.

    Of what a mini-batch makes the order is that of computing: forward, the cost, backward, then the parameters and
    the optimiser's memory. Returns None where everything stays finite.
    """
    parts = parts_of(order)
    share, _ = share_of_batch(batch_size, mesh)
    each = len(images) // len(parts)
    state = place(state, mesh)
    for start in range(0, each, share):
        wanted, turns = in_file_order([part[start : start + share] for part in parts], each)
        examples = place_examples((images[wanted], labels[wanted], turns), mesh)
        state, finite = _step(state, *examples, model, optimizer, gradient, mesh)
        for name, fine in finite.items():
            if not fine:
                return f"{name} in mini-batch {start // share + 1} of {-(-each // share)}"
    return None


@partial(jax.jit, static_argnames=("optimizer", "gradient", "mesh"))
def _step(
    state: TrainState,
    images: Array,
    labels: Array,
    turns: Array,
    model: Model,
    optimizer: optax.GradientTransformation,
    gradient: GradientRule,
    mesh: Mesh | None,
) -> tuple[TrainState, OrderedDict[str, Array]]:
    """One update, and whether what it computes is finite, by name, in the order of computing."""
    _, across = share_of_batch(mesh.size if mesh is not None else 1, mesh)

    def step(
        state: TrainState, images: Array, labels: Array, turns: Array
    ) -> tuple[TrainState, OrderedDict[str, Array]]:
        inputs = as_inputs(rows(images, turns), state.params)
        targets = jax.nn.one_hot(rows(labels, turns), len(state.params[-1].biases), dtype=inputs.dtype)
        weighted_sums, activations = forward_pass(state.params, inputs, model)
        finite: OrderedDict[str, Any] = OrderedDict()  # whose order jit keeps; it sorts what comes in a dict
        for number, (z, a) in enumerate(zip(weighted_sums, activations[1:], strict=True)):
            finite |= {f"weighted sums of layers.{number}": z, f"activations of layers.{number}": a}
        direction = gradient(state.params, inputs, targets, model)
        after, cost = update(state, inputs, targets, model, optimizer, gradient, across)
        finite |= {"cost": cost}
        for number, layer in reversed(list(enumerate(direction))):
            finite |= {f"gradient of layers.{number}": layer}
        for number, layer in enumerate(after.params):
            finite |= {f"parameters of layers.{number}": layer}
        finite |= {"optimiser's memory": memory_of(state, after)}
        finite = OrderedDict((name, all_finite(tree).astype(jnp.int32)) for name, tree in finite.items())
        return after, jax.tree.map(lambda fine: jax.lax.pmin(fine, across), finite) if across else finite

    if mesh is None:
        return step(state, images, labels, turns)
    whole, split = Split(), Split(across)
    return on_devices(step, mesh, (whole, split, split, split), (whole, whole))(state, images, labels, turns)


def memory_of(before: TrainState, after: TrainState) -> Any:
    """What the optimiser remembers after some steps, with zeros where it was not finite before them.

    Some begin with infinity, as the lowest cost so far for instance.
    """

    def where_finite(old: Any, new: Any) -> Any:
        return jnp.where(jnp.isfinite(old), new, 0) if jnp.issubdtype(new.dtype, jnp.inexact) else new

    return jax.tree.map(where_finite, before.optimizer_state, after.optimizer_state)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all numbers are finite."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in numbers]))
