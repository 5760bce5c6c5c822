"""Mini-batches stumble downhill in quick steps, full descent walks straight and slowly.

Claim: a step along the gradient of all examples is carefully aimed and dear; steps along those of mini-batches stagger
about the same way down, but they are so cheap that they arrive much earlier. Source: lesson 3. Refuted if: mini-batches
need as many examples or seconds as full descent to reach the same cost, or if their path there is as straight.

Each kind walks at the best of a few learning rates. The gap grows with the examples, of which some are used here: a
full step is as dear as all of them.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import SIZES, Finding, batch_of
from mlp_jax.network import Model, Params, init_params, loss
from mlp_jax.training import TrainState, epoch_order, update

IMAGES = 6_000
BATCH, EPOCHS = 100, 10
FULL_STEPS = 200
RATES = (1.0, 3.0, 10.0)
SEEDS = (0, 1, 2)
LOOKS = 100  # points of each path whose cost is measured, and that the plane is laid through, besides the start
GRID, MARGIN = 25, 0.15
STRIDE = 2  # on the page, the ragged path is drawn through every second step


class Walk(NamedTuple):
    """A path downhill from the first of SEEDS, at the best of RATES, and what the same took from every seed.

    rate: the learning rate whose paths end lowest, in the mean over the seeds.
    examples, seconds, cost: how many examples were seen, how long that took, and the cost of all examples at each of
        the points looked at, (looks,).
    plane: where the path lies in the plane, (points, 2).
    examples_needed, seconds_needed: to come down to the cost that both walks from a seed reach, (seeds,).
    detour: the length of the path to there over the straight distance, (seeds,): 1 for a straight line.
    """

    rate: float
    examples: Int[np.ndarray, " looks"]
    seconds: Float[np.ndarray, " looks"]
    cost: Float[np.ndarray, " looks"]
    plane: Float[np.ndarray, "points 2"]
    examples_needed: Int[np.ndarray, " seeds"]
    seconds_needed: Float[np.ndarray, " seeds"]
    detour: Float[np.ndarray, " seeds"]


class Measurement(NamedTuple):
    """Both walks, and the cost surface of the plane that holds most of them.

    images: how many examples there are. level: the cost that both walks from the first seed reach.
    held: the share of the paths' variance that the plane holds, 0 to 1.
    across, up: where in the plane the cost was measured, (grid,), in the units of the parameters. surface: it, (up,
        across).
    """

    mini: Walk
    full: Walk
    images: int
    level: float
    held: float
    across: Float[np.ndarray, " grid"]
    up: Float[np.ndarray, " grid"]
    surface: Float[np.ndarray, "grid grid"]


class Path(NamedTuple):
    """points: the parameters before each step and after the last, (steps + 1, parameters). seconds: of all steps."""

    points: Float[np.ndarray, "steps parameters"]
    seconds: float


def measure(dataset: Dataset, clock: Callable[[], float] = time.perf_counter) -> Measurement:
    """Walk down from the same parameters both ways.

    clock: says the time in seconds. All but the seconds is the same at every call; they are those of the steps alone,
    after compiling.
    """
    inputs, targets = batch_of(dataset, slice(IMAGES))
    images = len(inputs)
    size = min(BATCH, images)
    steps = images // size
    orders = {
        "mini": np.concatenate([epoch_order(0, e, images)[: steps * size].reshape(steps, size) for e in range(EPOCHS)]),
        "full": np.tile(np.arange(images, dtype=np.int32), (FULL_STEPS, 1)),
    }
    starts = [init_params(jax.random.key(seed), (inputs.shape[1], *SIZES[1:-1], dataset.classes)) for seed in SEEDS]
    unravel = ravel_pytree(starts[0])[1]
    walk = {
        kind: jax.jit(_walk).lower(starts[0], inputs, targets, order, RATES[0]).compile()
        for kind, order in orders.items()
    }

    def path(kind: str, start: Params, rate: float) -> Path:
        began = clock()
        points = jax.block_until_ready(walk[kind](start, inputs, targets, orders[kind], rate))
        return Path(np.asarray(points), clock() - began)

    @jax.jit
    def costs(points: Float[Array, "points parameters"]) -> Float[Array, " points"]:
        return jax.lax.map(lambda point: loss(unravel(point), inputs, targets, Model()), points)

    def looks(kind: str) -> Int[np.ndarray, " looks"]:
        return np.linspace(0, len(orders[kind]), LOOKS + 1).astype(int)

    rates, paths, heights = {}, {}, {}
    for kind in orders:
        tried = [[path(kind, start, rate) for start in starts] for rate in RATES]
        ends = costs(np.stack([one.points[-1] for row in tried for one in row])).reshape(len(RATES), len(SEEDS))
        best = int(np.nanargmin(ends.mean(axis=1)))
        rates[kind], paths[kind] = RATES[best], tried[best]
        heights[kind] = np.stack([np.asarray(costs(one.points[looks(kind)])) for one in paths[kind]])
    levels = np.maximum(heights["mini"].min(axis=1), heights["full"].min(axis=1))

    shown = np.concatenate([paths[kind][0].points[looks(kind)] for kind in orders])
    middle, axes, held = plane_through(shown)
    flat = {kind: (paths[kind][0].points - middle) @ axes.T for kind in orders}
    across, up = (_span(np.concatenate([flat[kind][:, axis] for kind in orders])) for axis in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    surface = np.asarray(costs(middle + grid.astype(np.float32) @ axes)).reshape(GRID, GRID)

    def summary(kind: str) -> Walk:
        at, seen = looks(kind), orders[kind].shape[1]
        arrived = at[np.argmax(heights[kind] <= levels[:, None], axis=1)]
        pace = np.array([one.seconds / len(orders[kind]) for one in paths[kind]])
        return Walk(
            rates[kind],
            at * seen,
            at * pace[0],
            heights[kind][0],
            flat[kind][:: STRIDE if kind == "mini" else 1],
            arrived * seen,
            arrived * pace,
            np.array([detour(one.points[: end + 1]) for one, end in zip(paths[kind], arrived, strict=True)]),
        )

    return Measurement(summary("mini"), summary("full"), images, float(levels[0]), held, across, up, surface)


def judge(measured: Measurement) -> Finding:
    """Holds where mini-batches come down with fewer examples, in fewer seconds and along a path with a greater detour.

    All three must be so from every start, for the way down to the cost that both reach.
    """
    mini, full = measured.mini, measured.full
    examples, seconds = full.examples_needed / mini.examples_needed, full.seconds_needed / mini.seconds_needed
    return Finding(
        f"mini-batches come down to a cost of {measured.level:.3f} in {mini.seconds_needed[0]:.2g} s and "
        f"{mini.examples_needed[0]:,} examples, full descent in {full.seconds_needed[0]:.2g} s and "
        f"{full.examples_needed[0]:,} (learning rates {mini.rate:g} and {full.rate:g}): over {len(seconds)} starts "
        f"{np.median(seconds):.0f} times as long and {np.median(examples):.0f} times as many; the paths to there are "
        f"{np.median(mini.detour):.1f} and {np.median(full.detour):.1f} times as long as the straight way",
        bool((examples > 1).all() and (seconds > 1).all() and (mini.detour > full.detour).all()),
    )


def draw(measured: Measurement) -> Figure:
    """Cost against examples and seconds; both paths on the cost surface of their plane."""
    figure = figures.page(1, 1, height=5.8)[0]
    figure.clear()
    panels = figure.subplot_mosaic([["examples", "seconds"], ["plane", "plane"]], height_ratios=(1, 1))
    walks = (
        ("mini-batches", measured.mini, figures.RED, "-"),
        ("full descent", measured.full, figures.BLUE, "--"),
    )
    for name, walk, colour, style in walks:
        panels["examples"].plot(walk.examples[1:], walk.cost[1:], style, color=colour, label=name)
        panels["seconds"].plot(walk.seconds[1:], walk.cost[1:], style, color=colour)
    for axis, unit in (("examples", "examples seen"), ("seconds", "seconds of steps")):
        panels[axis].set_xscale("log")
        panels[axis].set_ylim(bottom=0)
        figures.name_axes(panels[axis], unit, "cost")
    panels["examples"].legend(fontsize="small", loc="lower left", handlelength=1.4)
    plane = panels["plane"]
    levels = np.geomspace(measured.surface.min(), measured.surface.max(), 14)
    shades = plane.contourf(measured.across, measured.up, measured.surface, levels, cmap="Greys")
    bar = figure.colorbar(shades, ax=plane, label="cost", format="%.2f", location="bottom", aspect=50)
    bar.set_ticks(levels[::2])
    for name, walk, colour, style in walks:
        plane.plot(*walk.plane.T, style, color=colour, linewidth=1, label=name)
        plane.plot(*walk.plane[-1], "o", color=colour, markersize=5, markeredgecolor="white")
    plane.plot(*measured.full.plane[0], "s", color="black", markersize=6, markeredgecolor="white", label="start")
    plane.legend(fontsize="small", ncols=3)
    plane.set_aspect("equal")
    figures.name_axes(
        plane,
        "first direction, units of a parameter",
        "second direction",
        f"the plane that holds {measured.held:.0%} of both paths' variance",
    )
    return figure


def plane_through(
    points: Float[np.ndarray, "points n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "2 n"], float]:
    """The plane next to all points: one of its points, two perpendicular directions of length 1, the share it holds.

    The principal components, of the points' inner products: there are fewer points than numbers in each.
    """
    middle = points.mean(axis=0)
    away = points - middle
    squares, vectors = np.linalg.eigh(away.astype(np.float64) @ away.T.astype(np.float64))
    axes = (vectors[:, :-3:-1].T @ away) / np.sqrt(squares[:-3:-1, None])
    return middle, axes.astype(points.dtype), float(squares[-2:].sum() / squares.sum())


def detour(points: Float[np.ndarray, "points n"]) -> float:
    """The length of a path over the distance between its ends: 1 where it is straight."""
    distance = np.linalg.norm(points[-1] - points[0])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum() / distance) if distance else 1.0


def _walk(
    params: Params,
    inputs: Float[Array, "n pixels"],
    targets: Float[Array, "n classes"],
    order: Int[Array, "steps batch"],
    rate: Float[Array, ""] | float,
) -> Float[Array, "points parameters"]:
    """The parameters before each step of gradient descent and after the last."""
    optimizer = optax.sgd(rate)

    def step(state: TrainState, batch: Int[Array, " batch"]) -> tuple[TrainState, Float[Array, " parameters"]]:
        everything = len(batch) == len(inputs)  # in any order: nothing to look up, which would be slow
        examples = (inputs, targets) if everything else (inputs[batch], targets[batch])
        after, _ = update(state, *examples, Model(), optimizer)
        return after, ravel_pytree(after.params)[0]

    _, points = jax.lax.scan(step, TrainState.start(params, optimizer), order)
    return jnp.concatenate([ravel_pytree(params)[0][None], points])


def _span(places: Float[np.ndarray, " n"]) -> Float[np.ndarray, " grid"]:
    """Evenly from the least to the greatest, and a little beyond."""
    room = MARGIN * np.ptp(places)
    return np.linspace(places.min() - room, places.max() + room, GRID)
