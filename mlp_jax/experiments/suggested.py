"""Going back by suggested activations is backpropagation, as far as "a small step" is understood rightly.

The article, "Backpropagation, intuitively", treats the layer before the last as if it were the last one, with the
activations that the layer after it suggests as wanted outputs, and so on backwards. Each neuron suggests a nudge of the
activations before it; a footnote says that a definition of "small" is needed, and gives none. The article also says
that the fastest fall of |y - a| equals the negative gradient. So its words can be read in four ways, and all are run.

That the first reading is exact, and that others stretch a layer m below the last by (2 step)^m, follows from the
algebra: `gradients.nudges.suggested_activations` has it. For one neuron the gradient of |y - a| is parallel to that of
(a - y)^2 and 1 / (2 |a - y|) times as long: also algebra. Two slips of the article change nothing here. It calls b the
bias of the prior layer, but it is the neuron's own. And it calls the gradient a sum of costs, but gradients are summed.

Source: the article, "Backpropagation" and "Actually computing the direction of fastest possible descent".
Holds if:
- steps of half the slope: each layer's part has the direction and the length of the gradient's, to a thousandth.
- steps of any share of the slope: for each share tried, the whole has the gradient's direction, to a thousandth.
- steps of one length: at the best of the lengths, the whole has the gradient's direction, to a thousandth.
- fastest fall of |y - a|: with |y - a| as every neuron's error, the whole has that direction, to a thousandth.
"""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.activations import gradient_through
from mlp_jax.backward import average_gradient, backprop, backward_pass
from mlp_jax.experiments.subject import EQUAL, Finding, Subject, SubjectError, batch_of, both_times, layer_name
from mlp_jax.gradients.compare import angle_and_norm_ratio
from mlp_jax.gradients.rules import suggested_activations
from mlp_jax.network import Inputs, Model, Params, Targets, forward_pass

EXAMPLES = 100
STEPS = (0.125, 0.25, 0.5, 1.0, 2.0)
HALF = STEPS.index(0.5)
LENGTHS = (0.001, 0.01, 0.1, 1.0)
WHEN = ("before training", "after training")
Vectors = list[list[np.ndarray]]  # of each network: one of each layer, weights and biases together, and one of them all


class Measurement(NamedTuple):
    """What each reading gives beside the gradient, on a mini-batch, in float64, before training and after.

    Angles are in degrees, to each layer's part of the gradient and, last, to the whole gradient.
    """

    steps: tuple[float, ...]  # how far suggestions go, as a multiple of the negative slope
    lengths: tuple[float, ...]  # of the nudge that each neuron suggests, if all are of one length
    angles: Float[np.ndarray, "when members steps vectors"]
    ratios: Float[np.ndarray, "when members steps vectors"]  # of the lengths; NaN for a layer whose gradient is 0
    of_one_length: Float[np.ndarray, "when members lengths vectors"]
    of_distances: Float[np.ndarray, "when members vectors"]  # with |y - a| throughout


def measure(subject: Subject) -> Measurement:
    """Go back in each of the ways through every network, on the first training images.

    Raises SubjectError for networks without a hidden layer, to which nothing is suggested.
    """
    if len(subject.sizes) == 2:
        raise SubjectError(
            f"this experiment needs a hidden layer, to which activations are suggested: the network is "
            f"{'-'.join(map(str, subject.sizes))}"
        )
    with jax.enable_x64(True):
        networks = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), both_times(subject))
        examples = batch_of(subject.dataset.train.rows(slice(EXAMPLES)), networks)
        exact, *outcomes = map(_vectors, jax.device_get(_directions(networks, *examples, subject.model)))
    compared = np.stack([_compared(outcome, exact) for outcome in outcomes], axis=1)
    angles, ratios = np.moveaxis(compared.reshape(2, subject.members, *compared.shape[1:]), -1, 0)
    dead = np.reshape([[not vector.any() for vector in vectors] for vectors in exact], (2, subject.members, 1, -1))
    shares = slice(len(STEPS))
    return Measurement(
        STEPS,
        LENGTHS,
        angles[:, :, shares],
        np.where(dead, np.nan, ratios[:, :, shares]),
        angles[:, :, len(STEPS) : -1],
        angles[:, :, -1],
    )


def judge(measured: Measurement) -> Finding:
    """Compare each reading with the gradient, in the median network of either time."""
    angles = np.median(measured.angles, axis=1)
    off = np.nanmax(np.abs(measured.ratios[:, :, HALF] - 1), initial=0)
    whole = angles[..., -1].max(axis=0)
    alike = np.degrees(EQUAL)  # the angle between vectors that differ by a thousandth of their length
    before, after = np.median(measured.of_one_length[..., -1], axis=1).min(axis=1)
    distance_before, distance_after = np.median(measured.of_distances[..., -1], axis=1)
    turned = max(whole.max(), before, after, distance_before, distance_after)
    return Finding(
        f"Steps of half the slope give the gradient to {off:.0e} of its length, and other readings turn it by up "
        f"to {turned:.0f} degrees.",
        {
            "steps of half the slope": bool(angles[:, HALF].max() < alike and off < EQUAL),
            "steps of any share of the slope": bool(whole.max() < alike),
            "steps of one length": bool(max(before, after) < alike),
            "fastest fall of |y - a|": bool(max(distance_before, distance_after) < alike),
        },
        {
            "another share of the slope turns the whole by up to": f"{whole.max():.0f} degrees",
            "nudges of the best one length, untrained and trained": f"{before:.0f}, {after:.0f} degrees",
            "|y - a| as every error, untrained and trained": f"{distance_before:.0f}, {distance_after:.0f} degrees",
            "|y - a| for one neuron alone": "parallel, by algebra",
        },
    )


def draw(measured: Measurement) -> Figure:
    """How long each layer's part is with steps in proportion, and how far the whole turns in every reading."""
    figure, ((sizes, shares, lengths),) = figures.page(1, 3, height=3.6)
    steps, layers = np.array(measured.steps), measured.ratios.shape[-1] - 1
    for layer, style in zip(range(layers), itertools.cycle(figures.STYLES), strict=False):
        name = layer_name(layer + 1)
        figures.band(sizes, steps, measured.ratios[1, ..., layer], style, figures.COLOURS[layer % 7], name)
    sizes.plot(steps, (2 * steps[:, None]) ** np.arange(layers), "kx", markersize=5)
    title = "crosses: (2 step)^m, for a\nlayer m below the last"
    figures.name_axes(sizes, "step, times the slope", "length, times the gradient's", title)
    sizes.set_yscale("log", base=2)
    for number, colour in enumerate((figures.BLACK, figures.SKY)):
        style = "os"[number] + "-"
        figures.band(shares, steps, measured.angles[number, ..., -1], style, colour, WHEN[number])
        figures.band(lengths, measured.lengths, measured.of_one_length[number, ..., -1], style, colour, "")
        angle = float(np.median(measured.of_distances[number, :, -1]))
        lengths.axhline(angle, color=colour, linestyle=":", linewidth=1.5)
    names = "step, times the slope", "angle of the whole, degrees", "steps in proportion\nto the slope"
    figures.name_axes(shares, *names, ylim=(-3, 95))
    title = "nudges of one length\ndotted: |y - a| instead"
    figures.name_axes(lengths, "length of a nudge", "", title, xscale="log", ylim=(-3, 95))
    for panel in (sizes, shares):
        panel.set_xscale("log", base=2)
        panel.set_xticks(steps, [f"{step:g}" if step >= 1 else f"1/{1 / step:g}" for step in measured.steps])
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


@partial(jax.jit, static_argnums=3)
def _directions(networks: Params, inputs: Array, targets: Array, model: Model) -> list[Params]:
    """For each network the gradient, and what comes out in each of the readings."""
    fixed = [partial(recursion, length=length) for length in LENGTHS]
    rules = (backprop, *map(suggested_activations, STEPS), *fixed, partial(recursion, distance=True))
    return [jax.vmap(lambda params, rule=rule: rule(params, inputs, targets, model))(networks) for rule in rules]


def recursion(
    params: Params,
    inputs: Inputs,
    targets: Targets,
    model: Model,
    *,
    length: float | None = None,
    distance: bool = False,
) -> Params:
    """A gradient rule: go back by suggestions in another way than `gradients.rules.suggested_activations`.

    length: of the nudge that each neuron suggests; None for the negative slope itself.
    distance: whether a neuron's error is |y - a|, and not its square. The last layer's is otherwise the model's cost.
    """
    weighted_sums, activations = forward_pass(params, inputs, model)
    if distance:
        delta = gradient_through(model.output, weighted_sums[-1], jnp.sign(activations[-1] - targets))
    else:
        delta = backward_pass(params[-1:], weighted_sums[-1:], targets, model)[0]
    deltas = [delta]
    for layer, z in zip(params[:0:-1], weighted_sums[-2::-1], strict=True):
        if length is not None:
            delta = length * jnp.sign(delta) / jnp.linalg.norm(layer.weights, axis=1)
        off = delta @ layer.weights  # the activation less the suggested one
        delta = gradient_through(model.hidden, z, jnp.sign(off) if distance else 2 * off)
        deltas.append(delta)
    return average_gradient(params, tuple(reversed(deltas)), activations[:-1])


def _vectors(gradients: Params) -> Vectors:
    vectors = [np.column_stack([np.reshape(leaf, (len(leaf), -1)) for leaf in layer]) for layer in gradients]
    return [[*layers, np.concatenate(layers)] for layers in zip(*vectors, strict=True)]


def _compared(outcomes: Vectors, gradients: Vectors) -> Float[np.ndarray, "networks vectors 2"]:
    """Angle and ratio of lengths of each vector and its counterpart."""
    pairs = zip(outcomes, gradients, strict=True)
    return np.array([list(map(angle_and_norm_ratio, outcome, gradient)) for outcome, gradient in pairs])
