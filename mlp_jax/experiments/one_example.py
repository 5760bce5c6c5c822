"""An example wants most of the weights from bright neurons, and of activations behind strong weights.

Claim: each output is to change by as much as it is off; to that end the weights of a neuron are to change in proportion
to the activations that they multiply, and the activations before it in proportion to its weights, all neurons' wishes
added up. If only one image of a 2 were listened to, the network would come to call every image a 2. Source: lesson 3.
Refuted if: wishes are not in these proportions, if a small step along them lowers the cost by anything else than they
say, or if after a hundred steps for one image most others are not called what it is.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlp_jax import figures
from mlp_jax.backprop import backprop
from mlp_jax.experiments.subject import Finding, Subject, batch_of
from mlp_jax.gradients.nudges import Nudges, nudges
from mlp_jax.network import Model, Params, forward_pass, loss, predict
from mlp_jax.training import LEARNING_RATE

DIGIT = 2
SMALL = 0.001  # what a small step is to take away, as a share of the cost
STEP = 0.1  # the same for steps that only listen to one image; none is longer than LEARNING_RATE makes it
STEPS = (0, 1, 2, 5, 10, 20, 50, 100)
SHOWN = 16  # neurons of a layer, those of which most is wanted


class Behind(NamedTuple):
    """What is wanted of a layer that has a hidden layer before it.

    layer: which, from 0. neurons: those that are shown. weights: what is wanted of theirs, (shown, n_in).
    activations: of the hidden layer before it. wanted: what is wanted of these, up to a factor, (n_in,).
    """

    layer: int
    neurons: tuple[int, ...]
    weights: Float[np.ndarray, "shown n_in"]
    activations: Float[np.ndarray, " n_in"]
    wanted: Float[np.ndarray, " n_in"]


class Measurement(NamedTuple):
    """What a test image, number `image` and a `label`, wants of the untrained networks: of the first, or of each.

    pixels: (height, width), 0 to 1.
    outputs: of the first network. wanted_outputs: what is wanted of them, up to a factor, (classes,).
    behind: the last layer, and the one before, as far as there are hidden layers before them.
    first_neurons: those of the first layer that are shown. first_weights: what is wanted of their weights, (shown,
        height, width).
    bright: the correlation between the size of what is wanted of a neuron's weights and the activations that they
        multiply, the lowest of all neurons, (members,).
    strong: the correlation of what all outputs want of the activations before them with the weights of that output
        which is to light up, (members,).
    fall: by what a small step along the wishes lowers the cost, over what they promise, (members,).
    steps: how many have listened to this image alone. called: the share of the test images that are then called
        `label`, by networks untrained before and by trained ones, (2, members, steps).
    """

    image: int
    label: int
    pixels: Float[np.ndarray, "height width"]
    outputs: Float[np.ndarray, " classes"]
    wanted_outputs: Float[np.ndarray, " classes"]
    behind: tuple[Behind, ...]
    first_neurons: tuple[int, ...]
    first_weights: Float[np.ndarray, "shown height width"]
    bright: Float[np.ndarray, " members"]
    strong: Float[np.ndarray, " members"]
    fall: Float[np.ndarray, " members"]
    steps: tuple[int, ...]
    called: Float[np.ndarray, "when members steps"]


def measure(subject: Subject) -> Measurement:
    """Ask the networks as they were before training, and then let them, and the trained ones, listen to nothing else.

    Raises SubjectError where the inputs are no images of one channel.
    """
    dataset, networks = subject.dataset, subject.initial
    image = _first_of(DIGIT, dataset.test_labels) if subject.image is None else subject.image
    inputs, targets = batch_of(dataset, slice(None), test=True)
    label = int(dataset.test_labels[image])
    example = inputs[image], targets[image]
    pixels = subject.images_as(np.asarray(example[0]))
    activations, wishes = jax.device_get(_ask(networks, *example, subject.model))
    behind = []
    for layer in range(len(wishes) - 1, max(len(wishes) - 3, 0), -1):
        shown = _most_wanted(wishes[layer])
        numbers = wishes[layer].weights[0, shown], activations[layer][0], wishes[layer].earlier[0]
        behind.append(Behind(layer, tuple(shown.tolist()), *numbers))
    shown = _most_wanted(wishes[0])
    proportions = [_correlations(np.abs(w.weights), np.abs(a)) for w, a in zip(wishes, activations[:-1], strict=True)]
    weights = np.asarray(networks[-1].weights)[:, label]
    everyone = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), networks, subject.networks)
    called = []
    for start, end in pairwise((0, *STEPS)):
        everyone = _listen(everyone, *example, end - start, subject.model)
        called.append(np.mean(_choices(everyone, inputs, subject.model) == label, axis=1))
    return Measurement(
        image,
        label,
        pixels,
        activations[-1][0],
        wishes[-1].outputs[0],
        tuple(behind),
        tuple(shown.tolist()),
        subject.images_as(wishes[0].weights[0, shown]),
        np.nanmin(np.concatenate(proportions, axis=1), axis=1),
        _correlations(wishes[-1].earlier[:, None], weights)[:, 0],
        np.asarray(_fall(networks, *example, subject.model)),
        STEPS,
        np.stack(called, axis=-1).reshape(2, subject.members, len(STEPS)),
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds where proportions are exact, a small step does what it promises, and one image alone misleads.

    That is: correlations within neurons above 0.999, a cost that falls as promised to 5 %, and in the end 90 % of the
    test images called the same by the median of the untrained networks.
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
    """From the image and its outputs back through the layers to the first weights, and where listening to it leads."""
    rows = -(-len(measured.first_neurons) // 8)
    figure, strips = figures.strips(2.7, *[2.5] * len(measured.behind), 1.1 * rows + 0.3)
    image, outputs, called = strips[0].subplots(1, 3, width_ratios=(1, 1.6, 1.6))
    figures.picture(image, measured.pixels, f"test image {measured.image}, a {measured.label}")
    _wishes(outputs, measured.outputs, measured.wanted_outputs)
    outputs.set_xticks(range(len(measured.outputs)))
    figures.name_axes(outputs, "output", "activation", "arrows: wanted of the outputs")
    for number, (name, colour) in enumerate((("untrained", figures.BLUE), ("trained", figures.RED))):
        shares = 100 * measured.called[number]
        called.plot(
            measured.steps, np.median(shares, axis=0), "os"[number] + "-", color=colour, label=name, markersize=4
        )
        called.fill_between(
            measured.steps, shares.min(axis=0), shares.max(axis=0), color=colour, alpha=0.2, linewidth=0
        )
    called.set_xscale("symlog", linthresh=1)
    called.set_xticks((0, 1, 10, 100), ("0", "1", "10", "100"))
    called.set_ylim(-3, 103)
    called.legend(fontsize="x-small", title="networks before", title_fontsize="x-small")
    figures.name_axes(called, "steps for this image alone", f"test images called {measured.label}, %")
    for strip, layer in zip(strips[1:], measured.behind, strict=False):
        weights, activations = strip.subplots(1, 2, width_ratios=(1, 1.3))
        limit = float(np.abs(layer.weights).max()) or 1.0
        weights.imshow(layer.weights, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        if len(layer.neurons) <= 10:
            weights.set_yticks(range(len(layer.neurons)), [str(neuron) for neuron in layer.neurons])
        figures.name_axes(weights, f"from neuron of layer {layer.layer}", f"to neuron of layer {layer.layer + 1}")
        weights.grid(visible=False)
        weights.set_title("wanted of weights: red up, blue down", fontsize="medium")
        _wishes(activations, layer.activations, layer.wanted)
        figures.name_axes(
            activations,
            f"neuron of layer {layer.layer}",
            "activation",
            "arrows: wanted of these activations",
        )
    figures.gallery(
        strips[-1],
        measured.first_weights,
        [f"to neuron {neuron}" for neuron in measured.first_neurons],
        limit=float(np.abs(measured.first_weights).max()) or 1.0,
        title="wanted of the first layer's weights: red up, blue down",
    )
    return figure


def _wishes(panel: Axes, activations: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"]) -> None:
    """Activations as bars, and from their ends arrows in proportion to what is wanted, the longest a third as high."""
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    places, unit = np.arange(len(activations)), float(np.abs(wanted).max()) or 1.0
    reach = max(float(np.abs(activations).max()), 1e-3) / 3
    panel.bar(places, activations, color=figures.BLUE, alpha=0.35)
    ends = activations + reach * wanted / unit
    colours = [figures.RED if wish > 0 else figures.BLUE for wish in wanted]
    panel.vlines(places, activations, ends, colors=colours)
    for wish, marker, colour in ((wanted > 0, "^", figures.RED), (wanted < 0, "v", figures.BLUE)):
        panel.plot(places[wish], ends[wish], marker, color=colour, markersize=4)


def _first_of(digit: int, labels: Integer[np.ndarray, " test"]) -> int:
    """The first test image of a digit, or the first of all where there is none of it."""
    return int(np.argmax(labels == digit))


def _most_wanted(layer: Nudges) -> Int[np.ndarray, " shown"]:
    """Those neurons of the first network's layer whose biases are nudged most."""
    return np.sort(np.argsort(-np.abs(layer.biases[0]), kind="stable")[:SHOWN])


def _correlations(
    rows: Float[np.ndarray, "members n k"], others: Float[np.ndarray, "members k"]
) -> Float[np.ndarray, "members n"]:
    """Of each row with the member's other numbers; NaN where either are all the same."""
    rows, others = (np.asarray(numbers, np.float64) for numbers in (rows, others[:, None]))
    rows, others = (numbers - numbers.mean(axis=2, keepdims=True) for numbers in (rows, others))
    lengths = np.linalg.norm(rows, axis=2) * np.linalg.norm(others, axis=2)
    products = np.sum(rows * others, axis=2)
    return np.divide(products, lengths, where=lengths > 0, out=np.full_like(products, np.nan))


@jax.jit
def _ask(
    networks: Params, pixels: Array, target: Array, model: Model
) -> tuple[tuple[Float[Array, "members _"], ...], tuple[Nudges, ...]]:
    """Each network's activations, inputs first, and what the example wants of each layer."""
    return jax.vmap(lambda params: (forward_pass(params, pixels, model)[1], nudges(params, pixels, target, model)))(
        networks
    )


@jax.jit
def _fall(networks: Params, pixels: Array, target: Array, model: Model) -> Float[Array, " members"]:
    """How much a small step lowers the cost, over how much its gradient promises."""

    def of_one(params: Params) -> Array:
        cost = loss(params, pixels, target, model)
        return (cost - loss(_step(params, pixels, target, SMALL, model), pixels, target, model)) / (SMALL * cost)

    return jax.vmap(of_one)(networks)


@jax.jit
def _listen(networks: Params, pixels: Array, target: Array, steps: ArrayLike, model: Model) -> Params:
    """So many steps for one example alone."""

    def of_one(params: Params) -> Params:
        return jax.lax.fori_loop(
            0, steps, lambda _, params: _step(params, pixels, target, STEP, model, LEARNING_RATE), params
        )

    return jax.vmap(of_one)(networks)


def _step(
    params: Params, pixels: Array, target: Array, share: float, model: Model, longest: float = float("inf")
) -> Params:
    """A step along an example's wishes that promises to lower its cost by a share, or at the longest learning rate."""
    gradient = backprop(params, pixels, target, model)
    squared = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))
    rate = jnp.minimum(longest, share * loss(params, pixels, target, model) / jnp.where(squared > 0, squared, jnp.inf))
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient)


@jax.jit
def _choices(networks: Params, inputs: Array, model: Model) -> Int[Array, "members test"]:
    return jax.vmap(lambda params: predict(params, inputs, model))(networks)
