"""Three ratios multiplied say how sensitive the cost is to a weight, and several paths add up.

With one neuron in each layer, the ratio of the cost's change to a tiny nudge of a weight is dz/dw da/dz dC/da. With
several neurons an activation influences the cost along a path through each neuron after it, and the paths' products are
added up. That products and sums are the derivative is a theorem. What can fail is that `backprop` forms them, and that
a nudge of 0.01, the lesson's, is tiny enough.

Source: lesson 4, minutes 3 to 9.
Holds if:
- the product is the ratio: the difference between the two shrinks in proportion to the nudge, to a power of 0.95 to
  1.05,
  in the median of 1,000 networks, and below a thousandth in all of them.
- a nudge of 0.01 shows it: the measured ratio is within a tenth of the product in all these networks.
- paths add up: with two neurons in the middle, the sum of two products is the measured ratio of the input to a
  thousandth, and in most networks either path alone is further than a tenth from it.

A measured ratio is off by about the nudge times half the curvature over the slope, so the difference shrinks in
proportion to the nudge until rounding, which grows as the nudge shrinks, outweighs it: hence float64.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop, deltas_and_activations
from mlp_jax.experiments.subject import ALIKE, EQUAL, MOST, Finding
from mlp_jax.gradients.nudges import ChainLink, chain_rule
from mlp_jax.network import Layer, Model, Params, forward_pass, loss

SIZES = (1, 1, 1, 1)  # the network of lesson 4: four neurons, three weights, three biases
MODEL = Model()
NETWORKS = 1000
TWO = (1, 2, 1)  # two paths lead from the input to the output
NUDGE = 0.01  # the lesson's
TINY = 1e-5  # that paths are measured with, up and down
NUDGES = np.logspace(0, -9, 19)
SHRINKING = (NUDGES <= 0.1) & (NUDGES >= 1e-5)  # between higher terms of the series and rounding


class Measurement(NamedTuple):
    """One network, factor by factor, and many."""

    links: tuple[dict[str, float], ...]  # of the first network, the fields of each layer's ChainLink, for NUDGE
    nudges: Float[np.ndarray, " nudges"]  # added to weights and biases
    median: Float[np.ndarray, " nudges"]  # of |measured ratio / product - 1| over all parameters of all networks
    largest: Float[np.ndarray, " nudges"]
    slope: float  # by which power of the nudge the median shrinks, from 0.1 to 0.00001
    tree: dict[str, float]  # of the first network's last layer: the values of w, a before, b, z, a, y, C
    nudged: dict[str, float]  # the same after w has been nudged by NUDGE
    paths: Float[np.ndarray, "networks 2"]  # of networks of TWO: dC/da of the input along each path
    measured_sum: Float[np.ndarray, " networks"]  # the change of the cost over a nudge of the input


def measure() -> Measurement:
    """Nudge each weight and bias of many random networks, each with a random input and a wanted output of 0 or 1."""
    with jax.enable_x64(True):
        drawn = np.random.default_rng(0)
        numbers = jnp.asarray(drawn.normal(size=(2, len(SIZES) - 1, NETWORKS)))
        params = tuple(Layer(w[:, None, None], b[:, None]) for w, b in zip(*numbers, strict=True))
        inputs = jnp.asarray(drawn.random((NETWORKS, 1)))
        targets = jnp.asarray(drawn.integers(2, size=(NETWORKS, 1)) * 1.0)
        off = np.asarray(differences(params, inputs, targets, jnp.asarray(NUDGES)))
        first_params, first_input, first_target = jax.tree.map(lambda leaf: leaf[0], (params, inputs, targets))
        links = chain_rule(first_params, first_input, first_target, MODEL, nudge=NUDGE)
        *before, (w, b) = first_params
        after = (*before, Layer(w + NUDGE, b))
        tree, nudged = (_tree(params, first_input, first_target) for params in (first_params, after))
        paths, found = jax.device_get(two_paths(_two_in_the_middle(drawn), inputs, targets))
    median, largest = np.median(off, axis=(1, 2)), off.max(axis=(1, 2))
    slope = np.polyfit(np.log(NUDGES[SHRINKING]), np.log(median[SHRINKING]), 1)[0]
    return Measurement(
        tuple(link._asdict() for link in links), NUDGES, median, largest, float(slope), tree, nudged, paths, found
    )


def judge(measured: Measurement) -> Finding:
    """Networks whose derivative is next to 0 are not left out: ratios are compared with the products themselves."""
    lesson, best = np.argmin(abs(measured.nudges - NUDGE)), measured.largest.argmin()
    link = ChainLink(**measured.links[-1])
    total = measured.paths.sum(axis=1)
    off = float(np.max(np.abs(total - measured.measured_sum) / np.abs(measured.paths).sum(axis=1)))
    alone = np.abs(measured.paths / measured.measured_sum[:, None] - 1) > ALIKE
    return Finding(
        f"The product of three ratios is what small nudges measure, to {measured.largest[best]:.0e}, and the sum of "
        f"two paths is right to {off:.0e}.",
        {
            "the product is the ratio": bool(abs(measured.slope - 1) < 0.05 and measured.largest[best] < EQUAL),
            "a nudge of 0.01 shows it": bool(measured.largest[lesson] <= ALIKE),
            "paths add up": bool(off < EQUAL and alone.all(axis=1).mean() > MOST),
        },
        {
            "one network: dz/dw x da/dz x dC/da": (
                f"{link.dz_dw:.3f} x {link.da_dz:.3f} x {link.dc_da:.3f} = {link.dc_dw:.4f}"
            ),
            f"the same, measured by a nudge of {NUDGE}": f"{link.measured_dw:.4f}",
            f"a nudge of {NUDGE} in {NETWORKS:,} networks is off by, median and largest": (
                f"{measured.median[lesson]:.1%}, {measured.largest[lesson]:.0%}"
            ),
            f"a nudge of {measured.nudges[best]:.0e} is off by at most": f"{measured.largest[best]:.0e}",
            "the difference shrinks as the nudge to the power of": f"{measured.slope:.2f}",
            "two paths: their sum is off by at most": f"{off:.0e}",
            f"networks in which neither path alone is right to {ALIKE:.0%}": f"{alone.all(axis=1).mean():.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The tree of number lines, the factors of the first network, how ratios near products, and two paths added up."""
    figure, (tree, below) = figures.strips(2.6, 3.6)
    _draw_tree(tree.subplots(), measured)
    factors, shrinking, paths = below.subplots(1, 3, width_ratios=(2.2, 1, 1))
    _draw_factors(factors, [ChainLink(**link) for link in measured.links])
    straight = measured.nudges * np.median(measured.median / measured.nudges)
    lines = {"largest": measured.largest, "median": measured.median, "like the nudge": straight}
    figures.curves(shrinking, measured.nudges, lines)
    shrinking.legend(fontsize="x-small")
    title = f"{NETWORKS:,} networks"
    figures.name_axes(shrinking, "nudge", "|ratio / product - 1|", title, xscale="log", yscale="log")
    largest = float(np.abs(measured.measured_sum).max())
    paths.plot([-largest, largest], [-largest, largest], "-", color="0.6", linewidth=1)
    for values, name, style in (
        (measured.paths[:, 0], "one path", "."),
        (measured.paths[:, 1], "the other", "."),
        (measured.paths.sum(axis=1), "their sum", "x"),
    ):
        paths.plot(measured.measured_sum, values, style, markersize=3, label=name)
    paths.legend(fontsize="x-small", markerscale=2)
    figures.name_axes(paths, "dC/da, measured", "product of factors", "two paths", xticks=(-0.3, 0, 0.3))
    return figure


@jax.jit
def differences(
    params: Params,
    inputs: Float[Array, "networks 1"],
    targets: Float[Array, "networks 1"],
    nudges: Float[Array, " nudges"],
) -> Float[Array, "nudges networks parameters"]:
    """How far the change of the cost over each nudge of each parameter is from the derivative, as a fraction of it."""

    def of_one(nudge: Array, params: Params, a: Array, y: Array) -> Array:
        numbers, as_params = ravel_pytree(params)
        nudged = numbers + nudge * jnp.eye(len(numbers))
        costs = jax.vmap(lambda numbers: loss(as_params(numbers), a, y, MODEL))(nudged)
        product, _ = ravel_pytree(backprop(params, a, y, MODEL))
        return jnp.abs((costs - loss(params, a, y, MODEL)) / nudge / product - 1)

    over_networks = jax.vmap(of_one, (None, 0, 0, 0))
    return jax.vmap(over_networks, (0, None, None, None))(nudges, params, inputs, targets)


@jax.jit
def two_paths(
    params: Params, inputs: Float[Array, "networks 1"], targets: Float[Array, "networks 1"]
) -> tuple[Float[Array, "networks 2"], Float[Array, " networks"]]:
    """For networks of TWO: dC/d(input) along each path, w2 a' w1 a' dC/da, and as the cost's change over a nudge."""

    def of_one(params: Params, a: Array, y: Array) -> tuple[Array, Array]:
        deltas, _ = deltas_and_activations(params, a, y, MODEL)
        up, down = (loss(params, a + step, y, MODEL) for step in (TINY, -TINY))
        return params[0].weights[:, 0] * deltas[0], (up - down) / (2 * TINY)

    return jax.vmap(of_one)(params, inputs, targets)


def _two_in_the_middle(drawn: np.random.Generator) -> Params:
    shapes = [((after, before), (after,)) for before, after in pairwise(TWO)]
    return tuple(Layer(*(jnp.asarray(drawn.normal(size=(NETWORKS, *shape))) for shape in pair)) for pair in shapes)


def _tree(params: Params, a: Array, y: Array) -> dict[str, float]:
    """The numbers of the last layer, by the lesson's names."""
    weighted_sums, activations = forward_pass(params, a, MODEL)
    numbers = params[-1].weights, activations[-2], params[-1].biases, weighted_sums[-1], activations[-1], y
    named = dict(zip(("w", "a before", "b", "z", "a", "y"), (float(np.ravel(n)[0]) for n in numbers), strict=True))
    return named | {"C": float(loss(params, a, y, MODEL))}


PLACES = {"w": (0, 2), "a before": (1, 2), "b": (2, 2), "z": (1, 1), "y": (2, 0.5), "a": (1, 0), "C": (1.5, -1)}
EDGES = (("w", "z"), ("a before", "z"), ("b", "z"), ("z", "a"), ("a", "C"), ("y", "C"))


def _draw_tree(panel: Axes, measured: Measurement) -> None:
    """Each number on a number line of its own; an arrow shows its change when the weight is nudged, times 20."""
    for source, target in EDGES:
        (x, y), (to_x, to_y) = PLACES[source], PLACES[target]
        panel.annotate("", (to_x, to_y + 0.25), (x, y - 0.2), arrowprops={"arrowstyle": "->", "color": "0.6"})
    for name, (x, y) in PLACES.items():
        value, moved = measured.tree[name], 20 * (measured.nudged[name] - measured.tree[name])
        half = 0.32 / max(1.0, abs(value) * 1.3, abs(value + moved) * 1.3)
        panel.plot([x - 0.32, x + 0.32], [y, y], "-", color="0.3", linewidth=1)
        panel.plot(x, y, "|", color="0.3", markersize=6)
        panel.plot(x + half * value, y, "o", color=figures.BLACK, markersize=4)
        if moved:
            colour = figures.POSITIVE if moved > 0 else figures.NEGATIVE
            ends = (x + half * (value + moved), y), (x + half * value, y)
            panel.annotate("", *ends, arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 2})
        change = f"  {measured.nudged[name] - value:+.4f}" if moved else ""
        panel.text(x, y + 0.12, f"{name} = {value:.3f}{change}", ha="center", fontsize="x-small")
    panel.set(xlim=(-0.6, 2.6), ylim=(-1.4, 2.5))
    panel.axis("off")
    title = f"the last layer of one network, its weight nudged by {NUDGE}; arrows: 20 times the change"
    panel.set_title(title, fontsize="medium")


def _draw_factors(panel: Axes, links: list[ChainLink]) -> None:
    """A table: a row for each number that is nudged, last layer first; its factors, their product, the ratio."""
    columns = ("dz/d…", "da/dz", "dC/da", "product", "measured")
    rows = []
    for number, link in reversed(list(enumerate(links, 1))):
        shared = (link.da_dz, link.dc_da)
        rows.append((f"weight {number}", link.dz_dw, *shared, link.dc_dw, link.measured_dw))
        rows.append((f"bias {number}", link.dz_db, *shared, link.dc_db, link.measured_db))
        before = f"activation {number - 1}" if number > 1 else "input"
        rows.append((before, link.dz_da, *shared, link.dc_da_before, link.measured_da_before))
    for place, (_, *numbers) in enumerate(rows):
        for column, number in enumerate(numbers):
            panel.text(column, place, f"{number:.2g}", ha="center", va="center", fontsize="x-small")
        if place % 3 == 0 and place:
            panel.axhline(place - 0.5, color="0.7", linewidth=0.8)
    panel.axvline(2.5, color="0.7", linewidth=0.8)
    panel.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    panel.set_xticks(range(len(columns)), columns, fontsize="x-small")
    panel.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize="x-small")
    title = f"one network, nudges of {NUDGE}"
    figures.name_axes(panel, "factors, product, ratio", "the number that is nudged", title, grid=False)
