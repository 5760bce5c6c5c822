"""A product of factors says how the cost answers to a weight: the chain rule.

With one neuron in each layer, the ratio of the cost's change to a nudge is dz/dw da/dz dC/da, layer by layer backwards.

Source: lesson 4.
Refuted if: the measured ratio does not approach the product in proportion to the nudge.

A measured ratio is off by about the nudge times half the curvature over the slope, so the difference shrinks in
proportion to the nudge until rounding, which grows as the nudge shrinks, outweighs it: hence float64.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.subject import Finding
from mlp_jax.gradients.nudges import ChainLink, chain_rule
from mlp_jax.network import Layer, Model, Params, loss

SIZES = (1, 1, 1, 1)  # the network of lesson 4: four neurons, three weights, three biases
MODEL = Model()
NETWORKS = 1000
NUDGE = 0.01  # the lesson's
NUDGES = np.logspace(0, -9, 19)
SHRINKING = (NUDGES <= 0.1) & (NUDGES >= 1e-5)  # between higher terms of the series and rounding


class Measurement(NamedTuple):
    """One network, factor by factor, and many."""

    links: tuple[dict[str, float], ...]  # of the first network, the fields of each layer's ChainLink, for NUDGE
    nudges: Float[np.ndarray, " nudges"]  # what was added to weights and biases
    median: Float[np.ndarray, " nudges"]  # of |measured ratio / product - 1| over all parameters of all networks
    largest: Float[np.ndarray, " nudges"]
    slope: float  # by which power of the nudge the median shrinks, from 0.1 to 0.00001


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
    median, largest = np.median(off, axis=(1, 2)), off.max(axis=(1, 2))
    slope = np.polyfit(np.log(NUDGES[SHRINKING]), np.log(median[SHRINKING]), 1)[0]
    return Measurement(tuple(link._asdict() for link in links), NUDGES, median, largest, float(slope))


def judge(measured: Measurement) -> Finding:
    """Holds if the median difference shrinks as the nudge to the power of 0.95 to 1.05, and the largest below 0.1 %."""
    lesson, best = np.argmin(abs(measured.nudges - NUDGE)), measured.largest.argmin()
    link = ChainLink(**measured.links[-1])
    return Finding(
        f"in one network dC/dw of the last weight is {link.dz_dw:.3f} x {link.da_dz:.3f} x {link.dc_da:.3f} = "
        f"{link.dc_dw:.4f}, measured {link.measured_dw:.4f}. In {NETWORKS:,} networks a nudge of {NUDGE} is off by "
        f"{measured.median[lesson]:.1%} (median; {measured.largest[lesson]:.0%} at most), one of "
        f"{measured.nudges[best]:.0e} by {measured.largest[best]:.0e} at most; the difference shrinks as the nudge to "
        f"the power of {measured.slope:.2f}",
        bool(abs(measured.slope - 1) < 0.05 and measured.largest[best] < 1e-3),
    )


def draw(measured: Measurement) -> Figure:
    """The factors of the first network, and how far measured ratios are from products."""
    figure, ((factors, shrinking),) = figures.page(1, 2, height=3.6)
    _draw_factors(factors, [ChainLink(**link) for link in measured.links])
    straight = measured.nudges * np.median(measured.median / measured.nudges)
    lines = {"largest": measured.largest, "median": measured.median, "in proportion to the nudge": straight}
    figures.curves(shrinking, measured.nudges, lines)
    title = f"{NETWORKS:,} networks of 4 neurons"
    figures.name_axes(shrinking, "nudge", "|ratio / product - 1|", title, xscale="log", yscale="log")
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
            panel.text(column, place, f"{number:.3g}", ha="center", va="center", fontsize="x-small")
        if place % 3 == 0 and place:
            panel.axhline(place - 0.5, color="0.7", linewidth=0.8)
    panel.axvline(2.5, color="0.7", linewidth=0.8)
    panel.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    panel.set_xticks(range(len(columns)), columns, fontsize="x-small")
    panel.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize="x-small")
    title = f"one network, nudges of {NUDGE}"
    figures.name_axes(panel, "factors, product, ratio", "… what is nudged", title, grid=False)
