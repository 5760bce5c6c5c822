"""Each component of the gradient says how much the cost answers to its weight, and some weights matter far more.

If one component is 3.2 and another 0.1, the cost is 32 times more sensitive to the first weight: the same small nudge
changes it 32 times as much. The gradient is the prediction. The cost is measured after a nudge down and one up, of
parameters evenly spaced in the ranking of their components.

Source: lesson 2, minutes 11 to 12; lesson 3, minute 2.
Holds if:
- nudges change the cost as the gradient says: nearly all measurable changes, and in every network 99 of 100, are within
  a hundredth of what its component predicts.
- 32 times the component, 32 times the change: of the first network's most sensitive parameter and the one whose
  component is nearest to a 32nd of it, the measured changes have the ratio of their components, to a hundredth.
- some matter much more: in the median network the most sensitive parameter moves the cost at least 10 times as much
  as the median of those nudged.
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
CLOSE = 0.01  # as a fraction of the prediction
TIMES = 32
STRONG = 10
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
        np.take_along_axis(sizes, order[:, along], axis=1),
        sizes.shape[1],
        1 - answering / sizes.shape[1],
    )


def judge(measured: Measurement) -> Finding:
    """Changes too faint to be measured do not count. Of neurons with a kink, some are nudged past it."""
    predicted, found = measured.predicted, measured.measured
    clear = np.abs(predicted) > FAINT
    errors = np.where(clear, np.abs(found / np.where(clear, predicted, 1) - 1), 0)
    close = [np.mean(row[seen] < CLOSE) for row, seen in zip(errors, clear, strict=True)]
    sizes, changes = np.abs(predicted[0]), np.abs(found[0])
    other = int(np.argmin(np.abs(sizes * TIMES - sizes[0])))
    ratios = sizes[0] / sizes[other], changes[0] / changes[other]
    above = float(np.median([np.abs(row[0]) / np.median(np.abs(row)) for row in found]))
    return Finding(
        f"The gradient predicts {np.mean(errors[clear] < CLOSE):.1%} of the measured changes to {CLOSE:.0%}, and "
        f"the most sensitive parameter matters {above:,.0f} times the median.",
        {
            "nudges change the cost as the gradient says": bool(clear.any() and min(close) >= 0.99),
            "32 times the component, 32 times the change": bool(abs(ratios[1] / ratios[0] - 1) < CLOSE),
            "some matter much more": above >= STRONG,
        },
        {
            "parameters, networks": f"{predicted.size:,}, {len(predicted)}",
            "parameters that move the cost measurably": f"{clear.mean():.0%}",
            f"a component {ratios[0]:.1f} times another's moves the cost": f"{ratios[1]:.1f} times as much",
            "the most sensitive parameter of the first network": measured.most,
            "components that are 0": f"{np.median(measured.silent):.0%}",
        },
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
    title = "a line for each network, the first orange" if len(measured.ranking) > 1 else ""
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
