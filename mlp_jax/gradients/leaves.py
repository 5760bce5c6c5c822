"""One leaf of a gradient against the same leaf of another."""

from math import frexp, ldexp
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradients.numerical import NumericalGradient
from mlp_jax.gradients.report import Comparison
from mlp_jax.gradients.rounding import rounding_bound


class Leaf(NamedTuple):
    """A leaf made ready for comparison.

    numbers: in float64; where there are directions, sums with their signs.
    error: how far each may be off by how it was measured, like numbers or one for all.
    shape, dtype: as it was given.
    measured: whether it is a numerical gradient's.
    summed: whether the numbers are sums along directions.
    """

    numbers: np.ndarray
    error: Any
    shape: tuple[int, ...]
    dtype: Any
    measured: bool
    summed: bool


def leaves_by_path(gradient: Any, name: str, directions: Any) -> dict[str, Leaf]:
    """The leaves of a pytree of arrays or of a NumericalGradient, summed along directions where there are any.

    Raises ValueError for a leaf that is not floating point, or measured along other directions.
    """
    if isinstance(gradient, NumericalGradient) and gradient.directions is not None:
        return _measured_along(gradient, directions)
    measured = isinstance(gradient, NumericalGradient)
    tree, errors = (gradient.slopes, gradient.errors) if measured else (gradient, gradient)
    signs = dict(_by_path(directions))
    leaves = {}
    for (path, leaf), (_, error) in zip(_by_path(tree), _by_path(errors), strict=True):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{name}{path} is {dtype}: expected floating point")
        numbers, error = np.asarray(leaf, np.float64), np.asarray(error, np.float64) if measured else 0.0
        summed = path in signs and signs[path].shape[1:] == numbers.shape
        if summed:
            error = np.tensordot(abs(signs[path]), error, numbers.ndim) if measured else 0.0
            numbers = np.tensordot(signs[path].astype(np.float64), numbers, numbers.ndim)
        leaves[path] = Leaf(numbers, error, np.shape(leaf), dtype, measured, summed)
    return leaves


def _measured_along(gradient: NumericalGradient, directions: Any) -> dict[str, Leaf]:
    parts = zip(_by_path(gradient.slopes), _by_path(gradient.errors), _by_path(gradient.directions), strict=True)
    expected = dict(_by_path(directions))
    leaves = {}
    for (path, slopes), (_, errors), (_, signs) in parts:
        if not np.array_equal(signs, expected[path]):
            raise ValueError("numerical gradients are along different directions: expected the same number and seed")
        leaves[path] = Leaf(slopes, errors, signs.shape[1:], slopes.dtype, measured=True, summed=True)
    return leaves


def _by_path(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def compare_leaf(path: str, given: Leaf, expected: Leaf, roundings: int, noise: float) -> tuple[Comparison, float]:
    """The comparison, and the largest error in units of what is tolerated.

    noise: what is tolerated besides the rounding of `roundings` operations.
    """
    if given.shape != expected.shape:
        remark = f"shape {given.shape}, in the reference {expected.shape}"
        return Comparison(path, given.shape, str(given.dtype), remark=remark), np.inf
    g, r = given.numbers, expected.numbers
    finite = np.isfinite(g) & np.isfinite(r)
    limits = max(map(jnp.finfo, (given.dtype, expected.dtype)), key=lambda limits: limits.eps)
    eps = float(limits.eps)
    # Numbers that have all but vanished lose digits to underflow, which counts as rounding.
    vanished = float(limits.tiny) / (1 if limits.dtype == jnp.float16 else eps)
    largest = float(np.max(np.abs(r), where=finite, initial=0))
    rounding = rounding_bound(eps, roundings) * (largest + vanished) + (noise if np.isfinite(noise) else 0.0)
    tolerance = np.broadcast_to(rounding + np.nan_to_num(given.error + expected.error), g.shape)
    with np.errstate(over="ignore"):  # what is off by more than float64 can say is off by infinity
        error = np.abs(np.subtract(g, r, where=finite, out=np.full_like(g, np.inf)))
        excess = np.asarray(error / tolerance)
    worst = np.unravel_index(np.argmax(excess), g.shape) if excess.size else None
    absolute = float(np.max(error, where=finite, initial=0)) if finite.any() or not finite.size else np.nan
    comparison = Comparison(
        path,
        given.shape,
        str(given.dtype),
        absolute=absolute,
        relative=_fraction(absolute, largest),
        ulps=absolute / ldexp(eps, frexp(max(largest, vanished))[1] - 1),
        wrong=int(np.sum(excess > 1)),
        where="" if given.summed else _slice_of(np.asarray(excess > 1)),
        remark="; ".join(_remarks(given, expected)),
        agrees=bool(np.all(excess <= 1)),
    )
    angle, norm_ratio = angle_and_norm_ratio(g, r)
    comparison = comparison._replace(angle=angle, norm_ratio=norm_ratio)
    if worst is not None:
        comparison = comparison._replace(
            bound=_fraction(float(tolerance[worst]), largest),
            worst=path + (f" direction {worst[0]}" if given.summed else _index(worst)),
            value=float(g[worst]),
            reference=float(r[worst]),
        )
    return comparison, float(np.max(excess, initial=0))


def _fraction(number: float, largest: float) -> float:
    """Of the largest number; nothing of nothing is nothing."""
    return number / largest if largest else number and number * np.inf


def _remarks(given: Leaf, expected: Leaf) -> list[str]:
    """Types that differ, but for what was measured in float64, and what is not finite."""
    remarks = []
    if given.dtype != expected.dtype and not (given.measured or expected.measured):
        remarks.append(f"{given.dtype}, in the reference {expected.dtype}")
    for numbers, there in ((given.numbers, ""), (expected.numbers, " in the reference")):
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            remarks.append(f"{wrong.sum():,} not finite{there}, first {_index(tuple(np.argwhere(wrong)[0]))}")
    return remarks


def angle_and_norm_ratio(g: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    """Degrees, and |g| / |r|. NaN where a vector has no direction; two that are both zero do not differ."""
    sizes = [float(np.max(np.abs(vector), initial=0)) for vector in (g, r)]
    if not any(sizes):
        return 0.0, 1.0
    if not all(0 < size < np.inf for size in sizes):
        return np.nan, 0.0 if sizes[0] == 0 else np.nan
    scaled = [vector / size for vector, size in zip((g, r), sizes, strict=True)]  # whose squares cannot overflow
    norms = [float(np.linalg.norm(vector)) for vector in scaled]
    u, v = (vector / norm for vector, norm in zip(scaled, norms, strict=True))
    # The arc cosine of their inner product would lose half the digits of a small angle.
    angle = float(np.degrees(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))))
    return angle, norms[0] / norms[1] * (sizes[0] / sizes[1])


def _index(index: tuple[Any, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _slice_of(wrong: np.ndarray) -> str:
    """The smallest slice, of single indices and whole axes, that holds what is wrong; "" for nothing or the whole."""
    places = [np.unique(axis) for axis in np.nonzero(wrong)] if wrong.ndim else []
    if all(len(place) != 1 for place in places):
        return ""
    return _index(tuple(str(place[0]) if len(place) == 1 else ":" for place in places))
