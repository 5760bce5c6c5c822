"""Among small steps of one length the negative gradient lowers the cost most, and its length is the slope.

That nothing beats it in the limit of length 0 is a theorem; what can fail is a step of some length. Random directions
are weak rivals, because in 13,000 dimensions they are almost perpendicular to the gradient. So there are strong ones
too: the signs of the gradient alone, its largest component alone, the last layer's part alone, the gradient of a
mini-batch, and the gradient turned by 20 degrees. With longer steps, which the lesson does not promise, it is found out
when another wins.

The lesson's function of two variables with the gradient (3, 1) is f(x, y) = 3 sin(x) + sin(y) + x^2 y^2 at (0, 0). It
can be read both ways: as a direction, and as how much each variable matters.

Source: lesson 2, minutes 9 to 12; lesson 3, minute 2.
Holds if:
- the most rapid decrease: of all steps of one length, 0.01 or less, none lowers the cost more than the gradient's, in
  any network, untrained or trained.
- its length is the slope: what a step of 0.00001 takes from the cost, per length, is the gradient's length to a
  thousandth.
- straight uphill: of steps of 0.1 in 360 directions, the one that raises f most is within 2 degrees of (3, 1).
- three times the importance: nudging x by 0.1 changes f three times as much as nudging y, to a tenth.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.subject import ALIKE, EQUAL, Finding, Subject, SubjectError, batch_of, both_times
from mlp_jax.network import Model, Params, loss

IMAGES, BATCH = 200, 20
RANDOM = 1_000  # directions, the networks' share of them in each
LENGTHS = (1e-5, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
SMALL = 0.01  # so long a step may be
TURN = 20  # degrees
RIVALS = ("gradient", "its signs", "largest component", "last layer", f"{BATCH} examples", f"turned by {TURN} degrees")
"""The directions that are tried beside random ones."""
WHEN = ("untrained networks", "trained networks")
NUDGE, DIRECTIONS = 0.1, 360


class Measurement(NamedTuple):
    """What steps of some lengths take from the cost, averaged over `images` training images, and the steps in f."""

    images: int
    parameters: int
    lengths: tuple[float, ...]
    slopes: Float[np.ndarray, "when members"]  # the gradient's length
    falls: Float[np.ndarray, "when members rivals lengths"]  # of the cost
    random: Float[np.ndarray, "when members lengths"]  # the largest of random directions
    directions: int  # random ones, of all networks
    uphill: Float[np.ndarray, " directions"]  # how much f rises, over NUDGE, a degree apart, from (1, 0) towards (0, 1)
    nudged: tuple[float, float]  # how much f changes if x, and if y, is raised by NUDGE


def measure(subject: Subject) -> Measurement:
    """Take steps of every length in every direction, in float64; and in the function of two variables.

    Raises SubjectError for a network whose gradient is 0 or not finite, and so has no direction.
    """
    share = -(-RANDOM // subject.members)
    with jax.enable_x64(True):
        networks = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), both_times(subject))
        inputs, targets = batch_of(subject.dataset.train.rows(slice(IMAGES)), networks)
        keys = jax.random.split(jax.random.key(0), 2 * subject.members)
        slopes, falls, random = jax.device_get(_falls(networks, keys, inputs, targets, share, subject.model))
    if not (np.isfinite(slopes) & (slopes > 0)).all():
        lengths = ", ".join(f"{slope:.3g}" for slope in slopes)
        raise SubjectError(f"this experiment needs gradients with a direction: their lengths are {lengths}")
    angles = np.radians(np.arange(DIRECTIONS) * 360 / DIRECTIONS)
    return Measurement(
        len(inputs),
        sum(leaf[0].size for leaf in jax.tree.leaves(networks)),
        LENGTHS,
        slopes.reshape(2, subject.members),
        falls.reshape(2, subject.members, len(RIVALS), len(LENGTHS)),
        random.reshape(2, subject.members, len(LENGTHS)),
        share * subject.members,
        hill(NUDGE * np.cos(angles), NUDGE * np.sin(angles)) / NUDGE,
        (float(hill(NUDGE, 0.0)), float(hill(0.0, NUDGE))),
    )


def judge(measured: Measurement) -> Finding:
    """Compare the shortest step with its rivals, and the two readings of (3, 1) with f."""
    rivals = np.concatenate([measured.falls[:, :, 1:], measured.random[:, :, None]], axis=2)
    gradient = measured.falls[:, :, 0]
    beaten = gradient[:, :, None] < rivals
    off = np.max(np.abs(gradient[..., 0] / measured.lengths[0] / measured.slopes - 1))
    second = np.median(np.max(rivals[:, :, :-1, 0] / gradient[..., None, 0], axis=2))
    of_random = np.median(measured.random[..., 0] / gradient[..., 0])
    steepest = np.argmax(measured.uphill) * 360 / len(measured.uphill)
    times = measured.nudged[0] / measured.nudged[1]
    better = beaten[..., np.array(measured.lengths) <= SMALL].any()
    blank, trained = (_first_beaten(rows.any(axis=1), measured.lengths) for rows in beaten)
    return Finding(
        f"Among steps of up to {SMALL:g}, {'some lower' if better else 'none lowers'} the cost more than the step "
        "along the negative gradient.",
        {
            "the most rapid decrease": bool(not beaten[..., np.array(measured.lengths) <= SMALL].any()),
            "its length is the slope": bool(off < EQUAL),
            "straight uphill": bool(abs(steepest - np.degrees(np.arctan2(1, 3))) <= 2),
            "three times the importance": bool(abs(times / 3 - 1) <= ALIKE),
        },
        {
            f"the best of five strong rivals at {measured.lengths[0]:g}, of its fall": f"{second:.0%}",
            f"the best of {measured.directions:,} random directions": f"{of_random:.0%}",
            "fall per length beside the gradient's length": f"equal to {off:.0e}",
            "untrained networks: a rival wins from a length of": blank,
            "trained networks: a rival wins from a length of": trained,
            "(3, 1): steepest way up; direction of the vector": f"{steepest:.0f}, 18.4 degrees",
            "(3, 1): how many times as much x matters as y": f"{times:.2f}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """What each direction takes from the cost, per length, and the function whose gradient is (3, 1)."""
    figure, (first, second) = figures.strips(3.8, 3.1)
    panels = first.subplots(1, 2)
    for panel, falls, random, slopes, name in zip(
        panels, measured.falls, measured.random, measured.slopes, WHEN, strict=True
    ):
        relative = np.concatenate([np.moveaxis(falls, 1, 0), random[None]]) / slopes[:, None] / measured.lengths
        names = (*RIVALS, "best random one")
        for number, (rival, values) in enumerate(zip(names, np.median(relative, axis=1), strict=True)):
            style, colour = figures.STYLES[number % 4], figures.COLOURS[::-1][number]
            panel.plot(measured.lengths, values, style, color=colour, label=rival, linewidth=1 + (number == 0))
        figures.name_axes(panel, "length of the step", "", name, xscale="log", ylim=(-0.3, 1.1))
    panels[0].set_ylabel("fall of the cost per length,\nover the gradient's length")
    first.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="x-small")
    plane, circle = second.subplots(1, 2)
    axis = np.linspace(-0.5, 0.5, 61)
    x, y = np.meshgrid(axis, axis)
    plane.contour(x, y, hill(x, y), levels=17, colors="#999999", linewidths=0.8)
    for (dx, dy), colour, name in (
        ((0.3, 0.1), figures.POSITIVE, "(3, 1)"),
        ((0.1, 0.0), figures.GREEN, "x + 0.1"),
        ((0.0, 0.1), figures.RED, "y + 0.1"),
    ):
        plane.annotate("", (dx, dy), (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 2})
        plane.plot([], [], color=colour, label=name)
    plane.legend(fontsize="x-small", loc="lower left")
    figures.name_axes(plane, "x", "y", "lines of equal f", grid=False, aspect="equal")
    degrees = np.arange(len(measured.uphill)) * 360 / len(measured.uphill)
    circle.plot(degrees, measured.uphill, color=figures.BLUE)
    for degree, colour in ((np.degrees(np.arctan2(1, 3)), figures.POSITIVE), (0, figures.GREEN), (90, figures.RED)):
        circle.axvline(degree, color=colour, linestyle=":")
    names = "direction of a step, degrees", f"rise of f over {NUDGE}"
    figures.name_axes(circle, *names, "steps of one length", xticks=range(0, 361, 90))
    return figure


def hill(x: Any, y: Any) -> Any:
    """A function of two variables whose gradient at (0, 0) is (3, 1)."""
    return 3 * np.sin(x) + np.sin(y) + np.square(x) * np.square(y)


def _first_beaten(beaten: np.ndarray, lengths: tuple[float, ...]) -> str:
    """The shortest length at which something else wins in most networks. beaten: (members, lengths)."""
    most = np.mean(beaten, axis=0) > 0.5
    return f"{lengths[int(np.argmax(most))]:g}" if most.any() else "no length"


@partial(jax.jit, static_argnums=4)
def _falls(
    networks: Params, keys: Array, inputs: Array, targets: Array, count: int, model: Model
) -> tuple[Float[Array, " networks"], Float[Array, "networks rivals lengths"], Float[Array, "networks lengths"]]:
    """The length of each network's gradient, and how much the cost falls along each rival and the best random one."""

    def of_one(own: tuple[Params, Array]) -> tuple[Array, Array, Array]:
        params, key = own
        gradient, unravel = ravel_pytree(backprop(params, inputs, targets, model))
        here, length = loss(params, inputs, targets, model), jnp.linalg.norm(gradient)
        flat, _ = ravel_pytree(params)
        random = jax.random.normal(key, (count, len(flat)), jnp.float32).astype(flat.dtype)
        last = params[-1].weights.size + params[-1].biases.size
        aside = _unit(random[0] - random[0] @ gradient / length**2 * gradient)
        rivals = [
            gradient,
            jnp.sign(gradient),
            jnp.where(jnp.abs(gradient) == jnp.max(jnp.abs(gradient)), gradient, 0),
            jnp.where(jnp.arange(len(flat)) >= len(flat) - last, gradient, 0),
            ravel_pytree(backprop(params, inputs[:BATCH], targets[:BATCH], model))[0],
            _unit(gradient) - np.tan(np.radians(TURN)) * aside,
        ]

        def fall(direction: Array) -> Array:
            direction = _unit(direction)
            costs = [loss(unravel(flat - step * direction), inputs, targets, model) for step in LENGTHS]
            return here - jnp.stack(costs)

        falls = jax.lax.map(fall, jnp.concatenate([jnp.stack(rivals), random]))
        return length, falls[: len(rivals)], jnp.max(falls[len(rivals) :], axis=0)

    return jax.lax.map(of_one, (networks, keys))


def _unit(vector: Array) -> Array:
    return vector / jnp.linalg.norm(vector)
