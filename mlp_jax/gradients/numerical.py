"""Derivatives by nudging: how a function answers to small changes, measured without knowing any derivative."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Var, jaxprs_in_params
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Int8

EVERY_COORDINATE = 2_000
"""Up to this many parameters are nudged one by one, which takes seconds; more are nudged together."""
STEPS = 16.0 ** np.arange(4)
"""The longest step is divided by these: shorter ones suit functions that bend, have a kink, or end close by."""


class NumericalGradient(NamedTuple):
    """What `numerical_gradient` measures: pytrees like the parameters, leaves in float64.

    slopes: the partial derivatives, so the gradient; or, if there are directions, (directions,) for each leaf, the
        derivative along each of them.
    errors: how far each slope may be off, like `slopes`.
    directions: None, or int8 leaves (directions, *shape) of signs: a slope is the sum of the leaf's partial
        derivatives with these signs.

    >>> found = numerical_gradient(lambda p: p["x"] ** 3, {"x": 2.0})
    >>> bool(abs(found.slopes["x"] - 12) < found.errors["x"] < 1e-9)
    True
    """

    slopes: Any
    errors: Any
    directions: Any = None


def numerical_gradient(
    function: Callable[..., Any], params: Any, *args: Any, directions: int | None = None, seed: int = 0
) -> NumericalGradient:
    """The gradient of function(params, *args) with respect to params, by central differences in float64.

    function: anything that JAX can trace and that returns one number.
    params: any pytree of floating-point arrays. The function gets them in float64, and floating-point args too.
    directions: how many random directions to nudge each leaf in, all its numbers together. By default every number is
        nudged by itself if there are at most 2,000, and each leaf in 16 directions if there are more.
    seed: of the random directions.

    The longest step is the seventh root of eps times the size of the nudged numbers, or times 1 if they are smaller.
    Eps is that of the coarsest dtype that the function rounds to, found by tracing it. The differences at a step, its
    half and its quarter are extrapolated to a step of 0 (Richardson 1911; Ridders 1982; Press et al., Numerical
    Recipes, 5.7). This step balances the differences' rounding, eps/step, against the remaining curvature, step^6. The
    error is the change that the last extrapolation made, plus rounding, plus the uncertainty that a kink exactly here
    would leave. Steps 16, 256 and 4,096 times shorter are tried too, and the one with the smallest error is taken; if
    slopes differ by more than their errors, as where the second derivative jumps, that is added. The estimate fails if
    the function oscillates within the shortest step, as sin(1e8 p) does.

    Raises ValueError for no parameters, a leaf that is not floating point, or a function that returns anything but one
    real number.

    >>> round(float(numerical_gradient(lambda x: x**3, 2.0).slopes), 6)
    12.0
    """
    if not jax.tree.leaves(params):
        raise ValueError("params have no leaves: expected a pytree of floating-point arrays")
    for path, leaf in jax.tree.leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"params{jax.tree_util.keystr(path)} is {jnp.result_type(leaf)}: expected floating point")
    if directions is not None and directions < 1:
        raise ValueError(f"the number of directions is {directions}: expected 1 or more")
    if directions is None and sum(np.size(leaf) for leaf in jax.tree.leaves(params)) > EVERY_COORDINATE:
        directions = 16
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params, args = jax.tree.map(_in_float64, (params, args))
        value = jax.eval_shape(function, params, *args)
        if not (hasattr(value, "shape") and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)):
            raise ValueError(f"the function returns {value}: expected one real number, an array of shape ()")
        if directions is None:
            slopes, errors = jax.jit(partial(_partial_derivatives, function))(params, args)
            return NumericalGradient(jax.tree.map(np.asarray, slopes), jax.tree.map(np.asarray, errors))
        leaves, structure = jax.tree.flatten(params)
        sizes = [leaf.size for leaf in leaves]
        signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (directions, sum(sizes)))
        number_of_leaf = np.repeat(np.arange(len(leaves)), sizes)
        slopes, errors = jax.jit(partial(_slopes_of_leaves, function))(params, signs, number_of_leaf, args)
    slopes, errors = (structure.unflatten(np.asarray(numbers).T) for numbers in (slopes, errors))
    parts = zip(np.split(signs, np.cumsum(sizes)[:-1], axis=1), leaves, strict=True)
    signs = structure.unflatten(part.reshape(directions, *leaf.shape) for part, leaf in parts)
    return NumericalGradient(slopes, errors, signs)


def _partial_derivatives(function: Callable[..., Any], params: Any, args: Any) -> tuple[Any, Any]:
    """The slope in each coordinate, and its error, each a pytree like params."""
    flat, unravel = ravel_pytree(params)
    along = _slope_along(function, params, args)
    if not flat.size:
        return params, params
    slopes, errors = jax.lax.map(lambda index: along(jnp.zeros_like(flat).at[index].set(1)), jnp.arange(flat.size))
    return unravel(slopes), unravel(errors)


def _slopes_of_leaves(
    function: Callable[..., Any], params: Any, signs: Int8[Array, "m n"], number_of_leaf: Int[Array, " n"], args: Any
) -> tuple[Float[Array, "m leaves"], Float[Array, "m leaves"]]:
    """For each row of signs and each leaf the slope if only that leaf is nudged, and its error."""
    leaves = jnp.arange(len(jax.tree.leaves(params)))
    along = _slope_along(function, params, args)

    def of_each_leaf(row: Array) -> Any:
        return jax.lax.map(lambda leaf: along(jnp.where(number_of_leaf == leaf, row, 0.0)), leaves)

    return jax.lax.map(of_each_leaf, signs)


def _slope_along(function: Callable[..., Any], params: Any, args: Any) -> Callable[[Array], tuple[Array, Array]]:
    """The slope along a direction, given as a flat vector, and its error."""
    flat, unravel = ravel_pytree(params)
    eps = rounding_inside(lambda params: function(params, *args), params)

    def along(direction: Array) -> tuple[Array, Array]:
        def value(change: Array) -> Array:
            return function(unravel(flat + change * direction), *args).astype(jnp.float64)

        length = jnp.linalg.norm(direction)  # 0 for a leaf without numbers
        slope, error = _slope(value, jnp.where(length > 0, length, 1), jnp.vdot(flat, direction), eps)
        return slope, jnp.where(length > 0, error, 0)

    return along


def _slope(value: Callable[[Array], Array], length: Array, place: Array, eps: float) -> tuple[Array, Array]:
    """The derivative of value(change) at no change, and its error: the best of steps that are far apart.

    length: of the direction, whose unit is one change. place: where along the direction the nudges start.
    """
    longest = eps ** (1 / 7) * jnp.maximum(1, jnp.abs(place) / length) / length
    along = jax.lax.map(lambda step: _extrapolated(value, step, place / length**2, eps), longest / STEPS)
    slopes, errors, spreads = along
    errors += _disagreement(slopes, errors, spreads[-1])
    best = jnp.argmin(jnp.where(jnp.isnan(errors), jnp.inf, errors))
    return slopes[best], errors[best]


def _disagreement(
    slopes: Float[Array, " steps"], errors: Float[Array, " steps"], spread: Float[Array, ""]
) -> Float[Array, " steps"]:
    """How much more the slopes at different steps, the longest first, differ than their errors allow.

    Where the second derivative jumps, differences are off by a multiple of the step, which extrapolation in even powers
    does not see. The slope at a step is then off by all the changes that shorter steps bring. What steps shorter than
    the last would bring is a geometric series, with the ratio of the last two changes; but no more than `spread`, by
    how much the differences at the last step vary: they do not if a kink nearby is beyond it.
    """
    change = jnp.abs(slopes[1:] - slopes[:-1]) - errors[1:] - errors[:-1]
    change = jnp.where(change > 0, change, 0.0)  # also of NaN
    ratio = jnp.clip(change[-1] / jnp.maximum(change[-2], change[-1] + 1e-300), 1 / 16, 1 / 2)
    rest = jnp.minimum(change[-1] * ratio / (1 - ratio), spread)
    return 1.25 * (rest + jnp.append(jnp.cumsum(change[::-1])[::-1], 0.0))


def _extrapolated(value: Callable[[Array], Array], step: Array, place: Array, eps: float) -> tuple[Array, Array, Array]:
    """The slope, its error, and by how much the difference at the step itself lies beside it."""
    changes = step / jnp.array([1, 2, 4])
    ahead, behind, here = jax.lax.map(value, changes), jax.lax.map(value, -changes), value(0 * step)
    once = (ahead - behind) / (2 * changes)  # off by a multiple of change^2, and of its even powers
    twice = (4 * once[1:] - once[:-1]) / 3  # off by change^4
    slope = (16 * twice[1] - twice[0]) / 15  # off by change^6
    largest = jnp.max(jnp.abs(jnp.concatenate([ahead, behind])))
    # Each value is off by a few eps of itself, and by what rounding the nudged numbers does to it.
    rounding = 16 * eps * (largest + jnp.abs(place * slope)) / changes[-1]
    # What the slopes ahead and behind differ by shrinks with the step, unless they meet in a kink.
    bend = jnp.abs(ahead + behind - 2 * here) / changes
    kink = jnp.maximum(0, bend[-1] - bend[0] / 3)
    return slope, jnp.abs(slope - twice[1]) + rounding + kink, jnp.abs(once[0] - slope)


def rounding_inside(function: Callable[[Any], Array], params: Any) -> float:
    """Eps of the coarsest floating-point dtype in the function, among the values that depend on params.

    >>> rounding_inside(lambda x: jnp.sum(x.astype(jnp.bfloat16)), jnp.ones(3)) == float(jnp.finfo(jnp.bfloat16).eps)
    True
    """
    jaxpr = jax.make_jaxpr(function)(params).jaxpr
    return _coarsest(jaxpr, [True] * len(jaxpr.invars))


def _coarsest(jaxpr: Jaxpr, depends: Sequence[bool]) -> float:
    """The same for a traced function; `depends` says which of its arguments depend on the parameters."""
    dependent = {variable for variable, mark in zip(jaxpr.invars, depends, strict=True) if mark}
    eps = float(jnp.finfo(jnp.float64).eps)
    for equation in jaxpr.eqns:
        marks = [isinstance(variable, Var) and variable in dependent for variable in equation.invars]
        if not any(marks):
            continue
        dependent.update(equation.outvars)
        types = [jnp.result_type(variable.aval) for variable in equation.outvars]
        eps = max([eps] + [float(jnp.finfo(dtype).eps) for dtype in types if jnp.issubdtype(dtype, jnp.floating)])
        for inner in jaxprs_in_params(equation.params):
            # Values that a loop carries come to depend on the parameters, whatever their initial values.
            same = len(inner.invars) == len(marks) and equation.primitive.name not in ("scan", "while")
            eps = max(eps, _coarsest(inner, marks if same else [True] * len(inner.invars)))
    return eps


def _in_float64(leaf: Any) -> Any:
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.asarray(np.asarray(leaf, np.float64)) if floating else leaf
