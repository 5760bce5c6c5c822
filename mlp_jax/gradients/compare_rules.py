"""Backward rules of one network side by side: which differ by more than rounding, and in which layer the fault is."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from mlp_jax.backward import GradientRule, check_like_params
from mlp_jax.gradients.compare import compare_gradients
from mlp_jax.gradients.finite import first_not_finite
from mlp_jax.gradients.report import Comparison, GradientReport
from mlp_jax.network import Inputs, Model, Params, Targets, loss, sizes_of

automatic = jax.grad(loss)  # one function, so that `jit` finds what it has compiled


def compare_rules(
    rules: Mapping[str, GradientRule],
    params: Params,
    inputs: Inputs,
    targets: Targets,
    model: Model,
    *,
    reference: str = "automatic",
    gradients: Mapping[str, Any] | None = None,
) -> GradientReport:
    """The gradients that rules give of one network on the same examples, compared with the reference's.

    rules: functions with the signature of `backprop` that JAX can trace, by name. "automatic", unless it is among them
        or the gradients, is `jax.grad(loss)`.
    gradients: others that are known already, a numerical one for instance.

    The tolerance allows for terms that cancel: it grows by the gradient's change if parameters, inputs and targets are
    rounded (`rounding_noise`). The notes name the layer at which a rule first goes wrong on its way back from the
    outputs, because its fault is there, and the first quantity of the network that is not finite. Raises ValueError if
    shapes do not match, if a rule does not return a pytree like params, if a name is given twice, or if the reference
    is not among the names.

    >>> from mlp_jax import Model, backprop, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> compare_rules({"by hand": backprop}, *problem).agree
    True
    """
    if not isinstance(rules, Mapping):
        raise ValueError(
            f"rules come by name, but a {type(rules).__name__} was given: "
            'call compare_rules({"by hand": backprop}, params, inputs, targets, model)'
        )
    params, found = tuple(params), dict(gradients or {})
    if twice := set(rules) & set(found):
        raise ValueError(f"{', '.join(sorted(twice))} is the name of a rule and of a gradient: expected it once")
    if "automatic" not in found:
        rules = {"automatic": automatic, **rules}
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


def rounding_noise(params: Params, inputs: Inputs, targets: Targets, model: Model) -> Params:
    """How much a gradient changes if parameters, inputs and targets are rounded: for each leaf the largest change.

    An algorithm that rounds at each step gives the exact result for slightly different data. If large terms cancel, a
    slight change of each is a large change of their sum. So in float64 each parameter and input is changed up or down
    by 4 eps of itself, each target by 4 eps of the largest, and the change of `jax.grad` is measured, four times. Twice
    the rounding error of `jax.grad` in the dtype of the parameters is added. Returns a pytree like params whose leaves
    are floats.

    >>> from mlp_jax import Model, init_params
    >>> problem = init_params(jax.random.key(0), (2, 3, 1)), jnp.ones((4, 2)), jnp.ones((4, 1)), Model()
    >>> [0 < change < 1e-5 for change in jax.tree.leaves(rounding_noise(*problem))]
    [True, True, True, True]
    """
    eps = max(float(jnp.finfo(jnp.result_type(leaf)).eps) for leaf in jax.tree.leaves((params, inputs)))
    with jax.default_matmul_precision("highest"):
        rounded = jax.jit(automatic)(params, inputs, targets, model)
    with jax.enable_x64(True):
        problem = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (rounded, params, inputs, targets))
        draw = np.random.default_rng(0)
        bits = jax.tree.map(lambda leaf: draw.integers(16, size=leaf.shape, dtype=np.uint8), problem[1:])
        return jax.tree.map(float, _noise(*problem, bits, model, 4 * eps))


@jax.jit
def _noise(
    rounded: Params, params: Params, inputs: Array, targets: Array, bits: Any, model: Model, change: ArrayLike
) -> Params:
    """bits: for each number of params, inputs and targets four bits, the signs of its change each time."""
    numbers = params, inputs, targets

    def moved(time: Array) -> Params:
        sign = jax.tree.map(lambda b, leaf: 1 - 2 * ((b >> time) & 1).astype(leaf.dtype), bits, numbers)
        changed = jax.tree.map(lambda leaf, s: leaf * (1 + change * s), (params, inputs), sign[:2])
        return automatic(*changed, targets + change * sign[2] * jnp.max(jnp.abs(targets)), model)

    exact = automatic(params, inputs, targets, model)
    moved_four_times = jax.lax.map(moved, jnp.arange(4, dtype=jnp.uint8))
    return jax.tree.map(
        lambda m, r, g: jnp.max(jnp.abs(m - g[None])) + 2 * jnp.max(jnp.abs(r - g)), moved_four_times, rounded, exact
    )


def _fault(name: str, leaves: tuple[Comparison, ...], reference: str) -> str:
    """At which layer a backward pass goes wrong first, on its way from the last layer to the first."""
    wrong = [leaf for leaf in leaves if not leaf.agrees]
    if not wrong:
        return ""
    layer = wrong[-1].path.split(".")[0]
    wrong = [leaf for leaf in wrong if leaf.path.startswith(layer)]
    advice = "look at its errors (deltas)"
    if len(wrong) == 1:
        advice = "the rest of the layer agrees, so its errors (deltas) are right: look at what becomes of them"
    found = " and ".join(leaf.path + leaf.where for leaf in wrong)
    first = f"{name}: from the outputs backward, the first to differ from {reference} is params{layer}"
    return f"{first}, at {found}: {advice}"
