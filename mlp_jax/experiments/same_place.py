"""From one start, the stumbling and the careful walker end up in the same place.

Both take as many steps, by the same learning rate. Walkers from other starts are the scale for distances; part of
their distance is that their hidden neurons stand in another order. Neither walk has ended in a minimum where it stops:
the cost still falls, ever more slowly, and the finding says how fast.

Source: the article, "Stochastic gradient descent".
Holds if:
- end at about the same cost: the costs of the walkers from one start differ by a tenth at most, in the median.
- end in the same place: they end at most a tenth as far from one another as they went from their start, in the median.
- one valley between them: on the straight line from one end to the other the cost rises above the higher end by at most
  a tenth, in the median.
"""

from itertools import combinations
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.experiments.descent import cost_of_points, mini_batches, walk
from mlp_jax.experiments.subject import ALIKE, SIZES, Finding, batch_of, check_classes
from mlp_jax.network import init_params

IMAGES, BATCH, RATE = 2_000, 100, 3.0
LOOKS, EVERY = 100, 40  # how often a walk is looked at, and after how many steps each
STARTS, ORDERS = (0, 1, 2), (0, 1)  # seeds: of the parameters, and of the mini-batches' orders
ALONG = 21  # points of each straight line


class Measurement(NamedTuple):
    """Where walkers end: from each start one with all examples, and some with mini-batches in their own orders."""

    images: int
    steps: int  # of each walker
    cost: Float[np.ndarray, "starts walkers looks+1"]  # of all examples on the way; the careful walker is the first
    went: Float[np.ndarray, "starts walkers"]  # the distance from start to end
    apart: Float[np.ndarray, "starts orders"]  # from the end of a walker with mini-batches to that of the careful one
    between: Float[np.ndarray, "starts orders along"]  # the cost on the straight line from the careful one's end
    others: Float[np.ndarray, " pairs"]  # the distance between ends of careful walkers from two starts
    between_others: Float[np.ndarray, "pairs along"]


def measure(dataset: Dataset) -> Measurement:
    """Walk from each start, once with all examples and with mini-batches in several orders."""
    check_classes(dataset)
    starts = [init_params(jax.random.key(seed), (dataset.n_in, *SIZES[1:-1], dataset.n_out)) for seed in STARTS]
    inputs, targets = batch_of(dataset.train.rows(slice(IMAGES)), starts[0])
    size = min(BATCH, len(inputs))
    costs, steps = cost_of_points(starts[0], inputs, targets), LOOKS * EVERY
    epochs = -(-steps // (len(inputs) // size))
    batches = [mini_batches(len(inputs), size, epochs, seed)[:steps].reshape(LOOKS, EVERY, size) for seed in ORDERS]
    everything = np.empty((LOOKS, EVERY, 0), np.int32)
    paths = [[np.asarray(walk(start, inputs, targets, o, RATE)) for o in (everything, *batches)] for start in starts]
    ends = np.array([[path[-1] for path in row] for row in paths])

    def line(one: np.ndarray, other: np.ndarray) -> Float[np.ndarray, " along"]:
        share = np.linspace(0, 1, ALONG, dtype=np.float32)[:, None]
        return costs((1 - share) * one + share * other)

    pairs = list(combinations(range(len(starts)), 2))
    return Measurement(
        len(inputs),
        steps,
        np.array([[costs(path) for path in row] for row in paths]),
        np.linalg.norm(ends - np.array([row[0][:1] for row in paths]), axis=2),
        np.linalg.norm(ends[:, 1:] - ends[:, :1], axis=2),
        np.array([[line(row[0], end) for end in row[1:]] for row in ends]),
        np.array([np.linalg.norm(ends[one, 0] - ends[other, 0]) for one, other in pairs]),
        np.array([line(ends[one, 0], ends[other, 0]) for one, other in pairs]),
    )


def rise(lines: Float[np.ndarray, "*lines along"]) -> Float[np.ndarray, "*lines"]:
    """The highest cost on a line over that of its higher end: 1 if it never rises above it."""
    return lines.max(axis=-1) / np.maximum(lines[..., 0], lines[..., -1])


def judge(measured: Measurement) -> Finding:
    """Which parts hold, in the median of the pairs from one start."""
    careful, stumbling = measured.cost[:, :1, -1], measured.cost[:, 1:, -1]
    differ = float(np.median(np.abs(stumbling / careful - 1)))
    near = float(np.median(measured.apart / measured.went[:, :1]))
    risen, apart = float(np.median(rise(measured.between))), np.median(measured.apart)
    still = np.median(1 - measured.cost[..., -1] / measured.cost[..., measured.cost.shape[2] * 9 // 10])
    return Finding(
        f"From one start the walkers end {apart:.1f} apart, {np.median(measured.went):.0f} from the start, at "
        f"costs that differ by {differ:.0%}.",
        {
            "end at about the same cost": differ <= ALIKE,
            "end in the same place": near <= ALIKE,
            "one valley between them": risen - 1 <= ALIKE,
        },
        {
            "steps, images": f"{measured.steps:,}, {measured.images:,}",
            "costs of the careful walkers": f"{careful.min():.4f} to {careful.max():.4f}",
            "costs of the stumbling walkers": f"{stumbling.min():.4f} to {stumbling.max():.4f}",
            "fall of the cost over the last tenth of the steps": f"{still:.0%}",
            "distance of walkers from two starts": f"{np.median(measured.others):.0f}",
            "highest cost on the straight line over that of the higher end": (
                f"{risen:.2f} (at worst {rise(measured.between).max():.2f})"
            ),
            "the same between walkers from two starts": f"{np.median(rise(measured.between_others)):.0f}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Costs on the way, distances, and the cost on straight lines between ends; a line for each walker or pair."""
    figure, ((cost, places, line),) = figures.page(1, 3)
    steps = np.linspace(0, measured.steps, measured.cost.shape[2])
    careful, stumbling = ("all examples", figures.BLUE, "--"), ("mini-batches", figures.RED, "-")
    for (name, colour, style), rows in ((stumbling, measured.cost[:, 1:]), (careful, measured.cost[:, :1])):
        for number, row in enumerate(rows.reshape(-1, len(steps))):
            cost.plot(steps, row, style, color=colour, linewidth=1, label="" if number else name)
    figures.name_axes(cost, "step", "cost of all images", "on the way", yscale="log")
    cost.legend(fontsize="small")
    names = "start\nto end", "same\nstart", "two\nstarts"
    for place, distances in enumerate((measured.went, measured.apart, measured.others)):
        places.plot(np.full(distances.size, place), distances.ravel(), "o", color="black", alpha=0.5, markersize=5)
    places.set_xticks(range(3), names, fontsize="small")
    figures.name_axes(places, "", "units of a parameter", "start to end; ends of walks", ylim=(0, None))
    places.title.set_fontsize("small")
    along = np.linspace(0, 1, measured.between.shape[-1])
    pairs = ("two starts", measured.between_others, "0.5", ":"), ("same start", measured.between, figures.GREEN, "-")
    for name, rows, colour, style in pairs:
        for number, row in enumerate(rows.reshape(-1, len(along))):
            line.plot(along, row, style, color=colour, linewidth=1, label="" if number else name)
    figures.name_axes(line, "from end to end, share", "cost of all images", "straight between", yscale="log")
    line.legend(fontsize="small")
    return figure
