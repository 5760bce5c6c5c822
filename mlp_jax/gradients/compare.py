"""Gradients side by side: how far each is from a reference, where it is furthest, and whether rounding explains it.

Any pytrees will do: this file does not know of networks, and `compare_rules` does.
"""

from collections.abc import Mapping
from math import frexp, ldexp
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mlp_jax.gradients.numerical import NumericalGradient
from mlp_jax.gradients.report import Comparison, GradientReport

FLOAT32_EPS = float(jnp.finfo(jnp.float32).eps)

ROUNDINGS = 1_000
"""How many roundings are assumed behind a number of a gradient if nothing is known of it."""


def compare_gradients(
    gradients: Mapping[str, Any], reference: str, *, roundings: int = ROUNDINGS, noise: Any = None
) -> GradientReport:
    """Each gradient compared with the one named as the reference, leaf by leaf, in float64.

    gradients: by name, pytrees of floating-point arrays of any structure, or results of `numerical_gradient`, whose
        errors are allowed for.
    roundings: how many operations, one after another, round a number of the gradients: the lengths of the longest sums,
        over examples and neurons, added up. Two correct gradients differ by at most `rounding_bound` of a leaf's
        largest number, unless much larger terms have cancelled in it.
    noise: for that case a pytree like the reference with a number for each leaf: how much more is tolerated.

    Remarks of the report say, by path, which leaf is missing, has another shape or dtype, or is not finite. Of two
    dtypes the coarser one counts; the difference alone is no disagreement. Raises ValueError for a reference that is
    not among the names, nothing to compare with it, leaves that are not floating point, numerical gradients along
    different directions, or fewer than 1 rounding.

    >>> gradients = {"float32": [np.array([1, 2], np.float32)], "float64": [np.array([1, 2 + 1e-7])]}
    >>> report = compare_gradients(gradients, reference="float64")
    >>> report.agree, report.overall["float32"].agrees
    (True, True)
    """
    if not isinstance(gradients, Mapping) or not isinstance(reference, str):
        wrong = gradients if isinstance(reference, str) else reference
        raise ValueError(
            f"gradients come by name, and the reference is one of the names, but a {type(wrong).__name__} was given: "
            'call compare_gradients({"by hand": a, "jax.grad": b}, reference="jax.grad")'
        )
    if reference not in gradients or len(gradients) < 2:
        raise ValueError(
            f"the reference is {reference!r} and the gradients are {', '.join(map(repr, gradients)) or 'none'}: "
            "expected the reference and at least one other among them"
        )
    if not roundings >= 1:
        raise ValueError(f"the number of roundings is {roundings}: expected 1 or more")
    leaves, overall = {}, {}
    for name, gradient in gradients.items():
        if name != reference:
            pair = {name: gradient, reference: gradients[reference]}
            leaves[name], overall[name] = _compare(pair, roundings, noise)
    return GradientReport(reference, leaves, overall)


def assert_gradients_match(gradients: Mapping[str, Any], reference: str, *, roundings: int = ROUNDINGS) -> None:
    """For test suites: raises AssertionError, with the table, unless `compare_gradients` finds that they agree.

    >>> assert_gradients_match({"mine": [np.array([1.0, 2.0])], "exact": [np.array([1.0, 2.0])]}, reference="exact")
    """
    report = compare_gradients(gradients, reference, roundings=roundings)
    if not report.agree:
        raise AssertionError(f"the gradients do not match\n{report}")


def rounding_bound(eps: float, roundings: int) -> float:
    """The error, as a fraction of a leaf's largest number, up to which rounding explains a difference.

    Rounding errors go up as often as down, so K of them add up to a few times sqrt(K) eps (Higham and Mary 2019,
    https://doi.org/10.1137/18M1226312). Here it is 4 times. For dtypes coarser than float32, sums are made in float32,
    and some 16 intermediate results are rounded to the dtype.

    >>> f"{rounding_bound(2.0**-23, roundings=100):.1e}"  # in float32
    '4.8e-06'
    """
    if eps <= FLOAT32_EPS:
        return 4 * eps * roundings**0.5
    return 4 * (FLOAT32_EPS * roundings**0.5 + eps * 16**0.5)


def angles(gradient: Any, reference: Any) -> tuple[Float[Array, ""], ...]:
    """The angle between two gradients in each layer, weights and biases together, in degrees from 0 to 180.

    NaN if a gradient is zero or not finite. It is made of JAX's operations, so it works under `jit`.

    >>> [round(float(angle)) for angle in angles([jnp.array([1.0, 0.0])], [jnp.array([0.0, 2.0])])]
    [90]
    """

    def flat(layer: Any) -> Array:
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(layer)])

    return tuple(_angle(flat(g), flat(r)) for g, r in zip(gradient, reference, strict=True))


def angle_and_norm_ratio(g: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    """Degrees, and |g| / |r|. NaN if a vector has no direction; but two zero vectors do not differ.

    >>> angle_and_norm_ratio(np.array([6.0, 0.0]), np.array([3.0, 0.0]))
    (0.0, 2.0)
    """
    sizes = [float(np.max(np.abs(vector), initial=0)) for vector in (g, r)]
    if not any(sizes):
        return 0.0, 1.0
    if not all(0 < size < np.inf for size in sizes):
        return np.nan, 0.0 if sizes[0] == 0 else np.nan
    norms = [float(np.linalg.norm(vector / size)) for vector, size in zip((g, r), sizes, strict=True)]
    return float(_angle(g, r)), norms[0] / norms[1] * (sizes[0] / sizes[1])


def _angle(g: Any, r: Any) -> Any:
    """Degrees between two vectors, of NumPy or of JAX."""
    numpy: Any = np if isinstance(g, np.ndarray) else jnp

    def unit(vector: Any) -> Any:
        vector = vector / numpy.max(numpy.abs(vector))  # whose squares neither overflow nor vanish
        return vector / numpy.linalg.norm(vector)

    def length(vector: Any) -> Any:
        square = numpy.sum(vector**2)  # the root's derivative at 0, between equal vectors, would be infinite
        return numpy.where(square == 0, 0.0, numpy.sqrt(numpy.where(square == 0, 1.0, square)))

    u, v = unit(g), unit(r)
    # The arc cosine of their inner product would lose half the digits of a small angle.
    return numpy.degrees(2 * numpy.arctan2(length(u - v), length(u + v)))


class _Leaf(NamedTuple):
    """A leaf made ready for comparison.

    numbers: in float64; with directions, sums with their signs.
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


def _leaves(gradient: Any, name: str, directions: Any) -> dict[str, _Leaf]:
    """The leaves of a pytree of arrays or of a NumericalGradient by path, summed along directions if there are any.

    Raises ValueError for a leaf that is not floating point, or measured along other directions.
    """
    measured = isinstance(gradient, NumericalGradient)
    tree, *about = gradient if measured else (gradient, None, None)
    errors, its_own, signs = (dict(_by_path(part)) for part in (*about, directions))
    leaves = {}
    for path, leaf in _by_path(tree):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{name}{path} is {dtype}: expected floating point")
        numbers, error = np.asarray(leaf, np.float64), np.asarray(errors.get(path, 0.0))
        shape, summed = numbers.shape, path in its_own
        if summed:
            shape = its_own[path].shape[1:]
            if not np.array_equal(its_own[path], signs[path]):
                raise ValueError(
                    "numerical gradients are along different directions: expected the same number and seed"
                )
        elif path in signs and signs[path].shape[1:] == shape:
            summed, along = True, signs[path].astype(np.float64)
            error = np.tensordot(abs(along), np.broadcast_to(error, shape), len(shape))
            numbers = np.tensordot(along, numbers, len(shape))
        leaves[path] = _Leaf(numbers, error, shape, dtype, measured, summed)
    return leaves


def _by_path(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def _compare(pair: dict[str, Any], roundings: int, noise: Any) -> tuple[tuple[Comparison, ...], Comparison]:
    """Each leaf of a gradient and its reference, and all together."""
    along = [g.directions for g in pair.values() if isinstance(g, NumericalGradient) and g.directions is not None]
    directions = along[0] if along else None
    given, expected = (_leaves(gradient, name, directions) for name, gradient in pair.items())
    if not given and not expected:
        raise ValueError(f"{' and '.join(map(repr, pair))} have no leaves: expected arrays to compare")
    more, found = dict(_by_path(noise)), []
    for path in {**expected, **given}:
        if path in given and path in expected:
            terms = np.prod(expected[path].shape) if expected[path].summed else 1
            tolerated = more.get(path, 0.0) * terms**0.5
            found.append(_compare_leaf(path, given[path], expected[path], roundings, tolerated))
        else:
            leaf, where = (given[path], "here") if path in given else (expected[path], "in the reference")
            found.append((Comparison(path, leaf.shape, str(leaf.dtype), remark=f"only {where}"), np.inf))
    leaves = tuple(comparison for comparison, _ in found)
    structures = [jax.tree.structure(g.slopes if isinstance(g, NumericalGradient) else g) for g in pair.values()]
    remark = "" if structures[0] == structures[1] else f"structure {structures[0]}, in the reference {structures[1]}"
    worst = leaves[int(np.argmax([excess for _, excess in found]))]
    overall = Comparison(
        path="",
        worst=worst.worst,
        value=worst.value,
        reference=worst.reference,
        wrong=sum(leaf.wrong for leaf in leaves),
        remark=remark,
        agrees=not remark and all(leaf.agrees for leaf in leaves),
    )
    if {path: leaf.shape for path, leaf in given.items()} == {path: leaf.shape for path, leaf in expected.items()}:
        g, r = (np.concatenate([np.ravel(side[path].numbers) for path in expected]) for side in (given, expected))
        angle, norm_ratio = angle_and_norm_ratio(g, r)
        largest = {
            name: float(np.max([getattr(leaf, name) for leaf in leaves]))
            for name in ("absolute", "relative", "bound", "ulps")
        }
        overall = overall._replace(**largest, angle=angle, norm_ratio=norm_ratio)
    return leaves, overall


def _compare_leaf(path: str, given: _Leaf, expected: _Leaf, roundings: int, noise: float) -> tuple[Comparison, float]:
    """The comparison, and the largest error in units of the tolerance.

    noise: the tolerance besides the rounding of `roundings` operations.
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
    with np.errstate(over="ignore"):  # an error beyond the range of float64 is infinite
        error = np.abs(np.subtract(g, r, where=finite, out=np.full_like(g, np.inf)))
        excess = np.asarray(error / tolerance)
    absolute = float(np.max(error, where=finite, initial=0)) if finite.any() or not finite.size else np.nan
    angle, norm_ratio = angle_and_norm_ratio(g, r)
    comparison = Comparison(
        path,
        given.shape,
        str(given.dtype),
        absolute=absolute,
        relative=_fraction(absolute, largest),
        ulps=absolute / ldexp(eps, frexp(max(largest, vanished))[1] - 1),
        angle=angle,
        norm_ratio=norm_ratio,
        wrong=int(np.sum(excess > 1)),
        where="" if given.summed else _slice_of(np.asarray(excess > 1)),
        remark="; ".join(_remarks(given, expected)),
        agrees=bool(np.all(excess <= 1)),
    )
    if excess.size:
        worst = np.unravel_index(np.argmax(excess), g.shape)
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


def _remarks(given: _Leaf, expected: _Leaf) -> list[str]:
    """Types that differ, unless one was measured in float64, and numbers that are not finite."""
    remarks = []
    if given.dtype != expected.dtype and not (given.measured or expected.measured):
        remarks.append(f"{given.dtype}, in the reference {expected.dtype}")
    for numbers, there in ((given.numbers, ""), (expected.numbers, " in the reference")):
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            remarks.append(f"{wrong.sum():,} not finite{there}, first {_index(tuple(np.argwhere(wrong)[0]))}")
    return remarks


def _index(index: tuple[Any, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _slice_of(wrong: np.ndarray) -> str:
    """The smallest slice, of single indices and whole axes, with all wrong numbers; "" for nothing or the whole."""
    places = [np.unique(axis) for axis in np.nonzero(wrong)] if wrong.ndim else []
    if all(len(place) != 1 for place in places):
        return ""
    return _index(tuple(str(place[0]) if len(place) == 1 else ":" for place in places))
