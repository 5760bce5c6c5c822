"""An example wants most of the weights from bright neurons, and of activations behind strong weights.

A neuron's weights are to change in proportion to the activations that they multiply, the activations before it in
proportion to its weights, summed over all neurons. A network trained on one 2 alone comes to call every image a 2.

Source: lesson 3.
Refuted if: the wanted changes are not in these proportions, if a small step along them lowers the cost by anything else
than they predict, or if after a hundred steps for one image most others are not called what it is.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.first_layer import directions
from mlp_jax.experiments.subject import Finding, Subject, batch_of, both_times, check_classes, outputs_of_all
from mlp_jax.gradients.nudges import Nudges, nudges
from mlp_jax.network import Model, Params, forward_pass, loss
from mlp_jax.training import LEARNING_RATE

DIGIT = 2
SMALL = 0.001  # what a small step is to take away, as a share of the cost
STEP = 0.1  # the same for steps on one image alone; the learning rate is LEARNING_RATE at most
STEPS = (0, 1, 2, 5, 10, 20, 50, 100)
SHOWN = 16  # neurons of a layer, those whose biases are to change most


class Behind(NamedTuple):
    """The wanted changes of a layer that has a hidden layer before it, up to a factor."""

    layer: int  # which, from 0
    neurons: tuple[int, ...]  # those that are shown
    weights: Float[np.ndarray, "shown n_in"]  # the changes of their weights
    activations: Float[np.ndarray, " n_in"]  # of the hidden layer before it
    wanted: Float[np.ndarray, " n_in"]  # the changes of these


class Measurement(NamedTuple):
    """The changes that lower the cost of one test image in the untrained networks; up to a factor, in the first one.

    bright: the lowest correlation, of all neurons, between the sizes of the changes that a neuron's weights are to make
        and of the activations that they multiply.
    strong: the correlation of the wanted changes of the last hidden activations with the weights of the `label`'s
        output.
    called: the share of the test images that are called `label` after the steps, by networks untrained before and by
        trained ones.
    """

    image: int  # its number among the test images
    label: int
    pixels: Float[np.ndarray, "height width"]  # 0 to 1
    outputs: Float[np.ndarray, " classes"]
    wanted_outputs: Float[np.ndarray, " classes"]  # their changes
    behind: tuple[Behind, ...]  # the last layer and the one before, as far as hidden layers are before them
    first_neurons: tuple[int, ...]  # those of the first layer that are shown
    first_weights: Float[np.ndarray, "shown height width"]  # the wanted changes of their weights
    bright: Float[np.ndarray, " members"]
    strong: Float[np.ndarray, " members"]
    fall: Float[np.ndarray, " members"]  # how much a small step lowers the cost, over what the gradient predicts
    steps: tuple[int, ...]  # on this image alone
    called: Float[np.ndarray, "when members steps"]


def measure(subject: Subject) -> Measurement:
    """Find the wanted changes before training, and then train these networks, and the trained ones, on one image alone.

    Raises SubjectError unless the inputs are images of one channel, and the targets classes.
    """
    test, networks = subject.dataset.test, subject.initial
    check_classes(subject.dataset)
    image = int(np.argmax(test.targets == DIGIT)) if subject.image is None else subject.image  # 0 if there is none
    inputs, targets = batch_of(test, networks)
    label = int(test.targets[image])
    example = inputs[image], targets[image]
    pixels = subject.images_as(np.asarray(example[0]))
    activations, wanted = jax.device_get(_wanted(networks, *example, subject.model))
    behind = []
    for layer in range(len(wanted) - 1, max(len(wanted) - 3, 0), -1):
        shown = _most_wanted(wanted[layer])
        numbers = wanted[layer].weights[0, shown], activations[layer][0], wanted[layer].earlier[0]
        behind.append(Behind(layer, tuple(shown.tolist()), *numbers))
    shown = _most_wanted(wanted[0])
    proportions = [_correlations(np.abs(w.weights), np.abs(a)) for w, a in zip(wanted, activations[:-1], strict=True)]
    weights = np.asarray(networks[-1].weights)[:, label]
    all_networks, called = both_times(subject), []
    for start, end in pairwise((0, *STEPS)):
        all_networks = _trained_on(all_networks, *example, end - start, subject.model)
        answers = np.argmax(outputs_of_all(all_networks, inputs, subject.model), axis=2)
        called.append(np.mean(answers == label, axis=1))
    return Measurement(
        image,
        label,
        pixels,
        activations[-1][0],
        wanted[-1].outputs[0],
        tuple(behind),
        tuple(shown.tolist()),
        subject.images_as(wanted[0].weights[0, shown]),
        np.nanmin(np.concatenate(proportions, axis=1), axis=1),
        _correlations(wanted[-1].earlier[:, None], weights)[:, 0],
        np.asarray(_fall(networks, *example, subject.model)),
        STEPS,
        np.stack(called, axis=-1).reshape(2, subject.members, len(STEPS)),
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds if proportions are exact, a small step does what is predicted, and one image alone misleads.

    That is: correlations above 0.999, a fall as predicted to 5 %, and 90 % of the test images called the same in the
    end, by the median of the untrained networks.
    """
    (*_, last), (*_, trained) = np.median(measured.called, axis=1)
    off, label = np.max(np.abs(measured.fall - 1)), measured.label
    return Finding(
        f"what test image {measured.image}, a {label}, wants of a neuron's weights is in proportion to the activations "
        f"behind them (correlation {measured.bright.min():.4f} or more); what all outputs together want of the layer "
        f"before correlates at {np.median(measured.strong):.2f} with the weights of the {label} alone; a small step "
        f"lowers the cost as promised, to {off:.1%}; after {measured.steps[-1]} steps for this image alone {last:.0%} "
        f"of the test images are called {label}, but {trained:.0%} by networks that had been trained (medians of "
        f"{len(measured.fall)})",
        bool(measured.bright.min() > 0.999 and off < 0.05 and last >= 0.9),
    )


def draw(measured: Measurement) -> Figure:
    """From the image and its outputs back through the layers to the first weights; what training on it alone does."""
    height = figures.gallery_height(len(measured.first_neurons))
    figure, strips = figures.strips(2.7, *[2.5] * len(measured.behind), height)
    image, outputs, called = strips[0].subplots(1, 3, width_ratios=(1, 1.6, 1.6))
    figures.picture(image, measured.pixels, f"test image {measured.image}, a {measured.label}")
    _arrows(outputs, measured.outputs, measured.wanted_outputs)
    ticks = range(len(measured.outputs))
    figures.name_axes(outputs, "output", "activation", "arrows: wanted changes", xticks=ticks)
    for number, (name, colour) in enumerate((("untrained", figures.BLUE), ("trained", figures.RED))):
        figures.band(called, measured.steps, 100 * measured.called[number], "os"[number] + "-", colour, name)
    called.set_xscale("symlog", linthresh=1)
    called.set(xticks=(0, 1, 10, 100), xticklabels=("0", "1", "10", "100"), ylim=(-3, 103))
    called.legend(fontsize="x-small", title="networks before", title_fontsize="x-small")
    figures.name_axes(called, "steps for this image alone", f"test images called {measured.label}, %")
    for strip, layer in zip(strips[1:], measured.behind, strict=False):
        weights, activations = strip.subplots(1, 2, width_ratios=(1, 1.3))
        limit = float(np.abs(layer.weights).max()) or 1.0
        weights.imshow(layer.weights, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        if len(layer.neurons) <= 10:
            weights.set_yticks(range(len(layer.neurons)), [str(neuron) for neuron in layer.neurons])
        names = f"from neuron of layer {layer.layer}", f"to neuron of layer {layer.layer + 1}"
        figures.name_axes(weights, *names, "wanted changes: red up, blue down", grid=False)
        _arrows(activations, layer.activations, layer.wanted)
        figures.name_axes(activations, f"neuron of layer {layer.layer}", "activation", "arrows: wanted changes")
    captions = [f"to neuron {neuron}" for neuron in measured.first_neurons]
    limit = float(np.abs(measured.first_weights).max()) or 1.0
    title = "wanted changes of the first layer's weights: red up, blue down"
    figures.gallery(strips[-1], measured.first_weights, captions, limit=limit, title=title)
    return figure


def _arrows(panel: Axes, activations: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"]) -> None:
    """Activations as bars, and from their ends arrows in proportion to what is wanted, the longest a third as high."""
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    places, unit = np.arange(len(activations)), float(np.abs(wanted).max()) or 1.0
    reach = max(float(np.abs(activations).max()), 1e-3) / 3
    panel.bar(places, activations, color=figures.BLUE, alpha=0.35)
    ends = activations + reach * wanted / unit
    for some, marker, colour in ((wanted > 0, "^", figures.RED), (wanted < 0, "v", figures.BLUE)):
        panel.vlines(places[some], activations[some], ends[some], colors=colour)
        panel.plot(places[some], ends[some], marker, color=colour, markersize=4)


def _most_wanted(layer: Nudges) -> Int[np.ndarray, " shown"]:
    """Those neurons of the first network's layer whose biases are nudged most."""
    return np.sort(np.argsort(-np.abs(layer.biases[0]), kind="stable")[:SHOWN])


def _correlations(
    rows: Float[np.ndarray, "members n k"], others: Float[np.ndarray, "members k"]
) -> Float[np.ndarray, "members n"]:
    """Of each row with the member's other numbers; NaN if either are all the same."""
    rows, others = (directions(np.asarray(each, np.float64)) for each in (rows, others[:, None]))
    return np.where(rows.any(axis=2) & others.any(axis=2), np.sum(rows * others, axis=2), np.nan)


@jax.jit
def _wanted(
    networks: Params, pixels: Array, target: Array, model: Model
) -> tuple[tuple[Float[Array, "members _"], ...], tuple[Nudges, ...]]:
    """Each network's activations, inputs first, and the changes of each layer that the example wants."""
    return jax.vmap(lambda params: (forward_pass(params, pixels, model)[1], nudges(params, pixels, target, model)))(
        networks
    )


@jax.jit
def _fall(networks: Params, pixels: Array, target: Array, model: Model) -> Float[Array, " members"]:
    """How much a small step lowers the cost, over how much the gradient predicts."""

    def of_one(params: Params) -> Array:
        cost = loss(params, pixels, target, model)
        return (cost - loss(_step(params, pixels, target, SMALL, model), pixels, target, model)) / (SMALL * cost)

    return jax.vmap(of_one)(networks)


@jax.jit
def _trained_on(networks: Params, pixels: Array, target: Array, steps: ArrayLike, model: Model) -> Params:
    """The networks after so many steps on one example alone."""
    step = jax.vmap(lambda params: _step(params, pixels, target, STEP, model, LEARNING_RATE))
    return jax.lax.fori_loop(0, steps, lambda _, networks: step(networks), networks)


def _step(
    params: Params, pixels: Array, target: Array, share: float, model: Model, longest: float = float("inf")
) -> Params:
    """A step downhill that is to lower the cost of an example by a share, or one of the longest learning rate."""
    gradient = backprop(params, pixels, target, model)
    squared = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))
    rate = jnp.minimum(longest, share * loss(params, pixels, target, model) / jnp.where(squared > 0, squared, jnp.inf))
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient)
