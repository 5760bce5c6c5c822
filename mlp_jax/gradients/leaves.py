"""One leaf of a gradient against the same leaf of another."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradients.numerical import NumericalGradient
from mlp_jax.gradients.report import Comparison

NOTHING = np.empty(0), np.empty(0)


class Leaf(NamedTuple):
    """Numbers of a gradient, how far each may be off, and the signs they were summed with, where they were."""

    numbers: Any
    error: Any = 0.0
    signs: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the parameters."""
        return np.shape(self.numbers) if self.signs is None else np.shape(self.signs)[1:]

    @property
    def dtype(self) -> Any:
        """Of the numbers."""
        return self.numbers.dtype if hasattr(self.numbers, "dtype") else np.asarray(self.numbers).dtype

    def along(self, signs: Any) -> np.ndarray:
        """Its numbers in float64, summed with these signs if there are any."""
        numbers = np.asarray(self.numbers, np.float64)
        if signs is None or self.signs is not None:
            return numbers
        return np.tensordot(signs.astype(np.float64), numbers, numbers.ndim)


def leaves_by_path(gradient: Any) -> dict[str, Leaf]:
    """The leaves of a pytree of arrays, or of a NumericalGradient."""
    parts: tuple[Any, ...] = (gradient,)
    if isinstance(gradient, NumericalGradient):
        parts = tuple(part for part in gradient if part is not None)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(parts[0])]
    return dict(zip(paths, map(Leaf, *map(jax.tree.leaves, parts)), strict=True))


def compare_leaf(path: str, given: Leaf, expected: Leaf, roundings: int) -> tuple[Comparison, float, Any]:
    """The comparison, the largest error in units of its tolerance, and the numbers compared."""
    if given.shape != expected.shape:
        remark = f"shape {given.shape}, in the reference {expected.shape}"
        return Comparison(path, given.shape, remark=remark), np.inf, NOTHING
    if given.signs is not None and expected.signs is not None and not np.array_equal(given.signs, expected.signs):
        raise ValueError(
            "the two numerical gradients are along different directions: expected the same number and seed"
        )
    signs = expected.signs if given.signs is None else given.signs
    g, r = given.along(signs), expected.along(signs)
    limits = max(map(jnp.finfo, (given.dtype, expected.dtype)), key=lambda limits: limits.eps)
    eps, finite = float(limits.eps), np.isfinite(g) & np.isfinite(r)

    # Numbers that have all but vanished lose digits to underflow, which counts as rounding.
    vanished = float(limits.tiny) / (1 if limits.dtype == jnp.float16 else eps)
    scale = max(float(np.max(np.abs(r), where=finite, initial=0)), vanished)
    if signs is not None:  # each sum may be off by as much as numbers of that size, off at random, make it
        single = expected if expected.signs is None else given
        scale = max(scale, np.size(single.numbers) ** 0.5 * float(np.max(np.abs(single.along(None)), initial=0)))
    error = np.abs(np.subtract(g, r, where=finite, out=np.full_like(g, np.inf)))
    tolerance = rounding_bound(eps, roundings) * scale + given.error + expected.error + np.zeros_like(g)
    excess = error / tolerance
    worst = np.unravel_index(np.argmax(excess), excess.shape) if excess.size else ()
    absolute = float(np.max(error, where=finite, initial=0)) if finite.any() or not finite.size else np.nan
    angle, norm_ratio = angle_and_norm_ratio(g, r)
    comparison = Comparison(
        path,
        given.shape,
        str(given.dtype),
        absolute=absolute,
        relative=absolute / scale,
        ulps=absolute / (eps * 2.0 ** np.floor(np.log2(scale))),
        angle=angle,
        norm_ratio=norm_ratio,
        worst=path + (_index(worst) if signs is None else f" direction {int(np.argmax(excess))}"),
        value=float(g[worst]) if excess.size else 0.0,
        reference=float(r[worst]) if excess.size else 0.0,
        bound=float(tolerance[worst]) / scale if excess.size else 0.0,
        wrong=int(np.sum(excess > 1)),
        where=_slice_of(excess > 1) if signs is None else "",
        remark="; ".join(_remarks(given, expected, g, r)),
        agrees=bool(np.all(excess <= 1)),
    )
    return comparison, float(np.max(excess, initial=0)), (g, r)


def _remarks(given: Leaf, expected: Leaf, g: np.ndarray, r: np.ndarray) -> list[str]:
    """Types that differ, but for what was measured in float64, and what is not finite."""
    remarks = []
    if given.dtype != expected.dtype and not (np.any(given.error) or np.any(expected.error)):
        remarks.append(f"{given.dtype}, in the reference {expected.dtype}")
    for numbers, there in ((g, ""), (r, " in the reference")):
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            remarks.append(f"{wrong.sum()} not finite{there}, first {_index(tuple(np.argwhere(wrong)[0]))}")
    return remarks


def angle_and_norm_ratio(g: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    """NaN where a vector has no direction; two that are both zero do not differ."""
    norms = np.linalg.norm(g), np.linalg.norm(r)
    if not any(norms):
        return 0.0, 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v, ratio = g / norms[0], r / norms[1], float(norms[0] / norms[1])
    # The arc cosine of their inner product would lose half the digits of a small angle.
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))), ratio


def _index(index: tuple[Any, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _slice_of(wrong: np.ndarray) -> str:
    """The smallest slice, of single indices and whole axes, that holds what is wrong; "" for nothing or the whole."""
    places = [np.unique(axis) for axis in np.nonzero(wrong)]
    if all(len(place) != 1 for place in places):
        return ""
    return _index(tuple(str(place[0]) if len(place) == 1 else ":" for place in places))


def rounding_bound(eps: float, roundings: int) -> float:
    """The error, as a fraction of a leaf's largest number, up to which rounding explains a difference.

    Rounding errors go up as often as down, so that K of them add up to a few times sqrt(K) eps (Higham and Mary 2019,
    https://doi.org/10.1137/18M1226312); the few are 4 here.
    """
    return 4 * eps * roundings**0.5
