"""Steps proportional to the slope find a local minimum, which depends on the start, and kind of keep from overshooting.

That steps get smaller as the slope flattens holds at any learning rate, the factor of proportion, which the lesson does
not name. Whether they overshoot depends on it: near a minimum where the curvature is c a step leaves 1 - rate * c of
the distance, so it stops short of the minimum below a rate of 1/c, and comes no nearer above 2/c. Both are swept. The
functions are polynomials, whose minima are roots of polynomials too: no descent is needed to know them.

Source: lesson 2, minute 8.
Holds if:
- ends in a minimum: every path ends in one, at a rate of 0.05.
- the start decides which, and not always the smallest: not all starts end in one, and not all in the deepest.
- steps get smaller towards it: near a minimum every step is shorter than the last, at a rate of 0.05.
- that helps from overshooting: at a rate of 0.05 no path steps across the minimum that it ends in, and with steps of a
  fixed length most do.
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
from mlp_jax.experiments.subject import MOST, NEARLY_ALL, Finding

LINE = Polynomial([0, -0.1, 0.34, 0.06, -0.17, -0.01, 0.02])  # of one input: three valleys
ALONG, ACROSS = Polynomial([0, 0.1, -0.75, -0.05, 0.25]), Polynomial([0, -0.1, -0.5, 0, 0.25])  # two each
BEND = Polynomial([0, 0.1, 0.25])  # the parabola across which the function of two inputs has its valleys
LINE_ENDS, PLANE_ENDS = (-2.4, 2.4), (-2.0, 2.0)
RATE = 0.05  # the learning rate: a step is this times the slope
STEPS = 400
LINE_STARTS, PLANE_STARTS, PATHS, GRID = 21, 200, 16, 61
FIXED = 0.15  # the length of steps that do not depend on the slope
SWEEP = np.round(np.geomspace(0.02, 2, 81), 4)  # learning rates tried on the line
BOTTOM = 0.25  # as near to a minimum is its bottom
Numbers = Any  # of NumPy or of JAX, one or an array of them
Points = Float[np.ndarray, "_ inputs"]
START, FAR = 0.05, 10.0  # how near to a minimum the sweep's starts are; what runs away stops there
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
    curvatures: Float[np.ndarray, " minima"]  # of the function of one input in its minima
    rates: Float[np.ndarray, " rates"]
    arriving: Float[np.ndarray, "rates minima"]  # the share of starts next to a minimum, at each rate, that end in it
    crossing: Float[np.ndarray, "rates minima"]  # the share of them that step across it
    crossed: float  # the share of all paths on the line, at RATE, that step across the minimum they end in
    fixed_crossed: float  # the same with steps of the length FIXED
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
        line, fixed = (np.asarray(descend(cost_on_line, starts, RATE, length)) for length in (None, FIXED))
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
    arriving, crossing = np.transpose(
        [[near_minimum(rate, place) for place in line_minima[:, 0]] for rate in SWEEP], (2, 0, 1)
    )
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
        LINE.deriv(2)(line_minima[:, 0]),
        SWEEP,
        arriving,
        crossing,
        float(np.mean(crosses(line[..., 0], line_minima[line_ends, 0]))),
        float(np.mean(crosses(fixed[..., 0], line_minima[nearest(fixed[:, -1], line_minima)[0], 0]))),
        float(np.mean(shorter)),
    )


def judge(measured: Measurement) -> Finding:
    """Which parts hold."""
    distance = max(measured.line_distances.max(), measured.plane_distances.max())
    arrived = np.concatenate([measured.line_distances, measured.plane_distances]) < ARRIVED
    ends = measured.line_ends, measured.plane_ends
    line, plane = (f"{np.mean(end == 0):.0%}" for end in ends)
    deepest, arrives = measured.curvatures[0], measured.arriving[:, 0] >= NEARLY_ALL
    crossing = measured.crossing[:, 0] > MOST
    first, last = (measured.rates[np.argmax(some)] if some.any() else np.inf for some in (crossing, ~arrives))
    return Finding(
        f"At a rate of {RATE}, {arrived.sum()} of {len(arrived)} paths end in a minimum, and near one "
        f"{measured.crossed:.0%} of them step across it.",
        {
            "ends in a minimum": bool(arrived.all()),
            "the start decides which, and not always the smallest": all(
                len(np.unique(end)) > 1 and (end != 0).any() for end in ends
            ),
            "steps get smaller towards it": measured.shortening == 1,
            "that helps from overshooting": measured.crossed == 0 and measured.fixed_crossed > MOST,
        },
        {
            "farthest end from a minimum": f"{distance:.0e}",
            "starts that find the deepest, on a line and in a plane": f"{line}, {plane}",
            "steps near a minimum that are shorter than the last": f"{measured.shortening:.0%}",
            f"paths that step across with steps of always {FIXED}": f"{measured.fixed_crossed:.0%}",
            "curvature c of the deepest minimum, and 1/c": f"{deepest:.2f}, {1 / deepest:.2f}",
            "most starts near it step across from a rate of": f"{first:.2f}",
            "starts near it no longer arrive from a rate of": f"{last:.2f}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Paths on the line and how steps shorten; the valleys of the plane; and what the learning rate does."""
    figure, ((line, shortening), (plane, sweep)) = figures.page(2, 2)
    _draw_line(line, measured)
    lengths = np.abs(np.diff(measured.line_paths, axis=1))
    lines = {"proportional to the slope": lengths, f"always {FIXED}": np.full(lengths.shape[1], FIXED)}
    figures.curves(shortening, np.arange(1, lengths.shape[1] + 1), lines)
    shortening.set(yscale="log", ylim=(1e-7, 0.5))
    shortening.legend(fontsize="small", loc="upper right", bbox_to_anchor=(1, 0.88))
    figures.name_axes(shortening, "step", "length of the step", "median and range of the starts")
    _draw_plane(plane, measured)
    for share, name, style in ((measured.arriving, "arrive", "-"), (measured.crossing, "step across", "--")):
        sweep.plot(measured.rates, 100 * share[:, 0], style, color=figures.COLOURS[0], label=name)
    for times in (1, 2):
        sweep.axvline(times / measured.curvatures[0], color="black", linewidth=0.8, linestyle=":")
        sweep.text(times / measured.curvatures[0], 113, f"{times}/c", fontsize="small", ha="center", va="center")
    sweep.legend(fontsize="small", loc="center left")
    title = f"next to the deepest minimum, c = {measured.curvatures[0]:.2f}"
    figures.name_axes(sweep, "learning rate", "share of starts, %", title, xscale="log", ylim=(-4, 120))
    return figure


@partial(jax.jit, static_argnums=(0, 3))
def descend(
    cost: Callable[..., Numbers], starts: Float[Array, "starts inputs"], rate: Any = RATE, length: float | None = None
) -> Float[Array, "starts steps inputs"]:
    """Paths of gradient descent, each start included; all steps of this length, if one is given."""
    slopes = jax.vmap(jax.grad(lambda point: cost(*point)))

    def step(points: Array, _: None) -> tuple[Array, Array]:
        slope = slopes(points)
        if length is None:
            return points - rate * slope, points
        return points - length * slope / jnp.linalg.norm(slope, axis=1, keepdims=True), points

    _, paths = jax.lax.scan(step, starts, length=STEPS + 1)
    return jnp.swapaxes(paths, 0, 1)


def nearest(points: Points, minima: Points) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The number of the minimum next to each point, and how far it is."""
    distances = np.linalg.norm(points[:, None] - minima, axis=-1)
    return distances.argmin(axis=1), distances.min(axis=1)


def crosses(paths: Float[np.ndarray, "starts steps"], places: Numbers) -> Bool[np.ndarray, " starts"]:
    """Whether a path steps across a place, from one side to the other by more than rounding."""
    aside = paths - np.reshape(places, (-1, 1))
    beyond = (aside[:, 1:] * aside[:, :-1] < 0) & (np.minimum(abs(aside[:, 1:]), abs(aside[:, :-1])) > ROUNDING)
    return np.any(beyond, axis=1)


def near_minimum(rate: float, place: float) -> tuple[float, float]:
    """Of LINE_STARTS starts next to a minimum, the shares that end in it and that step across it."""
    points = place + np.linspace(-START, START, LINE_STARTS + 1)
    slope, path = LINE.deriv(), [points]
    for _ in range(STEPS):
        points = np.clip(points - rate * slope(points), -FAR, FAR)
        path.append(points)
    return float(np.mean(abs(points - place) < ARRIVED)), float(np.mean(crosses(np.array(path).T, place)))


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
