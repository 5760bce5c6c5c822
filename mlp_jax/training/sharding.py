"""Several devices, of one process or of several: how arrays are laid out on a mesh of them.

A mesh has the axis "batch", over which the examples and every mini-batch are split, or "population", over which the
members of a population are, or both. On several processes it spans the devices of all.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

BATCH, POPULATION = "batch", "population"
"""The axes that a mesh of devices may have: over one every mini-batch is split, over the other the members are."""

Tree = TypeVar("Tree")


def check_mesh(mesh: Mesh, axes: dict[str, dict[str, int]]) -> None:
    """Raises ValueError, saying what to change, unless everything that is split divides over the mesh.

    axes: those that the mesh may have, and what each splits: names and counts, of all processes together.
    """
    if any(devices > 1 and axis not in axes for axis, devices in mesh.shape.items()):
        raise ValueError(
            f"the mesh has the axes {', '.join(mesh.axis_names)}: expected no other than {' and '.join(axes)}"
        )
    for axis, devices in mesh.shape.items():
        for name, count in axes.get(axis, {}).items():
            if count % devices:
                raise ValueError(
                    f"{name} is {count}, which does not divide over the {devices} devices of the mesh's axis {axis}: "
                    f"choose a multiple of {devices}"
                )


def on_devices(function: Callable[..., Any], mesh: Mesh, take: tuple[P, ...], give: tuple[P, ...]) -> Any:
    """`shard_map`, each device running `function` on its own parts."""
    # With check_vma, jax.grad would sum over the devices by itself what `update` averages.
    return jax.shard_map(function, mesh=mesh, in_specs=take, out_specs=give, check_vma=False)


def split(mesh: Mesh, *axes: str) -> P:
    """Leading axes of an array split over axes of the mesh, as far as it has them."""
    return P(*(axis if axis in mesh.axis_names else None for axis in axes))


def place(tree: Tree, mesh: Mesh | None, *axes: str) -> Tree:
    """Copies of arrays on the devices of a mesh, their leading axes split over those axes of it.

    Without a mesh they lie on the default device. On several processes each gives the same, and whole.
    """
    if mesh is None:
        return jax.device_put(tree, may_alias=False)
    sharding = NamedSharding(mesh, split(mesh, *axes))

    def on_mesh(leaf: Array) -> Array:
        # Copied: what lies on the mesh is to be donated, and must share nothing with what lives on.
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: np.array(leaf)[index or ()])

    return move_arrays(on_mesh, tree)


def place_examples(examples: Any, mesh: Mesh | None) -> Any:
    """Arrays of examples on the devices of a mesh, split over its axis "batch"; each process gives its own part."""
    if mesh is None:
        return jax.device_put(examples)
    sharding = NamedSharding(mesh, split(mesh, BATCH))
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), examples)


def count_examples(part: int, mesh: Mesh | None) -> int:
    """How many examples there are on a mesh if this process, as any other, has `part` of them."""
    if mesh is None or BATCH not in mesh.axis_names:
        return part
    mine = np.vectorize(lambda device: device.process_index)(mesh.devices) == jax.process_index()
    shards = np.unique(np.nonzero(mine)[mesh.axis_names.index(BATCH)])
    return part * mesh.shape[BATCH] // len(shards)


def place_order(seed: int | Sequence[int], epoch: int, examples: int, mesh: Mesh | None) -> Int[Array, "*members n"]:
    """In which order each device takes its own examples in an epoch, from 0.

    seed: one, or one for each member of a population. examples: those of all processes together.
    """
    each = examples // (mesh.shape.get(BATCH, 1) if mesh is not None else 1)

    def part(index: Any) -> Int[np.ndarray, "*members n"]:  # one slice of an axis after another
        *members, rows = index
        shard = (rows.start or 0) // each
        if isinstance(seed, int):
            return epoch_order(seed, epoch, each, shard)
        return np.stack([epoch_order(one, epoch, each, shard) for one in seed[members[0]]])

    shape, axes = ((examples,), (BATCH,)) if isinstance(seed, int) else ((len(seed), examples), (POPULATION, BATCH))
    if mesh is None:
        return jax.device_put(part(tuple(map(slice, shape))))
    return jax.make_array_from_callback(shape, NamedSharding(mesh, split(mesh, *axes)), part)


def epoch_order(seed: int, epoch: int, examples: int, shard: int = 0) -> Int[np.ndarray, " examples"]:
    """The order in which an epoch, from 0, takes the examples: a permutation that depends on the arguments alone.

    shard: which part of the training examples these are, if several devices have a part each.

    NumPy draws it in a millisecond; JAX's own permutation sorts, which costs a third of an epoch on a CPU.

    >>> from mlp_jax.training import epoch_order
    >>> sorted(epoch_order(seed=0, epoch=2, examples=5).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.random.default_rng((seed, epoch, shard)).permutation(np.int32(examples))


def unshard(tree: Tree) -> Tree:
    """Whole arrays on one device of this process, whichever mesh they were computed on."""

    def bring(leaf: Array) -> Array:
        if isinstance(leaf.sharding, SingleDeviceSharding):
            return leaf
        here = leaf.is_fully_addressable or leaf.is_fully_replicated
        whole = np.asarray(leaf) if here else multihost_utils.process_allgather(leaf, tiled=True)
        return jax.device_put(whole, jax.local_devices()[0])

    return move_arrays(bring, tree)


def move_arrays(move: Callable[[Array], Array], tree: Tree) -> Tree:
    """The tree with every array moved; a random key, as some optimisers remember, as the numbers that it is made of."""

    def moved(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return move(leaf)
        return jax.random.wrap_key_data(move(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))

    return jax.tree.map(moved, tree)
