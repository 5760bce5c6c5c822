"""Steps proportional to the slope find a local minimum; which one depends on the start.

The steps shorten towards a valley's bottom and so do not overshoot. The valley need not be the deepest.

Source: lesson 2.
Refuted if: a path ends elsewhere than in a minimum, if steps do not shorten near the bottom, or if all starts lead to
the same valley.

The functions are polynomials, whose minima are roots of polynomials too: no descent is needed to know them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.polynomial import Polynomial
from numpy.polynomial.polynomial import polyval

from mlp_jax import figures
from mlp_jax.experiments.subject import Finding

LINE = Polynomial([0, -0.1, 0.34, 0.06, -0.17, -0.01, 0.02])  # of one input: three valleys
ALONG, ACROSS = Polynomial([0, 0.1, -0.75, -0.05, 0.25]), Polynomial([0, -0.1, -0.5, 0, 0.25])  # two each
BEND = Polynomial([0, 0.1, 0.25])  # the parabola across which the function of two inputs has its valleys
LINE_ENDS, PLANE_ENDS = (-2.4, 2.4), (-2.0, 2.0)
RATE = 0.05  # of both: a step is so many times the slope
STEPS = 400
LINE_STARTS, PLANE_STARTS, PATHS, GRID = 21, 200, 16, 61
FIXED = 0.15  # the length of steps that do not depend on the slope
BOTTOM = 0.25  # as near to a minimum is its bottom
Numbers = Any  # of NumPy or of JAX, one or an array of them
Points = Float[np.ndarray, "_ inputs"]
ARRIVED, ROUNDING = 1e-4, 1e-9  # as near to a minimum a path has ended in it; shorter steps are made of rounding


class Measurement(NamedTuple):
    """Paths of descent over a function of one input, `line`, and of two, `plane`; which minimum each ends in."""

    line_minima: Float[np.ndarray, " minima"]  # as roots of polynomials say, the deepest first
    line_costs: Float[np.ndarray, " minima"]  # the function there
    line_paths: Float[np.ndarray, "starts steps+1"]
    line_ends: Int[np.ndarray, " starts"]  # the number of the minimum next to the end of each path
    line_distances: Float[np.ndarray, " starts"]  # how far from it the path ends
    fixed_distances: Float[np.ndarray, " starts"]  # the mean over the last ten if every step has the length FIXED
    plane_minima: Float[np.ndarray, "all 2"]
    plane_costs: Float[np.ndarray, " all"]
    plane_paths: Float[np.ndarray, "paths steps+1 2"]  # the first few
    plane_ends: Int[np.ndarray, " all_starts"]
    plane_distances: Float[np.ndarray, " all_starts"]
    basins: Int[np.ndarray, "y x"]  # the number of the minimum that each point of an even grid leads to
    shortening: float  # the share of all steps made near a minimum that are shorter than the last


def cost_on_line(x: Numbers) -> Numbers:
    """The function of one input."""
    return polyval(x, LINE.coef)


def cost_on_plane(x: Numbers, y: Numbers) -> Numbers:
    """The function of two inputs: valleys along x, and others across a parabola that x draws."""
    return polyval(x, ALONG.coef) + polyval(y - polyval(x, BEND.coef), ACROSS.coef)


def minima_of(polynomial: Polynomial) -> Float[np.ndarray, " minima"]:
    """The places at which the slope is 0 and about to rise."""
    roots = polynomial.deriv().roots()
    level = np.real(roots[np.isreal(roots)])
    return level[polynomial.deriv(2)(level) > 0]


def minima_on_plane() -> Float[np.ndarray, "all 2"]:
    """The points at which both parts have a minimum: only there is the slope 0 and the curvature upward."""
    return np.array([(x, y + BEND(x)) for x in minima_of(ALONG) for y in minima_of(ACROSS)])


def measure() -> Measurement:
    """Go down from evenly spread starts on the line, and from random ones and from a grid in the plane, in float64."""
    with jax.enable_x64(True):
        starts = jnp.linspace(*LINE_ENDS, LINE_STARTS)[:, None]
        line, fixed = (np.asarray(descend(cost_on_line, starts, length)) for length in (None, FIXED))
        axis = np.linspace(*PLANE_ENDS, GRID)
        everywhere = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        random = np.random.default_rng(3).uniform(*PLANE_ENDS, (PLANE_STARTS, 2))
        plane = np.asarray(descend(cost_on_plane, jnp.asarray(np.concatenate([random, everywhere]))))
    line_minima, line_costs = _deepest_first(cost_on_line, minima_of(LINE)[:, None])
    plane_minima, plane_costs = _deepest_first(cost_on_plane, minima_on_plane())
    line_ends, line_distances = nearest(line[:, -1], line_minima)
    ends, distances = nearest(plane[:, -1], plane_minima)
    last_of_fixed = [nearest(fixed[:, -number], line_minima)[1] for number in range(1, 11)]
    shorter = np.concatenate([shortens(line, line_minima), shortens(plane[:PLANE_STARTS], plane_minima)])
    return Measurement(
        line_minima[:, 0],
        line_costs,
        line[..., 0],
        line_ends,
        line_distances,
        np.mean(last_of_fixed, axis=0),
        plane_minima,
        plane_costs,
        plane[:PATHS],
        ends[:PLANE_STARTS],
        distances[:PLANE_STARTS],
        ends[PLANE_STARTS:].reshape(GRID, GRID),
        float(np.mean(shorter)),
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds if every path ends in a minimum, not all in one, and each step near one is a shorter one."""
    distance = max(measured.line_distances.max(), measured.plane_distances.max())
    arrived = np.concatenate([measured.line_distances, measured.plane_distances]) < ARRIVED
    each = ((measured.line_ends, measured.line_minima), (measured.plane_ends, measured.plane_minima))
    line, plane = (
        f"find {len(np.unique(ends))} of {len(minima)} minima, {np.mean(ends == 0):.0%} the deepest"
        for ends, minima in each
    )
    return Finding(
        f"{arrived.sum()} of {len(arrived)} paths end in a minimum, at most {distance:.0e} away: "
        f"{len(measured.line_ends)} starts on a line {line}; {len(measured.plane_ends)} in a plane {plane}. "
        f"Near one {measured.shortening:.0%} of steps are shorter than the last; steps of a fixed length, {FIXED}, "
        f"stay {np.median(measured.fixed_distances):.2f} away",
        bool(arrived.all() and all(len(np.unique(ends)) > 1 for ends, _ in each) and measured.shortening == 1),
    )


def draw(measured: Measurement) -> Figure:
    """Paths on the line and how steps shorten; the valleys of the plane, their depth, and which starts reach them."""
    figure, ((line, shortening), (plane, depths)) = figures.page(2, 2)
    _draw_line(line, measured)
    lengths = np.abs(np.diff(measured.line_paths, axis=1))
    lines = {"proportional to the slope": lengths, f"always {FIXED}": np.full(lengths.shape[1], FIXED)}
    figures.curves(shortening, np.arange(1, lengths.shape[1] + 1), lines)
    shortening.set(yscale="log", ylim=(1e-7, 0.5))
    shortening.legend(fontsize="small", loc="upper right", bbox_to_anchor=(1, 0.88))
    figures.name_axes(shortening, "step", "length of the step", "median and range of the starts")
    _draw_plane(plane, measured)
    share = np.bincount(measured.plane_ends, minlength=len(measured.plane_costs)) / len(measured.plane_ends)
    names = [f"{cost:.2f}" for cost in measured.plane_costs]
    depths.bar(names, 100 * share, color=figures.COLOURS[: len(names)])
    figures.name_axes(depths, "cost in the minimum", "share of starts in the plane, %", axisbelow=True)
    return figure


@partial(jax.jit, static_argnums=(0, 2))
def descend(
    cost: Callable[..., Numbers], starts: Float[Array, "starts inputs"], length: float | None = None
) -> Float[Array, "starts steps inputs"]:
    """Paths of gradient descent, each start included; all steps of this length, if one is given."""
    slopes = jax.vmap(jax.grad(lambda point: cost(*point)))

    def step(points: Array, _: None) -> tuple[Array, Array]:
        slope = slopes(points)
        if length is None:
            return points - RATE * slope, points
        return points - length * slope / jnp.linalg.norm(slope, axis=1, keepdims=True), points

    _, paths = jax.lax.scan(step, starts, length=STEPS + 1)
    return jnp.swapaxes(paths, 0, 1)


def nearest(points: Points, minima: Points) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The number of the minimum next to each point, and how far it is."""
    distances = np.linalg.norm(points[:, None] - minima, axis=-1)
    return distances.argmin(axis=1), distances.min(axis=1)


def shortens(paths: Float[np.ndarray, "starts steps inputs"], minima: Points) -> Bool[np.ndarray, " near"]:
    """For each step from a valley's bottom that is not mere rounding, whether it is shorter than the one before."""
    lengths = np.linalg.norm(np.diff(paths, axis=1), axis=-1)
    _, distances = nearest(paths[:, 1:-1].reshape(-1, paths.shape[-1]), minima)
    looked_at = (distances.reshape(len(paths), -1) < BOTTOM) & (lengths[:, 1:] > ROUNDING)
    return (lengths[:, 1:] < lengths[:, :-1])[looked_at]


def _deepest_first(cost: Callable[..., Numbers], minima: Points) -> tuple[Points, Float[np.ndarray, " minima"]]:
    costs = cost(*minima.T)
    order = np.argsort(costs)
    return minima[order], costs[order]


def _draw_line(panel: Axes, measured: Measurement) -> None:
    """Each path as dots on the curve, coloured by the minimum that it ends in, its start ringed."""
    x = np.linspace(*LINE_ENDS, 300)
    panel.plot(x, LINE(x), "-", color="0.6", linewidth=1)
    for path, end in zip(measured.line_paths, measured.line_ends, strict=True):
        panel.plot(path, LINE(path), ".", color=figures.COLOURS[end], markersize=3)
        panel.plot(path[0], LINE(path[0]), "o", color=figures.COLOURS[end], markerfacecolor="white", markersize=5)
    panel.plot(measured.line_minima, measured.line_costs, "k*", markersize=9)
    figures.name_axes(panel, "input", "cost", "rings start, dots step, stars are minima")


def _draw_plane(panel: Axes, measured: Measurement) -> None:
    """The basins of the minima, coloured, under lines of equal cost and the paths from some of the starts."""
    axis = np.linspace(*PLANE_ENDS, GRID)
    x, y = np.meshgrid(axis, axis)
    colours = ListedColormap(figures.COLOURS[: len(measured.plane_minima)])
    panel.pcolormesh(x, y, measured.basins, cmap=colours, alpha=0.35, linewidth=0)
    cost = cost_on_plane(x, y)
    levels = np.quantile(cost, np.linspace(0.03, 0.9, 9))
    panel.contour(x, y, cost, levels=levels, colors="0.4", linestyles="solid", linewidths=0.5)
    for path in measured.plane_paths:
        panel.plot(*path.T, "k.-", linewidth=0.6, markersize=2)
    panel.plot(*measured.plane_minima.T, "k*", markerfacecolor="white", markersize=10)
    figures.name_axes(panel, "first input", "second input", "colours: the minimum that a start leads to", grid=False)
