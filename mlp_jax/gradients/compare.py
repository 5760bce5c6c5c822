"""Gradients side by side: how far each is from a reference, where it is furthest, and whether rounding explains it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mlp_jax.backprop import GradientRule, check_like_params
from mlp_jax.gradients.finite import first_not_finite
from mlp_jax.gradients.leaves import angle_and_norm_ratio, compare_leaf, leaves_by_path
from mlp_jax.gradients.numerical import NumericalGradient
from mlp_jax.gradients.report import Comparison, GradientReport
from mlp_jax.gradients.rounding import rounding_noise
from mlp_jax.network import Model, Params, loss, sizes_of

ROUNDINGS = 1_000
"""How many roundings are thought to lie behind a number of a gradient where nothing is known of it."""


def compare_gradients(
    gradients: Mapping[str, Any], reference: str, *, roundings: int = ROUNDINGS, noise: Any = None
) -> GradientReport:
    """Each gradient compared with the one named as the reference, leaf by leaf, in float64.

    gradients: by name, pytrees of floating-point arrays of any structure, or what `numerical_gradient` returns, whose
        errors are then allowed for.
    roundings: how many roundings lie, one after another, behind a number of the gradients: the terms of the longest
        sums, examples and neurons, added up. Two correct gradients differ by `rounding_bound` of a leaf's largest
        number at most, unless much larger terms have cancelled in it.
    noise: for that case a pytree like the reference with a number for each leaf: how much more is tolerated.

    A leaf that is missing or has another shape, numbers that are not finite, and another type (no reason to disagree:
    the coarser one counts) are remarks of the report, by path. Raises ValueError for a reference that is not among the
    names, nothing to compare with it, leaves that are not floating point, numerical gradients along different
    directions, or fewer than 1 rounding.
    """
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
    """For test suites: raises AssertionError, with the table, unless `compare_gradients` finds that they agree."""
    report = compare_gradients(gradients, reference, roundings=roundings)
    if not report.agree:
        raise AssertionError(f"the gradients do not match\n{report}")


def compare_rules(
    rules: Mapping[str, GradientRule],
    params: Params,
    inputs: Float[ArrayLike, "*batch n_in"],
    targets: Float[ArrayLike, "*batch n_out"],
    model: Model = Model(),
    *,
    reference: str = "automatic",
    gradients: Mapping[str, Any] | None = None,
) -> GradientReport:
    """The gradients that rules give of one network on the same examples, compared with the reference's.

    rules: functions with the signature of `backprop` that JAX can trace, by name. "automatic", unless it is among them
        or the gradients, is `jax.grad(loss)`.
    gradients: others that are known already, a numerical one for instance.

    What is tolerated allows for terms that cancel: it grows by what rounding of parameters, inputs and targets does to
    the gradient (`rounding_noise`). The notes say at which layer a rule first goes wrong on its way back from the
    outputs: there its fault is. They say, too, where on the way through the network a number first stops being finite.
    Raises ValueError for shapes that do not fit, a rule that returns another structure than that of params, a name that
    is given twice, or a reference that is not among the names.
    """
    params, found = tuple(params), dict(gradients or {})
    if twice := set(rules) & set(found):
        raise ValueError(f"{', '.join(sorted(twice))} is the name of a rule and of a gradient: expected it once")
    if "automatic" not in found:
        rules = {"automatic": jax.grad(loss), **rules}
    if reference not in {**found, **rules}:
        raise ValueError(f"the reference is {reference!r}: expected one of {', '.join(map(repr, {**found, **rules}))}")
    for name, rule in rules.items():
        with jax.default_matmul_precision("highest"):  # accelerators multiply in fewer bits unless told
            found[name] = jax.jit(rule)(params, inputs, targets, model)
        check_like_params(found[name], params, f"what the rule {name!r} returned")
    # On the longest way from the cost to a weight the sums run over the neurons of each layer, then over the examples;
    # some 4 more roundings in each layer make the derivative of its activation.
    roundings = sum(sizes_of(params)[2:]) + np.size(targets) // np.shape(targets)[-1] + 4 * len(params)
    noise = rounding_noise(params, inputs, targets, model)
    report = compare_gradients(found, reference, roundings=roundings, noise=noise)
    notes = [_fault(name, leaves, reference) for name, leaves in report.leaves.items()]
    notes.append(first_not_finite(params, inputs, targets, model))
    return GradientReport(reference, report.leaves, report.overall, tuple(filter(None, notes)))


def angles(gradient: Params, reference: Params) -> tuple[Float[Array, ""], ...]:
    """The angle between two gradients in each layer, weights and biases together, in degrees from 0 to 180.

    NaN where a gradient is zero or not finite.
    """

    def flat(layer: Any) -> Array:
        vector = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(layer)])
        vector = vector / jnp.max(jnp.abs(vector))  # whose squares neither overflow nor vanish
        return vector / jnp.linalg.norm(vector)

    def between(u: Array, v: Array) -> Array:  # the arc cosine would lose half the digits of a small angle
        return jnp.degrees(2 * jnp.arctan2(jnp.linalg.norm(u - v), jnp.linalg.norm(u + v)))

    return tuple(between(flat(g), flat(r)) for g, r in zip(gradient, reference, strict=True))


def _compare(pair: dict[str, Any], roundings: int, noise: Any) -> tuple[tuple[Comparison, ...], Comparison]:
    """Each leaf of a gradient and its reference, and all together."""
    along = [g.directions for g in pair.values() if isinstance(g, NumericalGradient) and g.directions is not None]
    directions = along[0] if along else None
    given, expected = (leaves_by_path(gradient, name, directions) for name, gradient in pair.items())
    if not given and not expected:
        raise ValueError(f"{' and '.join(map(repr, pair))} have no leaves: expected arrays to compare")
    more = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(noise)}
    found = []
    for path in {**expected, **given}:
        if path in given and path in expected:
            terms = np.prod(expected[path].shape) if expected[path].summed else 1
            tolerated = more.get(path, 0.0) * terms**0.5
            found.append(compare_leaf(path, given[path], expected[path], roundings, tolerated))
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
        columns = zip(*((leaf.absolute, leaf.relative, leaf.bound, leaf.ulps) for leaf in leaves), strict=True)
        largest = dict(zip(("absolute", "relative", "bound", "ulps"), (float(np.max(c)) for c in columns), strict=True))
        overall = overall._replace(**largest, angle=angle, norm_ratio=norm_ratio)
    return leaves, overall


def _fault(name: str, leaves: tuple[Comparison, ...], reference: str) -> str:
    """Where a backward pass goes wrong first, on its way from the last layer to the first."""
    wrong = [leaf for leaf in leaves if not leaf.agrees]
    if not wrong:
        return ""
    layer = wrong[-1].path.split(".")[0]
    wrong = [leaf for leaf in wrong if leaf.path.startswith(layer)]
    advice = "look at its errors (deltas)"
    if len(wrong) == 1:
        advice = "the rest of the layer agrees, so its errors (deltas) are right: look at what becomes of them"
    found = " and ".join(leaf.path + leaf.where for leaf in wrong)
    first = f"{name}: from the outputs backward, the first to differ from {reference} is layer {layer}"
    return f"{first}, at {found}: {advice}"
