"""One gradient held against another, leaf by leaf."""

from typing import Any, NamedTuple

import jax
import numpy as np

# Gradients that have all but vanished lose digits to underflow, in any type: below this they count as 0.
SMALLEST = np.finfo(np.float32).tiny / np.finfo(np.float32).eps


class LeafDifference(NamedTuple):
    """How far one leaf of a gradient is from the reference.

    path: where the leaf is, "[0].weights" for instance.
    shape: its shape.
    absolute: the largest absolute difference between two numbers of the leaf.
    relative: the same, relative to the largest absolute number of the reference; one number close to zero, where any
        rounding error is relatively huge, does not drown the rest.
    """

    path: str
    shape: tuple[int, ...]
    absolute: float
    relative: float


def leaf_differences(gradient: Any, reference: Any) -> list[LeafDifference]:
    """The differences between two pytrees of arrays, a LeafDifference for each leaf, in float64.

    Raises ValueError where their structures or the shapes of two leaves differ.
    """
    if jax.tree.structure(gradient) != jax.tree.structure(reference):
        raise ValueError(
            f"the gradient has the structure {jax.tree.structure(gradient)}, "
            f"the reference {jax.tree.structure(reference)}: expected the same"
        )
    differences = []
    for (path, g), r in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(reference), strict=True):
        if g.shape != r.shape:
            raise ValueError(f"{jax.tree_util.keystr(path)}: shape {g.shape}, in the reference {r.shape}")
        r = np.asarray(r, np.float64)
        absolute = float(np.max(np.abs(np.asarray(g, np.float64) - r)))
        scale = max(float(np.max(np.abs(r))), float(SMALLEST))
        relative = absolute / scale
        differences.append(LeafDifference(jax.tree_util.keystr(path), r.shape, absolute, relative))
    return differences


def rounding_bound(sizes: tuple[int, ...], batch: int, eps: float) -> float:
    """The relative difference up to which two ways to one gradient of a network may differ by rounding.

    Along the longest chain from the cost to a weight, a backward pass rounds about once for each term that it sums:
    the neurons of each layer on the way, then the examples of the batch; and some 4 times in each layer for the
    derivative of its activation. Rounding errors go up as often as down, so that K of them add up to a few times
    sqrt(K) eps (Higham and Mary 2019, https://doi.org/10.1137/18M1226312); the few are 4 here.
    """
    roundings = sum(sizes[2:]) + batch + 4 * (len(sizes) - 1)
    return 4 * eps * roundings**0.5
