"""Every output wants other changes of the layer before it; their sum goes back, and firing together wires together.

Ten columns: what each output wants of the activations before it, minus its error times its weights. So an output that
must fall pulls down the neurons behind its positive weights, also where the digit's own output wants them up; one that
is already right wants next to nothing. That the columns add up to what `nudges` sends back is an identity, and so are
the three avenues of one output: of the fall of the cost that a step promises, bias, weights and activations have shares
in proportion to 1, |a|^2 and |w|^2. All three carry the slope of the sigmoid, a (1 - a), which the lesson leaves to the
next one: with the quadratic cost a confident and wrong output wants little.

The lesson's "couple meaningful asterisks" on neurons that fire together are not named. Two follow from dC/dw = delta a.
It is the output that should fire that is linked to what fires; one that fires and should not is unlinked. And linking
ends when the output is right, however much both fire.

Source: lesson 3, minutes 5 to 8.
Holds if:
- thoughts of its own: what another output wants points elsewhere than what the digit's own wants: the median cosine,
  over outputs and test images, is below one half, in untrained networks and in trained ones.
- in proportion to how far off: over outputs and test images, how strongly an output pulls correlates by nine tenths or
  more with |y - a|, in both kinds.
- neurons that fire together: without asterisks, over pairs and test images, the strengthening of a weight correlates
  above 0 with the product of its two neurons' activations, in both kinds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backward_pass
from mlp_jax.costs import cross_entropy, quadratic
from mlp_jax.experiments.one_example import DIGIT
from mlp_jax.experiments.subject import MOST, NEARLY_ALL, Finding, Subject, batch_of, both_times, check_classes
from mlp_jax.network import Model, Params, forward_pass

IMAGES = 2_000
ON = 0.5  # above it a neuron fires
WHEN = ("untrained network", "trained network")
AVENUES = ("bias", "weights", "activations before")


class Measurement(NamedTuple):
    """What outputs want, untrained and trained: of one image in the first networks, and over many test images.

    An output's pull is the size of its error, which is a factor of all changes that it wants.
    """

    image: int  # its number among the test images
    label: int
    pixels: Float[np.ndarray, "height width"]  # 0 to 1
    outputs: Float[np.ndarray, "when classes"]
    wanted_outputs: Float[np.ndarray, "when classes"]  # their changes
    wanted: Float[np.ndarray, "when n_in classes"]  # changes of the activations before, in the first network
    promised: Float[np.ndarray, "when avenues classes"]  # the shares of the fall of the cost, to first order
    cosines: Float[
        np.ndarray, "when members"
    ]  # of another output's wanted changes with those of the digit's own; medians
    overruled: Float[np.ndarray, "when members"]  # the share of activations that the sum moves against the digit's own
    in_proportion: Float[np.ndarray, "when members"]  # the correlation of pull and |y - a|
    sure_and_wrong: Float[np.ndarray, "when members"]  # the pull of outputs off by 0.95 or more; NaN if there are none
    half_way: Float[np.ndarray, "when members"]  # and of those that are off by 0.5 to 0.8
    avenues: Float[np.ndarray, "when members avenues"]  # mean shares of what all outputs promise
    together: Float[np.ndarray, "when members"]  # the correlation of strengthening with both activations' product
    wanted_together: Float[np.ndarray, "when members"]  # the same with the wanted output in place of the actual
    strengthened: Float[np.ndarray, "when members"]  # of pairs of which both are above one half, 0 to 1


def measure(subject: Subject) -> Measurement:
    """Take apart what goes back from the outputs, for one image and for many.

    Raises SubjectError unless the inputs are images of one channel, and the targets classes.
    """
    check_classes(subject.dataset)
    test, networks = subject.dataset.test, both_times(subject)
    image = int(np.argmax(test.targets == DIGIT)) if subject.image is None else subject.image  # 0 if there is none
    pixels = subject.images_as(np.asarray(batch_of(test, networks)[0][image]))
    inputs, targets = batch_of(test.rows(slice(IMAGES)), networks)
    numbers = _numbers(networks, inputs, targets, np.asarray(test.targets[:IMAGES]), subject.model)
    shown = jax.tree.map(lambda leaf: leaf[np.array([0, subject.members])], networks)
    inputs, targets = (part[image] for part in batch_of(test, networks))
    before, outputs, errors = _last_layer(shown, inputs, targets, subject.model)
    weights = np.asarray(shown[-1].weights)
    promised = np.asarray(_promised(before, errors, weights))
    wanted = -subject.model.cost.of(subject.model.output).derivative(outputs, targets)
    return Measurement(
        image,
        int(test.targets[image]),
        pixels,
        np.asarray(outputs),
        np.asarray(wanted),
        np.swapaxes(-np.asarray(errors)[..., None] * weights, 1, 2),
        promised / promised.sum(axis=(1, 2), keepdims=True),
        *(np.reshape(number, (2, subject.members, *np.shape(number)[1:])) for number in jax.device_get(numbers)),
    )


def judge(measured: Measurement) -> Finding:
    """Compare medians over the networks with the criteria, in untrained networks and in trained ones."""
    cosines, overruled, in_proportion, together, wanted = (
        np.median(numbers, axis=1)
        for numbers in (
            measured.cosines,
            measured.overruled,
            measured.in_proportion,
            measured.together,
            measured.wanted_together,
        )
    )
    bias, weights, activations = np.median(measured.avenues[0], axis=0)
    relative = (measured.sure_and_wrong / measured.half_way)[1]
    relative = relative[np.isfinite(relative)]
    wrong: dict[str, str] = {}
    if len(relative):
        wrong = {"trained, off by 0.95 or more: pull beside that at 0.5 to 0.8": f"{np.median(relative):.2f} times"}
    return Finding(
        f"In untrained networks the sum over all outputs moves {overruled[0]:.0%} of the activations against what "
        "the digit's own output wants.",
        {
            "thoughts of its own": bool(np.all(cosines < MOST)),
            "in proportion to how far off": bool(np.all(in_proportion >= NEARLY_ALL)),
            "neurons that fire together": bool(np.all(together > 0)),
        },
        {
            "promised by bias, weights, activations before": f"{bias:.0%}, {weights:.0%}, {activations:.0%}",
            "correlation of pull and distance, untrained and trained": (
                f"{in_proportion[0]:.2f}, {in_proportion[1]:.2f}"
            ),
        }
        | wrong
        | {
            "correlation of strengthening with both firing": f"{together[0]:.2f}, {together[1]:.2f}",
            "with one firing where the other should": f"{wanted[0]:.2f}, {wanted[1]:.2f}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The image and its outputs, ten columns of wanted changes and their sum, and the effect of the sigmoid's slope."""
    figure, (first, second, third) = figures.strips(2.6, 3.4, 2.9)
    image, outputs, avenues = first.subplots(1, 3, width_ratios=(1, 1.5, 1.6))
    figures.picture(image, measured.pixels, f"test image {measured.image}, a {measured.label}")
    figures.wanted_changes(outputs, measured.outputs[0], measured.wanted_outputs[0])
    figures.name_axes(outputs, "output", "activation", "untrained network;\narrows: wanted changes")
    bottom, classes = np.zeros(measured.outputs.shape[1]), np.arange(measured.outputs.shape[1])
    for share, name, colour in zip(100 * measured.promised[0], AVENUES, figures.COLOURS, strict=False):
        avenues.bar(classes, share, bottom=bottom, color=colour, label=name)
        bottom = bottom + share
    avenues.set_ylim(0, 1.45 * bottom.max() or 1)
    avenues.legend(fontsize="x-small", loc="upper center", ncols=2)
    figures.name_axes(
        avenues, "output", "share of the fall, %", "three avenues: what a\nsmall step promises", xticks=classes
    )
    limit = float(np.abs(measured.wanted).max())
    panels = second.subplots(1, 4, width_ratios=(len(classes), 1.4, len(classes), 1.4))
    for number, (columns, total) in enumerate(panels.reshape(2, 2)):
        wanted = measured.wanted[number]
        figures.signed_cells(columns, wanted, limit)
        figures.signed_cells(total, wanted.sum(axis=1, keepdims=True), limit)
        label = "neuron of the layer before" if number == 0 else ""
        answer, sure = measured.outputs[number].argmax(), measured.outputs[number].max()
        title = f"{WHEN[number]}:\nit says {answer}, at {sure:.2f}"
        figures.name_axes(columns, "what each output wants", label, title, grid=False, xticks=classes)
        total.set(xticks=[0], xticklabels=["sum"], yticks=[])
    second.suptitle("wanted changes of the activations before: blue up, orange down", fontsize="medium")
    slopes, hebb = third.subplots(1, 2)
    a = np.linspace(0.0005, 0.9995, 200)
    for target, colour in ((0.0, figures.NEGATIVE), (1.0, figures.POSITIVE)):
        for cost, style, name in ((quadratic, "-", "quadratic"), (cross_entropy, ":", "cross-entropy")):
            pull = np.asarray(cost.derivative(jnp.asarray(a)[:, None], jnp.full((len(a), 1), target)))[:, 0]
            slopes.plot(a, pull * a * (1 - a), style, color=colour, label=f"wanted {target:.0f}, {name}")
    slopes.legend(fontsize="x-small", loc="upper left")
    figures.name_axes(
        slopes, "activation of an output", "its error", "what pulls: the error,\nwith the slope", ylim=(-1.1, 1.9)
    )
    for number, numbers in enumerate((measured.together, measured.wanted_together)):
        for when, colour in enumerate((figures.BLACK, figures.SKY)):
            places = np.full(numbers.shape[1], number + 0.25 * when - 0.125)
            label = f"{WHEN[when]}s" if number == 0 else ""
            hebb.plot(places, numbers[when], "os"[when], color=colour, label=label, markersize=5, alpha=0.7)
    hebb.axhline(0, color=figures.BLACK, linewidth=0.8)
    hebb.set_xticks([0, 1], ["both fire", "one fires, the\nother should"])
    hebb.legend(fontsize="x-small", loc="upper left")
    title = "what the strengthening\nof weights goes with"
    figures.name_axes(hebb, "", "correlation", title, xlim=(-0.5, 1.5), ylim=(-1, 1))
    return figure


def _promised(before: Array, errors: Array, weights: ArrayLike) -> Float[Array, "*batch avenues classes"]:
    """How far the changes of bias, weights and earlier activations that each output wants promise to lower the cost."""
    of_weights = jnp.broadcast_to(jnp.sum(before**2, axis=-1, keepdims=True), errors.shape)
    of_activations = jnp.broadcast_to(jnp.sum(jnp.square(weights), axis=-1), errors.shape)
    return errors[..., None, :] ** 2 * jnp.stack([jnp.ones_like(errors), of_weights, of_activations], axis=-2)


def _last_layer(networks: Params, inputs: Array, targets: Array, model: Model) -> tuple[Array, Array, Array]:
    """Of each network: the activations before the outputs, the outputs, and the outputs' errors."""

    def of_one(params: Params) -> tuple[Array, Array, Array]:
        weighted_sums, activations = forward_pass(params, inputs, model)
        error = backward_pass(params[-1:], weighted_sums[-1:], targets, model)[0]
        return activations[-2], activations[-1], error

    return jax.vmap(of_one)(networks)


@jax.jit
def _numbers(networks: Params, inputs: Array, targets: Array, labels: Array, model: Model) -> tuple[Array, ...]:
    """The fields of Measurement from `cosines` on, for each network."""

    def of_one(layers: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        before, outputs, errors, weights = layers
        own = labels[:, None] == jnp.arange(outputs.shape[1])
        wanted = -errors[..., None] * weights
        digits_own = jnp.take_along_axis(wanted, labels[:, None, None], axis=1)
        lengths = jnp.linalg.norm(wanted, axis=-1) * jnp.linalg.norm(digits_own, axis=-1)
        cosines = jnp.sum(wanted * digits_own, axis=-1) / jnp.where(lengths > 0, lengths, jnp.nan)
        overruled = jnp.sum(wanted, axis=1) * digits_own[:, 0] < 0
        off, pull = jnp.abs(targets - outputs), jnp.abs(errors)
        promised = jnp.sum(_promised(before, errors, weights), axis=(0, 2))
        strengthening = -errors[..., None] * before[:, None, :]
        fire = (outputs > ON)[..., None] & (before > ON)[:, None, :]
        return (
            jnp.nanmedian(jnp.where(own, jnp.nan, cosines)),
            jnp.mean(overruled),
            _correlation(off, pull),
            jnp.mean(pull, where=off >= 0.95),
            jnp.mean(pull, where=(off >= 0.5) & (off < 0.8)),
            promised / jnp.sum(promised),
            _correlation(outputs[..., None] * before[:, None, :], strengthening),
            _correlation(targets[..., None] * before[:, None, :], strengthening),
            jnp.mean(strengthening > 0, where=fire),
        )

    return jax.lax.map(of_one, (*_last_layer(networks, inputs, targets, model), networks[-1].weights))


def _correlation(some: Array, others: Array) -> Float[Array, ""]:
    some, others = some - jnp.mean(some), others - jnp.mean(others)
    return jnp.sum(some * others) / jnp.sqrt(jnp.sum(some**2) * jnp.sum(others**2))
