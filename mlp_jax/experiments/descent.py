"""Mini-batches stumble downhill in quick steps; full descent takes slow ones, each exactly downhill.

"Downhill" is meant of the cost of all examples. Each kind of walker goes at the best of a few learning rates, and both
come from each start down to a cost that both reach: what that takes is compared. The gap grows with the number of
examples. That a step along the full gradient is the steepest is an identity; that it lowers the cost is not, for it may
be too long. In the plane of the principal components both paths look smooth: the figure zooms in on some steps instead.

Source: lesson 3, minute 10.
Holds if:
- stumbling: on the way of mini-batches the angle between two successive steps is more than 45 degrees in the median and
  the path is twice as long as the straight way or more; from each start.
- quick steps: a step of full descent takes twice as long as one of a mini-batch or more; from each start.
- exactly downhill with all examples: nearly all steps of full descent lower the cost of all examples, and fewer of the
  mini-batches' steps do; from each start.
- sooner down: full descent takes twice as many seconds and examples as mini-batches, or more; from each start.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import MUCH_MORE, NEARLY_ALL, SIZES, Finding, batch_of, check_classes
from mlp_jax.network import Model, Params, init_params, loss
from mlp_jax.training import epoch_order

MODEL = Model()
IMAGES = 6_000
BATCH, EPOCHS = 100, 6
FULL_STEPS = 200
RATES = (1.0, 3.0, 10.0)
SEEDS = (0, 1, 2)
TURNED = 45  # degrees
ZOOM = 90, 30  # the figure's plane shows 30 steps of mini-batches, from the 90th of the first seed
GRID, MARGIN = 25, 0.1

Points = Float[np.ndarray, "points parameters"]


class Walk(NamedTuple):
    """A path downhill from the first of SEEDS, at the best of RATES, and what the same was like from every seed."""

    rate: float  # the learning rate whose paths end lowest, in the mean over the seeds
    examples: int  # seen in each step
    cost: Float[np.ndarray, " points"]  # of all examples, before the first step and after each
    step_seconds: Float[np.ndarray, " seeds"]  # of one step
    needed: Int[np.ndarray, " seeds"]  # steps to the cost that both walks from a seed reach
    detour: Float[np.ndarray, " seeds"]  # the length of the path to there over the straight distance
    turn: Float[np.ndarray, " seeds"]  # the median angle between two successive steps on the way, degrees
    lowering: Float[np.ndarray, " seeds"]  # the share of steps on the way that lower the cost of all examples
    zoomed: Float[np.ndarray, "shown 2"]  # some steps in the figure's plane, from one point for both walkers


class Measurement(NamedTuple):
    """Both walks, and the cost surface of the plane in which some of their steps are drawn."""

    mini: Walk
    full: Walk
    images: int  # how many examples there are
    level: float  # the cost that both walks from the first seed reach
    held: float  # the share of the squared lengths of the mini-batches' steps that the plane holds, 0 to 1
    across: Float[np.ndarray, " across"]  # where in the plane the cost was measured, in the units of the parameters
    up: Float[np.ndarray, " up"]
    surface: Float[np.ndarray, "up across"]  # the cost there


def measure(dataset: Dataset, clock: Callable[[], float] = time.perf_counter) -> Measurement:
    """Walk down from the same parameters both ways. clock: says the time in seconds; compiling is not timed."""
    check_classes(dataset)
    starts = [init_params(jax.random.key(seed), (dataset.n_in, *SIZES[1:-1], dataset.n_out)) for seed in SEEDS]
    inputs, targets = batch_of(dataset.train.rows(slice(IMAGES)), starts[0])
    images, size = len(inputs), min(BATCH, len(inputs))
    orders = {"mini": mini_batches(images, size, EPOCHS)[:, None], "full": np.empty((FULL_STEPS, 1, 0), np.int32)}
    walk_for = {kind: walk.lower(starts[0], inputs, targets, order, RATES[0]) for kind, order in orders.items()}
    walk_for = {kind: lowered.compile() for kind, lowered in walk_for.items()}
    costs = cost_of_points(starts[0], inputs, targets)

    def path(kind: str, start: Params, rate: float) -> tuple[Points, float]:
        began = clock()
        points = jax.block_until_ready(walk_for[kind](start, inputs, targets, orders[kind], rate))
        return np.asarray(points), (clock() - began) / len(orders[kind])

    rates, paths, seconds, heights = {}, {}, {}, {}
    for kind in orders:
        tried = [[path(kind, start, rate) for start in starts] for rate in RATES]
        ends = costs(np.stack([points[-1] for row in tried for points, _ in row])).reshape(len(RATES), len(SEEDS))
        best = int(np.nanargmin(ends.mean(axis=1)))
        rates[kind] = RATES[best]
        paths[kind], seconds[kind] = zip(*tried[best], strict=True)
        heights[kind] = np.stack([costs(points) for points in paths[kind]])
    levels = np.maximum(heights["mini"].min(axis=1), heights["full"].min(axis=1))

    first, count = (min(number, len(orders["mini"]) // 2) for number in ZOOM)
    shown = {"mini": paths["mini"][0][first : first + count + 1]}
    unravel = ravel_pytree(starts[0])[1]
    shown["full"] = walk(unravel(shown["mini"][0]), inputs, targets, orders["full"][:count], rates["full"])
    axes, held = plane_of_steps(shown["mini"])
    zoomed = {kind: (np.asarray(points) - shown["mini"][0]) @ axes.T for kind, points in shown.items()}
    across, up = (_span(np.concatenate([zoomed[kind][:, axis] for kind in zoomed])) for axis in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    surface = costs(shown["mini"][0] + grid.astype(np.float32) @ axes).reshape(GRID, GRID)

    def summary(kind: str) -> Walk:
        needed = np.argmax(heights[kind] <= levels[:, None], axis=1)
        ways = [points[: end + 1] for points, end in zip(paths[kind], needed, strict=True)]
        return Walk(
            rates[kind],
            orders[kind].shape[2] or images,
            heights[kind][0],
            np.array(seconds[kind]),
            needed,
            np.array([detour(way) for way in ways]),
            np.array([np.median(turns(way)) for way in ways]),
            np.array([np.mean(np.diff(row[: len(way)]) < 0) for row, way in zip(heights[kind], ways, strict=True)]),
            zoomed[kind],
        )

    return Measurement(summary("mini"), summary("full"), images, float(levels[0]), held, across, up, surface)


def judge(measured: Measurement) -> Finding:
    """Which parts hold, from each start."""
    mini, full = measured.mini, measured.full
    slower = full.step_seconds / mini.step_seconds
    examples = full.needed * full.examples / (mini.needed * mini.examples)
    seconds = full.needed * full.step_seconds / (mini.needed * mini.step_seconds)
    turn, lowering, way = (
        [float(np.median(getattr(walk, name))) for walk in (mini, full)] for name in ("turn", "lowering", "detour")
    )
    return Finding(
        f"To reach the same cost, full descent needs {np.median(seconds):.0f} times the seconds and "
        f"{np.median(examples):.0f} times the examples of mini-batches.",
        {
            "stumbling": bool((mini.turn > TURNED).all() and (mini.detour >= MUCH_MORE).all()),
            "quick steps": bool((slower >= MUCH_MORE).all()),
            "exactly downhill with all examples": bool(
                (full.lowering >= NEARLY_ALL).all() and (mini.lowering < full.lowering).all()
            ),
            "sooner down": bool((seconds >= MUCH_MORE).all() and (examples >= MUCH_MORE).all()),
        },
        {
            "angle between successive steps, mini-batches and full": f"{turn[0]:.0f}, {turn[1]:.0f} degrees",
            "length of the path over the straight way": f"{way[0]:.1f}, {way[1]:.1f}",
            f"steps that lower the cost of all {measured.images:,} examples": f"{lowering[0]:.0%}, {lowering[1]:.0%}",
            "time of a full step over that of a mini-batch's": f"{np.median(slower):.0f}",
            "cost that both reach, from the first start": f"{measured.level:.3f}",
            "learning rates": f"{mini.rate:g}, {full.rate:g}",
            "starts; numbers are medians": f"{len(slower)}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Cost against examples and seconds; some steps of both from one point, on the cost surface of their plane."""
    figure, (above, below) = figures.strips(2.9, 3.3)
    mini, full = ("mini-batches", measured.mini, figures.RED, "-"), ("full descent", measured.full, figures.BLUE, "--")
    examples, seconds = above.subplots(1, 2)
    for name, walk, colour, style in (mini, full):
        steps = np.arange(1, len(walk.cost))
        examples.plot(steps * walk.examples, walk.cost[1:], style, color=colour, label=name, linewidth=1)
        seconds.plot(steps * walk.step_seconds[0], walk.cost[1:], style, color=colour, linewidth=1)
    figures.name_axes(examples, "examples seen", "cost of all examples", xscale="log", ylim=(0, None))
    figures.name_axes(seconds, "seconds of steps", "cost of all examples", xscale="log", ylim=(0, None))
    examples.legend(fontsize="small", loc="lower left", handlelength=1.4)
    _draw_zoom(plane := below.subplots(), measured)
    bar = below.colorbar(plane.collections[0], ax=plane, label="cost of all examples", format="%.3f", aspect=30)
    bar.set_ticks(np.asarray(bar.get_ticks())[::2].tolist())
    for name, walk, colour, style in (mini, full):
        label = f"{name}, {len(walk.zoomed) - 1} steps"
        plane.plot(*walk.zoomed.T, style, marker=".", color=colour, linewidth=1, markersize=4, label=label)
        plane.plot(*walk.zoomed[-1], "o", color=colour, markersize=6, markeredgecolor="white")
    plane.plot(0, 0, "s", color="black", markersize=6, markeredgecolor="white", label="the same point")
    plane.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return figure


@jax.jit
def walk(
    params: Params,
    inputs: Float[Array, "n n_in"],
    targets: Float[Array, "n n_out"],
    order: Int[Array, "looks steps batch"],
    rate: Float[Array, ""] | float,
) -> Float[Array, "points parameters"]:
    """The parameters at the start of gradient descent, and after each of `looks` groups of steps.

    order: the examples of each step; none stands for all, whose rows need not be gathered.
    """

    def step(params: Params, batch: Int[Array, " batch"]) -> tuple[Params, None]:
        examples = (inputs[batch], targets[batch]) if len(batch) else (inputs, targets)
        gradient = backprop(params, *examples, MODEL)
        return jax.tree.map(lambda p, g: p - rate * g, params, gradient), None

    def look(params: Params, batches: Int[Array, "steps batch"]) -> tuple[Params, Float[Array, " parameters"]]:
        params, _ = jax.lax.scan(step, params, batches)
        return params, ravel_pytree(params)[0]

    _, points = jax.lax.scan(look, params, order)
    return jnp.concatenate([ravel_pytree(params)[0][None], points])


def mini_batches(images: int, size: int, epochs: int, seed: int = 0) -> Int[np.ndarray, "steps size"]:
    """Which examples training takes in each step; examples beyond an epoch's last whole mini-batch are left out."""
    orders = [epoch_order(seed, epoch, images)[: images // size * size] for epoch in range(epochs)]
    return np.concatenate([order.reshape(-1, size) for order in orders])


def cost_of_points(like: Params, inputs: Array, targets: Array) -> Callable[[Points], Float[np.ndarray, " points"]]:
    """The function from flat parameters, of networks of the same sizes as this one, to the cost of all examples."""
    unravel = ravel_pytree(like)[1]
    costs = jax.jit(lambda points: jax.lax.map(lambda point: loss(unravel(point), inputs, targets, MODEL), points))
    return lambda points: np.asarray(costs(points))


def plane_of_steps(points: Points) -> tuple[Float[np.ndarray, "2 parameters"], float]:
    """The way from the first point to the last, and the direction beside it in which single steps differ most.

    Both of length 1; and the share of the steps' squared lengths that lies in their plane.
    """
    steps = np.diff(points, axis=0).astype(np.float64)
    ahead = steps.sum(axis=0)
    ahead /= np.linalg.norm(ahead)
    aside = np.linalg.svd(steps - np.outer(steps @ ahead, ahead), full_matrices=False)[2][0]
    axes = np.stack([ahead, aside])
    return axes.astype(points.dtype), float(np.sum((steps @ axes.T) ** 2) / np.sum(steps**2))


def detour(points: Points) -> float:
    """The length of a path over the distance between its ends: 1 if it is straight."""
    distance = np.linalg.norm(points[-1] - points[0])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum() / distance) if distance else 1.0


def turns(points: Points) -> Float[np.ndarray, " turns"]:
    """The angle between each two successive steps in degrees: 0 if the path goes straight on; 0 for one step."""
    steps = np.diff(points, axis=0)
    steps = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    cosines = np.sum(steps[1:] * steps[:-1], axis=1)
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))) if len(cosines) else np.zeros(1)


def _draw_zoom(panel: Axes, measured: Measurement) -> None:
    """The cost surface of the plane."""
    levels = np.geomspace(measured.surface.min(), measured.surface.max(), 14)
    panel.contourf(measured.across, measured.up, measured.surface, levels, cmap="Greys")
    title = f"zoomed in and stretched upward: {measured.held:.0%} of the mini-batches' squared steps lie in this plane"
    figures.name_axes(panel, "the way the mini-batches went, units of a parameter", "where their steps differ", title)


def _span(places: Float[np.ndarray, " n"]) -> Float[np.ndarray, " grid"]:
    """Evenly from the least to the greatest, and a little beyond."""
    margin = MARGIN * np.ptp(places)
    return np.linspace(places.min() - margin, places.max() + margin, GRID)
