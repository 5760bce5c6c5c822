"""Mini-batches stumble downhill in quick steps, full descent walks straight and slowly.

Source: lesson 3.
Refuted if: mini-batches need as many examples or seconds as full descent to reach the same cost, or if their path there
is as straight.

Each kind walks at the best of a few learning rates. The gap grows with the number of examples.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import SIZES, Finding, batch_of, check_classes
from mlp_jax.network import Model, Params, init_params, loss
from mlp_jax.training import epoch_order

MODEL = Model()
IMAGES = 6_000
BATCH, EPOCHS = 100, 10
FULL_STEPS = 200
RATES = (1.0, 3.0, 10.0)
SEEDS = (0, 1, 2)
LOOKS = 100  # points of each path whose cost is measured, and that the plane is laid through, besides the start
GRID, MARGIN = 25, 0.15
STRIDE = 2  # on the page, the ragged path is drawn through every second step


class Walk(NamedTuple):
    """A path downhill from the first of SEEDS, at the best of RATES, and what the same took from every seed."""

    rate: float  # the learning rate whose paths end lowest, in the mean over the seeds
    examples: Int[np.ndarray, " looks"]  # seen up to each of the points looked at
    seconds: Float[np.ndarray, " looks"]
    cost: Float[np.ndarray, " looks"]  # of all examples
    plane: Float[np.ndarray, "points 2"]  # the path's coordinates in the plane
    examples_needed: Int[np.ndarray, " seeds"]  # to come down to the cost that both walks from a seed reach
    seconds_needed: Float[np.ndarray, " seeds"]
    detour: Float[np.ndarray, " seeds"]  # the length of the path to there over the straight distance


class Measurement(NamedTuple):
    """Both walks, and the cost surface of the plane that holds most of them."""

    mini: Walk
    full: Walk
    images: int  # how many examples there are
    level: float  # the cost that both walks from the first seed reach
    held: float  # the share of the paths' variance that the plane holds, 0 to 1
    across: Float[np.ndarray, " across"]  # where in the plane the cost was measured, in the units of the parameters
    up: Float[np.ndarray, " up"]
    surface: Float[np.ndarray, "up across"]  # the cost there


def measure(dataset: Dataset, clock: Callable[[], float] = time.perf_counter) -> Measurement:
    """Walk down from the same parameters both ways. clock: says the time in seconds; compiling is not timed."""
    check_classes(dataset)
    starts = [init_params(jax.random.key(seed), (dataset.n_in, *SIZES[1:-1], dataset.n_out)) for seed in SEEDS]
    unravel = ravel_pytree(starts[0])[1]
    inputs, targets = batch_of(dataset.train.rows(slice(IMAGES)), starts[0])
    images, size = len(inputs), min(BATCH, len(inputs))
    steps = images // size
    orders = {
        "mini": np.concatenate([epoch_order(0, e, images)[: steps * size].reshape(steps, size) for e in range(EPOCHS)]),
        "full": np.tile(np.arange(images, dtype=np.int32), (FULL_STEPS, 1)),
    }
    compile_for = jax.jit(_walk).lower
    walk = {kind: compile_for(starts[0], inputs, targets, order, RATES[0]).compile() for kind, order in orders.items()}

    def path(kind: str, start: Params, rate: float) -> tuple[Float[np.ndarray, "points parameters"], float]:
        began = clock()
        points = jax.block_until_ready(walk[kind](start, inputs, targets, orders[kind], rate))
        return np.asarray(points), clock() - began

    @jax.jit
    def costs(points: Float[Array, "points parameters"]) -> Float[Array, " points"]:
        return jax.lax.map(lambda point: loss(unravel(point), inputs, targets, MODEL), points)

    def looks(kind: str) -> Int[np.ndarray, " looks"]:
        return np.linspace(0, len(orders[kind]), LOOKS + 1).astype(int)

    rates, paths, seconds, heights = {}, {}, {}, {}
    for kind in orders:
        tried = [[path(kind, start, rate) for start in starts] for rate in RATES]
        ends = costs(np.stack([points[-1] for row in tried for points, _ in row])).reshape(len(RATES), len(SEEDS))
        best = int(np.nanargmin(ends.mean(axis=1)))
        rates[kind] = RATES[best]
        paths[kind], seconds[kind] = zip(*tried[best], strict=True)
        heights[kind] = np.stack([np.asarray(costs(points[looks(kind)])) for points in paths[kind]])
    levels = np.maximum(heights["mini"].min(axis=1), heights["full"].min(axis=1))

    shown = np.concatenate([paths[kind][0][looks(kind)] for kind in orders])
    middle, axes, held = plane_through(shown)
    flat = {kind: (paths[kind][0] - middle) @ axes.T for kind in orders}
    across, up = (_span(np.concatenate([flat[kind][:, axis] for kind in orders])) for axis in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    surface = np.asarray(costs(middle + grid.astype(np.float32) @ axes)).reshape(GRID, GRID)

    def summary(kind: str) -> Walk:
        at, seen = looks(kind), orders[kind].shape[1]
        arrived = at[np.argmax(heights[kind] <= levels[:, None], axis=1)]
        pace = np.array(seconds[kind]) / len(orders[kind])
        return Walk(
            rates[kind],
            at * seen,
            at * pace[0],
            heights[kind][0],
            flat[kind][:: STRIDE if kind == "mini" else 1],
            arrived * seen,
            arrived * pace,
            np.array([detour(points[: end + 1]) for points, end in zip(paths[kind], arrived, strict=True)]),
        )

    return Measurement(summary("mini"), summary("full"), images, float(levels[0]), held, across, up, surface)


def judge(measured: Measurement) -> Finding:
    """Holds if from every start mini-batches need fewer examples and seconds, along a path with a greater detour."""
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
    figure, (above, below) = figures.strips(2.9, 2.9)
    mini, full = ("mini-batches", measured.mini, figures.RED, "-"), ("full descent", measured.full, figures.BLUE, "--")
    examples, seconds = above.subplots(1, 2)
    for panel, quantity, unit in ((examples, "examples", "examples seen"), (seconds, "seconds", "seconds of steps")):
        for name, walk, colour, style in (mini, full):
            panel.plot(getattr(walk, quantity)[1:], walk.cost[1:], style, color=colour, label=name)
        figures.name_axes(panel, unit, "cost", xscale="log", ylim=(0, None))
    examples.legend(fontsize="small", loc="lower left", handlelength=1.4)
    plane = below.subplots()
    levels = np.geomspace(measured.surface.min(), measured.surface.max(), 14)
    shades = plane.contourf(measured.across, measured.up, measured.surface, levels, cmap="Greys")
    bar = below.colorbar(shades, ax=plane, label="cost", format="%.2f", location="bottom", aspect=50)
    bar.set_ticks(levels[::2])
    for name, walk, colour, style in (mini, full):
        plane.plot(*walk.plane.T, style, color=colour, linewidth=1, label=name)
        plane.plot(*walk.plane[-1], "o", color=colour, markersize=5, markeredgecolor="white")
    plane.plot(*measured.full.plane[0], "s", color="black", markersize=6, markeredgecolor="white", label="start")
    plane.legend(fontsize="small", ncols=3)
    title = f"the plane that holds {measured.held:.0%} of both paths' variance"
    figures.name_axes(plane, "first direction, units of a parameter", "second direction", title, aspect="equal")
    return figure


def plane_through(
    points: Float[np.ndarray, "points n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "2 n"], float]:
    """The plane next to all points: one of its points, two perpendicular directions of length 1, the share it holds."""
    middle = points.mean(axis=0)
    away = points - middle  # fewer points than numbers in each: principal components of their inner products
    squares, vectors = np.linalg.eigh(away.astype(np.float64) @ away.T.astype(np.float64))
    axes = (vectors[:, :-3:-1].T @ away) / np.sqrt(squares[:-3:-1, None])
    return middle, axes.astype(points.dtype), float(squares[-2:].sum() / squares.sum())


def detour(points: Float[np.ndarray, "points n"]) -> float:
    """The length of a path over the distance between its ends: 1 if it is straight."""
    distance = np.linalg.norm(points[-1] - points[0])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum() / distance) if distance else 1.0


def _walk(
    params: Params,
    inputs: Float[Array, "n n_in"],
    targets: Float[Array, "n n_out"],
    order: Int[Array, "steps batch"],
    rate: Float[Array, ""] | float,
) -> Float[Array, "points parameters"]:
    """The parameters before each step of gradient descent and after the last."""

    def step(params: Params, batch: Int[Array, " batch"]) -> tuple[Params, Float[Array, " parameters"]]:
        everything = len(batch) == len(inputs)  # in any order: gathering the rows would be slow
        examples = (inputs, targets) if everything else (inputs[batch], targets[batch])
        gradient = backprop(params, *examples, MODEL)
        after = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        return after, ravel_pytree(after)[0]

    _, points = jax.lax.scan(step, params, order)
    return jnp.concatenate([ravel_pytree(params)[0][None], points])


def _span(places: Float[np.ndarray, " n"]) -> Float[np.ndarray, " grid"]:
    """Evenly from the least to the greatest, and a little beyond."""
    margin = MARGIN * np.ptp(places)
    return np.linspace(places.min() - margin, places.max() + margin, GRID)
