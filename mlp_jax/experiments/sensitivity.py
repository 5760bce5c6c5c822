"""Each component of the gradient says how much the cost answers to its weight.

If one component is 32 times another, the same nudge of its weight or bias changes the average cost 32 times as much.

Source: lessons 2 and 3.
Refuted if: the cost of the nudged network changes by anything else.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of
from mlp_jax.network import Model, Params, loss

IMAGES = 500
PARAMETERS = 1_000
NUDGE = 1e-4
FAINT = 1e-9  # below, rounding of the cost in float64, 1e-16 or so, over the nudge is more than a part in a thousand
CLOSE = 0.01  # of what is predicted
TIMES = 32
CURVE = 200


class Measurement(NamedTuple):
    """How the cost, averaged over `images` training images, answers to parameters of each network.

    predicted: components of the gradient, the largest in size first: evenly spaced in the ranking of all but those of
        0, first and last included. measured: half the change of the cost from a nudge down to one up, over the nudge.
    """

    images: int
    nudge: float  # by what a parameter is moved, up and down
    predicted: Float[np.ndarray, "members nudged"]
    measured: Float[np.ndarray, "members nudged"]
    most: str  # the first network's most sensitive parameter, "[0].weights[3, 512]" for instance
    least: str
    ranking: Float[np.ndarray, "members places"]  # sizes of components, the largest first, evenly spaced among all
    parameters: int  # how many all are
    silent: Float[np.ndarray, " members"]  # the share of parameters whose component is 0, 0 to 1


def measure(subject: Subject) -> Measurement:
    """Nudge 1,000 parameters, the networks' share of them in each, and run the network; in float64.

    Raises SubjectError for a network whose gradient is not finite, or too small everywhere to be measured.
    """
    with jax.enable_x64(True):
        networks = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), subject.networks)
        inputs, targets = batch_of(subject.dataset.train.rows(slice(IMAGES)), networks)
        gradients = np.asarray(_gradients(networks, inputs, targets, subject.model))
        sizes = np.abs(gradients)
        if not np.isfinite(sizes).all() or not (sizes > FAINT).any(axis=1).all():
            raise SubjectError(
                f"this experiment needs gradients that are finite, with a component above {FAINT:.0e}: train less"
            )
        order = np.argsort(-sizes, axis=1, kind="stable")
        answering = np.count_nonzero(sizes, axis=1)
        share = min(-(-PARAMETERS // subject.members), int(answering.min()))
        places = np.stack([np.linspace(0, count - 1, share).astype(int) for count in answering])
        nudged = np.take_along_axis(order, places, axis=1)
        measured = np.asarray(_measured(networks, nudged, inputs, targets, subject.model))
    along = np.linspace(0, sizes.shape[1] - 1, min(CURVE, sizes.shape[1])).astype(int)
    return Measurement(
        len(inputs),
        NUDGE,
        np.take_along_axis(gradients, nudged, axis=1),
        measured,
        _name(subject.first, nudged[0, 0]),
        _name(subject.first, nudged[0, -1]),
        np.take_along_axis(sizes, order[:, along], axis=1),
        sizes.shape[1],
        1 - answering / sizes.shape[1],
    )


def judge(measured: Measurement) -> Finding:
    """Holds if predicted and measured changes correlate above 0.999 in every network, 99 of 100 being equal to 1 %.

    Those too faint to be measured do not count. Not all 100: of neurons with a kink, some are nudged across it.
    """
    predicted, found = measured.predicted, measured.measured
    clear = np.abs(predicted) > FAINT
    errors = np.abs(found / predicted - 1)[clear]
    correlation = min(np.corrcoef(*rows)[0, 1] for rows in zip(predicted, found, strict=True))
    sizes, changes = np.abs(predicted[0]), np.abs(found[0])
    other = int(np.argmin(np.abs(sizes * TIMES - sizes[0])))
    return Finding(
        f"of {predicted.size:,} parameters of {len(predicted)} networks, {clear.mean():.0%} move the cost measurably: "
        f"{np.mean(errors < CLOSE):.1%} of them to {CLOSE:.0%} as the gradient says, the worst is off by "
        f"{np.max(errors, initial=0):.0e} of it (correlation {correlation:.6f}); one said to matter "
        f"{sizes[0] / sizes[other]:.1f} times as much as another does so {changes[0] / changes[other]:.1f} times; the "
        f"first network's most sensitive, {measured.most}, moves the cost {sizes[0] / np.median(sizes):,.0f} times as "
        f"much as the median of those nudged and {sizes[0] / sizes[-1]:.0e} times as much as the least, "
        f"{measured.least}; {np.median(measured.silent):.0%} of all parameters do not move it",
        bool(clear.any() and correlation > 0.999 and np.mean(errors < CLOSE) >= 0.99),
    )


def draw(measured: Measurement) -> Figure:
    """Measured against predicted, and how unequal parameters are."""
    figure, ((answers, ranking),) = figures.page(1, 2, height=3.6)
    clear = np.abs(measured.predicted) > FAINT
    predicted, found = np.abs(measured.predicted[clear]), np.abs(measured.measured[clear])
    ends = np.array([predicted.min(), predicted.max()])
    answers.plot(ends, ends, "-", color=figures.RED, linewidth=1, label="equal", zorder=3)
    answers.plot(predicted, found, "o", color=figures.BLUE, markersize=2.5, label="a parameter")
    answers.legend(fontsize="small", loc="upper left")
    names = "size of the gradient's component", "measured change of the cost\nper unit of the nudge"
    figures.name_axes(answers, *names, xscale="log", yscale="log")
    places = 100 * np.linspace(0, 1, measured.ranking.shape[1])
    figures.members(ranking, places, np.where(measured.ranking > FAINT, measured.ranking, np.nan), "-")
    title = "a line for each network, the first red" if len(measured.ranking) > 1 else ""
    names = f"place among {measured.parameters:,} parameters, %", "size of the gradient's component", title
    figures.name_axes(ranking, *names, yscale="log", xlim=(0, 100))
    return figure


@jax.jit
def _gradients(networks: Params, inputs: Array, targets: Array, model: Model) -> Float[Array, "members parameters"]:
    return jax.vmap(lambda params: ravel_pytree(backprop(params, inputs, targets, model))[0])(networks)


@jax.jit
def _measured(
    networks: Params, nudged: Array, inputs: Array, targets: Array, model: Model
) -> Float[Array, "members nudged"]:
    """The slope between a nudge down and one up of each parameter, given by its place in the flat parameters."""

    def of_network(own: tuple[Params, Array]) -> Array:
        flat, unravel = ravel_pytree(own[0])

        def of_parameter(place: Array) -> Array:
            up, down = (loss(unravel(flat.at[place].add(step)), inputs, targets, model) for step in (NUDGE, -NUDGE))
            return (up - down) / (2 * NUDGE)

        return jax.lax.map(of_parameter, own[1])

    return jax.lax.map(of_network, (networks, nudged))


def _name(params: Params, place: int | np.integer) -> str:
    """The path and the index of a parameter, given by its place in the flat parameters."""
    for path, leaf in jax.tree.leaves_with_path(params):
        if place < leaf.size:
            return f"{jax.tree_util.keystr(path)}[{', '.join(map(str, np.unravel_index(place, leaf.shape)))}]"
        place -= leaf.size
    raise IndexError(place)
