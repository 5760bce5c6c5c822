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
from mlp_jax.gradients.leaves import NOTHING, angle_and_norm_ratio, compare_leaf, leaves_by_path
from mlp_jax.gradients.numerical import NumericalGradient
from mlp_jax.gradients.report import Comparison, GradientReport
from mlp_jax.network import Model, Params, loss, sizes_of

ROUNDINGS = 1_000
"""How many roundings are thought to lie behind a number of a gradient where nothing is known of it."""


def compare_gradients(gradients: Mapping[str, Any], reference: str, *, roundings: int = ROUNDINGS) -> GradientReport:
    """Each gradient compared with the one named as the reference, leaf by leaf, in float64.

    gradients: by name, pytrees of arrays of any structure, or what `numerical_gradient` returns, whose errors are then
        allowed for.
    roundings: how many roundings lie, one after another, behind a number of the gradients: the terms of the longest
        sums, examples and neurons, added up. Two correct gradients differ by `rounding_bound` of a leaf's largest
        number at most.

    A leaf that is missing or has another shape, numbers that are not finite, and another type (no reason to disagree:
    the coarser one counts) are remarks of the report, by path. Raises ValueError for a reference that is not among the
    names, or nothing to compare with it.
    """
    if reference not in gradients or len(gradients) < 2:
        raise ValueError(
            f"the reference is {reference!r} and the gradients are {', '.join(map(repr, gradients)) or 'none'}: "
            "expected the reference and at least one other among them"
        )
    leaves, overall = {}, {}
    for name, gradient in gradients.items():
        if name != reference:
            leaves[name], overall[name] = _compare(gradient, gradients[reference], roundings)
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

    rules: functions with the signature of `backprop`, by name. "automatic", unless it is among them, is
        `jax.grad(loss)`.
    gradients: others that are known already, a numerical one for instance.

    The notes say at which layer a rule first goes wrong on its way back from the outputs: there its fault is. They say,
    too, where on the way through the network a number first stops being finite. Raises ValueError for shapes that do
    not fit, a rule that returns another structure than that of params, or a reference that is not among the names.
    """
    rules = {"automatic": jax.grad(loss), **rules}
    found = dict(gradients or {})
    for name, rule in rules.items():
        with jax.default_matmul_precision("highest"):  # accelerators multiply in fewer bits unless told
            found[name] = jax.jit(rule)(params, inputs, targets, model)
        check_like_params(found[name], params, f"what the rule {name!r} returned")
    # On the longest way from the cost to a weight the sums run over the neurons of each layer, then over the examples;
    # some 4 more roundings in each layer make the derivative of its activation.
    roundings = sum(sizes_of(params)[2:]) + np.size(targets) // np.shape(targets)[-1] + 4 * len(params)
    report = compare_gradients(found, reference, roundings=roundings)
    notes = [first_not_finite(params, inputs, targets, model)]
    if not notes[0]:
        notes = [_fault(name, leaves, reference) for name, leaves in report.leaves.items()]
    return GradientReport(reference, report.leaves, report.overall, tuple(filter(None, notes)))


def angles(gradient: Params, reference: Params) -> tuple[Float[Array, ""], ...]:
    """The angle between two gradients in each layer, weights and biases together, in degrees from 0 to 180."""

    def flat(layer: Any) -> Array:
        vector = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(layer)])
        return vector / jnp.linalg.norm(vector)

    def between(u: Array, v: Array) -> Array:  # the arc cosine would lose half the digits of a small angle
        return jnp.degrees(2 * jnp.arctan2(jnp.linalg.norm(u - v), jnp.linalg.norm(u + v)))

    return tuple(between(flat(g), flat(r)) for g, r in zip(gradient, reference, strict=True))


def _structure(gradient: Any) -> Any:
    return jax.tree.structure(gradient.slopes if isinstance(gradient, NumericalGradient) else gradient)


def _compare(gradient: Any, reference: Any, roundings: int) -> tuple[tuple[Comparison, ...], Comparison]:
    """Each leaf, and all together."""
    given, expected = leaves_by_path(gradient), leaves_by_path(reference)
    leaves, excesses, vectors = [], [], []
    for path in {**expected, **given}:
        if path in given and path in expected:
            comparison, excess, pair = compare_leaf(path, given[path], expected[path], roundings)
        else:
            leaf, where = (given[path], "here") if path in given else (expected[path], "in the reference")
            comparison, excess, pair = Comparison(path, leaf.shape, remark=f"only {where}"), np.inf, NOTHING
        leaves.append(comparison)
        excesses.append(excess)
        vectors.append(pair)
    worst = leaves[int(np.argmax(excesses))]
    g, r = (np.concatenate([np.ravel(pair[side]) for pair in vectors]) for side in (0, 1))
    angle, norm_ratio = angle_and_norm_ratio(g, r)
    remark = ""
    if _structure(gradient) != _structure(reference):
        remark = f"structure {_structure(gradient)}, in the reference {_structure(reference)}"
    overall = worst._replace(
        path="",
        shape=(),
        dtype="",
        absolute=float(np.nanmax([leaf.absolute for leaf in leaves] + [0.0])),
        relative=float(np.nanmax([leaf.relative for leaf in leaves] + [0.0])),
        ulps=float(np.nanmax([leaf.ulps for leaf in leaves] + [0.0])),
        angle=angle,
        norm_ratio=norm_ratio,
        wrong=sum(leaf.wrong for leaf in leaves),
        where="",
        remark=remark,
        agrees=not remark and all(leaf.agrees for leaf in leaves),
    )
    return tuple(leaves), overall


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
