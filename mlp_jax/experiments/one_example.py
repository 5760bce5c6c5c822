"""One example wants most of the weights from bright neurons; listening to a 2 alone makes every image a 2.

The lesson's network is "not well trained yet": these are untrained, their outputs as random as its 0.5, 0.8, 0.2. That
the wanted change of a weight is in proportion to the activation that it multiplies is an identity, dC/dw = delta a, and
so is that an output is to change in proportion to how far it is off. What can fail is what a change of some size really
does. The lesson hedges brightness with "at least as far as this one training example is concerned": it is followed here
from one example to all of its digit, a mini-batch, and all test images, before training and after.

Source: lesson 3, minutes 4 to 8.
Holds if:
- a stronger influence: raising a weight by 1 moves an image's cost the more, the brighter the neuron before it:
  within the median output, change and brightness correlate by nine tenths or more, over all images of the digit.
- the most bang for your buck: a step meant to take away a tenth of an image's cost does so, to a tenth of that.
- every image a 2: after 300 steps for one 2 alone, an untrained network calls nine of ten test images 2 or more.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop, deltas_and_activations
from mlp_jax.experiments.subject import (
    ALIKE,
    NEARLY_ALL,
    Finding,
    Subject,
    batch_of,
    both_times,
    check_classes,
    layer_name,
    outputs_of_all,
)
from mlp_jax.gradients.nudges import nudges
from mlp_jax.network import Model, Params, feedforward, loss
from mlp_jax.training import LEARNING_RATE

DIGIT = 2
RAISED = 1.0  # by what each weight is raised
SHARE = 0.1  # of the cost that a step is meant to take away; the learning rate is LEARNING_RATE at most
STEPS = (0, 1, 3, 10, 30, 100, 300)
BATCH, IMAGES, SHOWN = 100, 200, 8
AVERAGED = ("one example", "its digit", f"a batch of {BATCH}", "all images")


class Measurement(NamedTuple):
    """What one test image wants in untrained networks: its changes up to a factor, in the first of them.

    stronger: the correlation, within an output, of how much raising a weight of the last layer moves an image's cost
        with the activation that it multiplies; the median over outputs and over images of the digit.
    bright: the correlation of the sizes of wanted changes, averaged over examples, with the average activation that the
        weights multiply, in each layer; the median over its neurons.
    called: the share of the test images that are called `label` after the steps, by networks untrained before and by
        trained ones.
    """

    image: int  # its number among the test images
    label: int
    pixels: Float[np.ndarray, "height width"]  # 0 to 1
    outputs: Float[np.ndarray, " classes"]
    wanted_outputs: Float[np.ndarray, " classes"]  # their changes
    activations: Float[np.ndarray, " n_in"]  # before the last layer
    wanted_weights: Float[np.ndarray, "classes n_in"]  # changes of the last layer's
    first_neurons: tuple[int, ...]  # those of the second layer that are to change most
    first_weights: Float[np.ndarray, "shown height width"]  # the wanted changes of their weights
    stronger: Float[np.ndarray, " members"]
    fall: Float[np.ndarray, "members images"]  # how much a step lowers an image's cost, over what it is meant to
    bright: Float[np.ndarray, "when members averaged layers"]
    steps: tuple[int, ...]  # on this image alone
    called: Float[np.ndarray, "when members steps"]


def measure(subject: Subject) -> Measurement:
    """Find the wanted changes before training, and then train these networks, and the trained ones, on one image alone.

    Raises SubjectError unless the inputs are images of one channel, and the targets classes.
    """
    test, networks, model = subject.dataset.test, subject.initial, subject.model
    check_classes(subject.dataset)
    image = int(np.argmax(test.targets == DIGIT)) if subject.image is None else subject.image  # 0 if there is none
    inputs, targets = batch_of(test, networks)
    label = int(test.targets[image])
    pixels = subject.images_as(np.asarray(inputs[image]))
    first = jax.tree.map(lambda leaf: leaf[0], networks)
    wanted = jax.device_get(nudges(first, inputs[image], targets[image], model))
    outputs = np.asarray(feedforward(first, inputs[image], model))
    activations = np.asarray(deltas_and_activations(first, inputs[image], targets[image], model)[1][-1])
    most = np.sort(np.argsort(-np.abs(wanted[0].biases), kind="stable")[:SHOWN])
    digits = np.flatnonzero(np.asarray(test.targets) == label)
    some = digits[:IMAGES]
    changes, before, fall = jax.device_get(_tried(networks, inputs[some], targets[some], model))
    groups = [np.array([image]), digits, np.arange(min(BATCH, len(inputs))), np.arange(len(inputs))]
    all_networks, called = both_times(subject), []
    bright = [_brightness(*jax.device_get(_averages(all_networks, inputs[g], targets[g], model))) for g in groups]
    for start, end in pairwise((0, *STEPS)):
        all_networks = _trained_on(all_networks, inputs[image], targets[image], end - start, model)
        answers = np.argmax(outputs_of_all(all_networks, inputs, model), axis=2)
        called.append(np.mean(answers == label, axis=1))
    return Measurement(
        image,
        label,
        pixels,
        outputs,
        wanted[-1].outputs,
        activations,
        wanted[-1].weights,
        tuple(most.tolist()),
        subject.images_as(wanted[0].weights[most]),
        np.nanmedian(correlations(np.abs(changes), before[:, :, None]), axis=(1, 2)),
        fall,
        np.stack(bright, axis=1).reshape(2, subject.members, len(groups), -1),
        STEPS,
        np.stack(called, axis=-1).reshape(2, subject.members, len(STEPS)),
    )


def judge(measured: Measurement) -> Finding:
    """Compare medians over the networks with the criteria."""
    stronger, fall = np.median(measured.stronger), np.median(measured.fall)
    (*_, blank), (*_, trained) = np.median(measured.called, axis=1)
    blank_all, trained_all = np.median(measured.bright[:, :, -1, -1], axis=1)
    label = measured.label
    return Finding(
        f"A weight's effect and the brightness before it correlate by {stronger:.2f}, and steps for one image make "
        f"{blank:.0%} of all images a {label}.",
        {
            "a stronger influence": bool(stronger >= NEARLY_ALL),
            "the most bang for your buck": bool(abs(fall - 1) <= ALIKE),
            "every image a 2": bool(blank >= NEARLY_ALL),
        },
        {
            "share of the promised fall that a step keeps": f"{fall:.0%}",
            "correlation over all test images, untrained networks": f"{blank_all:.2f}",
            "correlation over all test images, trained networks": f"{trained_all:.2f}",
            f"called {label} after {measured.steps[-1]} steps, untrained": f"{blank:.0%}",
            f"called {label} after {measured.steps[-1]} steps, trained": f"{trained:.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The changes that the image wants of outputs and weights, and the effect of training on it alone."""
    height = figures.gallery_height(len(measured.first_neurons))
    figure, (first, second, last) = figures.strips(2.7, 3.2, height)
    image, outputs, called = first.subplots(1, 3, width_ratios=(1, 1.5, 1.6))
    figures.picture(image, measured.pixels, f"test image {measured.image}, a {measured.label}")
    figures.wanted_changes(outputs, measured.outputs, measured.wanted_outputs)
    figures.name_axes(outputs, "output", "activation", "arrows: wanted changes")
    for number, (name, colour) in enumerate((("untrained", figures.BLACK), ("trained", figures.SKY))):
        figures.band(called, measured.steps, 100 * measured.called[number], "os"[number] + "-", colour, name)
    called.set_xscale("symlog", linthresh=1)
    called.set(xticks=(0, 1, 10, 100), xticklabels=("0", "1", "10", "100"), ylim=(-3, 103))
    called.legend(fontsize="x-small", title="networks before", title_fontsize="x-small")
    figures.name_axes(called, "steps for this image alone", f"test images called {measured.label}, %")
    left, right = second.subfigures(1, 2, squeeze=False)[0]
    before, weights = left.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    before.bar(np.arange(len(measured.activations)), measured.activations, color="#bbbbbb")
    figures.name_axes(before, "", "activation", grid=False)
    figures.signed_cells(weights, measured.wanted_weights, float(np.abs(measured.wanted_weights).max()))
    layers = measured.bright.shape[3]
    title = "wanted changes of weights:\nblue up, orange down"
    figures.name_axes(weights, f"from neuron of the {layer_name(layers - 1)}", "to output", title, grid=False)
    panels = right.subplots(1, 2, sharey=True)
    for panel, numbers, name in zip(panels, measured.bright, ("untrained networks", "trained networks"), strict=True):
        for layer in range(layers):
            style, colour, label = figures.STYLES[layer % 4], figures.COLOURS[layer % 7], layer_name(layer + 1)
            figures.band(panel, range(len(AVERAGED)), numbers[:, :, layer], style, colour, label)
        figures.name_axes(
            panel, "", "", name, xticks=range(len(AVERAGED)), ylim=(min(-0.05, float(numbers.min())), 1.05)
        )
        panel.set_xticklabels(AVERAGED, fontsize="x-small", rotation=45, ha="right")
    panels[0].set_ylabel("correlation of a weight's change\nand the brightness before it")
    right.legend(*panels[0].get_legend_handles_labels(), fontsize="x-small", loc="outside lower center", ncols=2)
    captions = [f"of neuron {neuron}" for neuron in measured.first_neurons]
    limit = float(np.abs(measured.first_weights).max()) or 1.0
    title = f"wanted changes of the {layer_name(1)}'s weights: blue up, orange down"
    figures.gallery(last, measured.first_weights, captions, limit=limit, title=title)
    return figure


def correlations(rows: Float[np.ndarray, "*#n k"], others: Float[np.ndarray, "*#n k"]) -> Float[np.ndarray, "*n"]:
    """Of numbers along the last axis, which broadcast; NaN if either are all the same."""
    rows, others = (np.asarray(each, np.float64) - np.mean(each, axis=-1, keepdims=True) for each in (rows, others))
    squares = np.sum(rows**2, axis=-1) * np.sum(others**2, axis=-1)
    return np.sum(rows * others, axis=-1) / np.sqrt(np.where(squares > 0, squares, np.nan))


def _brightness(gradients: Params, activations: tuple[np.ndarray, ...]) -> Float[np.ndarray, "members layers"]:
    """The median neuron's correlation of its weights' changes with the activations before it, in each layer."""
    pairs = zip(gradients, activations, strict=True)
    return np.stack([np.nanmedian(correlations(np.abs(g.weights), a[:, None]), axis=1) for g, a in pairs], axis=1)


@jax.jit
def _averages(networks: Params, inputs: Array, targets: Array, model: Model) -> tuple[Params, tuple[Array, ...]]:
    """Each network's gradient over the examples, and their mean activations that come in to each layer."""

    def of_one(params: Params) -> tuple[Params, tuple[Array, ...]]:
        _, activations = deltas_and_activations(params, inputs, targets, model)
        return backprop(params, inputs, targets, model), tuple(jnp.mean(jnp.abs(a), axis=0) for a in activations)

    return jax.lax.map(of_one, networks)


@jax.jit
def _tried(
    networks: Params, inputs: Array, targets: Array, model: Model
) -> tuple[
    Float[Array, "members images classes n_in"], Float[Array, "members images n_in"], Float[Array, "members images"]
]:
    """What raising each weight of the last layer does to each image's cost, the activations before it, and `fall`."""
    cost = model.cost.of(model.output)

    def of_one(params: Params, pixels: Array, target: Array) -> tuple[Array, Array, Array]:
        _, activations = deltas_and_activations(params, pixels, target, model)
        before, (weights, biases) = activations[-1], params[-1]
        z = weights @ before + biases
        raised = z + RAISED * before[None, :, None] * jnp.eye(len(z))[:, None]  # of output j, through neuron k
        here = cost.value(model.output.value(z), target)
        changes = cost.value(model.output.value(raised), jnp.broadcast_to(target, raised.shape)) - here
        after = loss(_step(params, pixels, target, model), pixels, target, model)
        return changes, before, (here - after) / (SHARE * here)

    return jax.vmap(jax.vmap(of_one, (None, 0, 0)), (0, None, None))(networks, inputs, targets)


@jax.jit
def _trained_on(networks: Params, pixels: Array, target: Array, steps: ArrayLike, model: Model) -> Params:
    """The networks after `steps` steps on one example alone."""
    step = jax.vmap(lambda params: _step(params, pixels, target, model, LEARNING_RATE))
    return jax.lax.fori_loop(0, steps, lambda _, networks: step(networks), networks)


def _step(params: Params, pixels: Array, target: Array, model: Model, longest: float = float("inf")) -> Params:
    """A step downhill that is to lower the cost of an example by SHARE, or one of the longest learning rate."""
    gradient = backprop(params, pixels, target, model)
    squared = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))
    rate = jnp.minimum(longest, SHARE * loss(params, pixels, target, model) / jnp.where(squared > 0, squared, jnp.inf))
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient)
