"""Even if a network recognises digits pretty well, it has no idea how to draw them.

The images here are found by gradient ascent on the pixels, from a blank one: what most lights an output is the nearest
that this network has to an idea of a digit.

Source: lesson 2, minute 15.
Holds if:
- lit by what it draws: most images light their output at least as brightly as half of the digits of its class do.
- what it draws is no digit: most images are less like the mean digit of their class than 95 % of its digits are.

The ascent is on a neuron's weighted sum, which makes its activation as large as possible. Only the outputs of a softmax
depend on the other sums too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import propagate_back
from mlp_jax.experiments.first_layer import directions
from mlp_jax.experiments.subject import (
    MOST,
    Finding,
    Subject,
    SubjectError,
    batch_of,
    check_classes,
    layer_name,
    outputs_of_all,
)
from mlp_jax.network import Model, Params, forward_pass, sizes_of

SHOWN = 16  # neurons of each hidden layer, at most
COLUMNS = 10
STEPS = 200
STEP = 0.1  # the most that a pixel changes by in the first step; it shrinks to nothing in the last


class Measurement(NamedTuple):
    """The images that most light each neuron, and how they compare with digits. Likeness is a correlation, -1 to 1."""

    classes: tuple[int, ...]  # those with training and with test images
    outputs: UInt8[np.ndarray, "classes height width"]  # what most lights each class's output of the first network
    digits: UInt8[np.ndarray, "classes height width"]  # the mean of each class's training images
    hidden: tuple[UInt8[np.ndarray, "neurons height width"], ...]  # as outputs, of each hidden layer's first neurons
    hidden_lit: tuple[Float[np.ndarray, " neurons"], ...]  # the activation of each of them on its own image
    lit: Float[np.ndarray, "members classes"]  # how bright each output is on its own image
    digits_lit: Float[np.ndarray, "members classes"]  # and in the median of the class's test images
    likeness: Float[np.ndarray, "members classes"]  # of each output's image and the class's mean digit
    digits_likeness: Float[np.ndarray, "2 classes"]  # of the class's test images: the lowest 5 %, and the median
    others_likeness: Float[np.ndarray, " classes"]  # of all other test images: the median


def measure(subject: Subject) -> Measurement:
    """Go uphill from the blank image for every neuron of every network, and compare with the digits.

    Raises SubjectError unless the inputs are images of one channel, of two classes or more.
    """
    (train, test), model = (subject.dataset.train, subject.dataset.test), subject.model
    check_classes(subject.dataset)
    classes = np.intersect1d(train.targets, test.targets)
    if len(classes) < 2:
        raise SubjectError(f"this experiment needs two classes with training and test images: there are {len(classes)}")
    images, lit = jax.tree.map(np.asarray, _brightest(subject.networks, model))
    inputs, _ = batch_of(test, subject.networks)
    answers = np.asarray(outputs_of_all(subject.networks, inputs, model))
    of_class = [test.targets == number for number in classes]
    scale = 255 if train.inputs.dtype == np.uint8 else 1
    means = np.stack([train.inputs[train.targets == number].mean(axis=0) / scale for number in classes])
    drawn = images[-1][:, classes]
    real = directions(test.inputs) @ directions(means).T
    *hidden, outputs, digits = (
        np.rint(255 * np.clip(subject.images_as(image), 0, 1)).astype(np.uint8)
        for image in (*(layer[0] for layer in images[:-1]), drawn[0], means)
    )
    return Measurement(
        tuple(classes.tolist()),
        outputs,
        digits,
        tuple(hidden),
        tuple(layer[0] for layer in lit[:-1]),
        lit[-1][:, classes],
        np.stack([np.median(answers[:, rows, k], axis=1) for k, rows in zip(classes, of_class, strict=True)], axis=1),
        np.einsum("mcp,cp->mc", directions(drawn), directions(means)),
        np.stack([np.percentile(real[rows, k], (5, 50)) for k, rows in enumerate(of_class)], axis=1),
        np.array([np.median(real[~rows, k]) for k, rows in enumerate(of_class)]),
    )


def judge(measured: Measurement) -> Finding:
    """Images that do not light their output would say nothing of what the network takes for a digit."""
    bright = measured.lit >= measured.digits_lit
    unlike = measured.likeness < measured.digits_likeness[0]
    return Finding(
        f"Of {bright.size} images that light an output most, {bright.mean():.0%} light it as brightly as digits "
        f"do, and {unlike.mean():.0%} look unlike any.",
        {"lit by what it draws": bool(bright.mean() > MOST), "what it draws is no digit": bool(unlike.mean() > MOST)},
        {
            "light it as brightly as half of its digits do, or more": f"{bright.mean():.0%}",
            "less like the mean digit than 95 % of its digits": f"{unlike.mean():.0%}",
            "correlation with the mean digit, median image": f"{np.median(measured.likeness):.2f}",
            "correlation with the mean digit, median digit": f"{np.median(measured.digits_likeness[1]):.2f}",
            "correlation with the mean digit, other digits": f"{np.median(measured.others_likeness):.2f}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The images for the outputs above the mean digits, those for hidden neurons, and how like digits they are."""
    height = figures.gallery_height(len(measured.classes), COLUMNS)
    hidden = [figures.gallery_height(len(images)) for images in measured.hidden]
    figure, (outputs, digits, *layers, below) = figures.strips(height, height, *hidden, 2.8)
    drawn = "what most lights each output of the first network, how brightly", measured.outputs, measured.lit
    real = "the mean digits, and how brightly half of the digits light it", measured.digits, measured.digits_lit
    for strip, (title, images, lit) in ((outputs, drawn), (digits, real)):
        captions = [f"{k}: {brightness:.3f}" for k, brightness in zip(measured.classes, lit[0], strict=True)]
        figures.gallery(strip, images, captions, columns=COLUMNS, title=title)
    for number, (strip, images, lit) in enumerate(zip(layers, measured.hidden, measured.hidden_lit, strict=True), 1):
        captions = [f"{neuron}: {activation:.3f}" for neuron, activation in enumerate(lit)]
        figures.gallery(strip, images, captions, title=f"what most lights each neuron of the {layer_name(number)}")
    panel = below.subplots()
    x = np.arange(len(measured.classes))
    low, median = measured.digits_likeness
    panel.vlines(x, low, 1, color=figures.GREEN, linewidth=8, alpha=0.3, label="95 % of the digits")
    panel.plot(x, median, "_", color=figures.GREEN, markersize=12, label="their median")
    panel.plot(x, measured.others_likeness, "x", color=figures.BLACK, label="other digits, median")
    images = panel.plot(x, measured.likeness.T, "o", color=figures.BLUE, alpha=0.6, markersize=4)
    images[0].set_label("images that light it, one of each network")
    figures.name_axes(panel, "output", "correlation with the mean digit", xticks=x, xticklabels=measured.classes)
    panel.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


@jax.jit
def _brightest(networks: Params, model: Model) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """For each layer what most lights each neuron, (members, neurons, pixels), and how brightly, (members, neurons)."""

    def of_network(params: Params) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        counts = [min(n, SHOWN) for n in sizes_of(params)[1:-1]] + [sizes_of(params)[-1]]
        images = tuple(uphill(params[: layer + 1], n, model) for layer, n in enumerate(counts))
        lit = (forward_pass(params, image, model)[1][layer + 1] for layer, image in enumerate(images))
        return images, tuple(jnp.diagonal(activations) for activations in lit)

    return jax.vmap(of_network)(networks)


def uphill(params: Params, neurons: int, model: Model) -> Float[Array, "neurons pixels"]:
    """The images, one for each of the first neurons of the last layer, that its weighted sum grows towards.

    STEPS steps from the blank image; the gradient's largest component moves its pixel by STEP, less with every step.
    """
    n_in, n_out = sizes_of(params)[0], sizes_of(params)[-1]
    one_each = jnp.eye(neurons, n_out, dtype=params[0].weights.dtype)

    def step(images: Array, size: Array) -> tuple[Array, None]:
        weighted_sums, _ = forward_pass(params, images, model)
        gradient = propagate_back(params, weighted_sums, one_each, model)[0] @ params[0].weights
        largest = jnp.max(jnp.abs(gradient), axis=1, keepdims=True)
        return jnp.clip(images + size * gradient / jnp.where(largest > 0, largest, 1), 0, 1), None

    sizes = STEP * (1 - jnp.arange(STEPS) / STEPS)
    return jax.lax.scan(step, jnp.zeros((neurons, n_in), one_each.dtype), sizes)[0]
