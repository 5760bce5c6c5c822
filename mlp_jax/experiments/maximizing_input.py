"""A network that recognises digits cannot draw them.

Claim: the image that most lights an output is not a picture of its digit, though the network is as sure of it as of a
real one. Source: lesson 2. Refuted if: images found by going uphill on the pixels look like digits, or light their
output less than digits do. Uphill goes a neuron's weighted sum, which lights it as well as can be, except among the
outputs of a softmax, which the others' sums dim.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backprop import propagate_back
from mlp_jax.experiments.first_layer import directions
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of
from mlp_jax.network import Model, Params, feedforward, forward_pass, sizes_of

SHOWN = 16  # neurons of each hidden layer, at most
STEPS = 200
STEP = 0.1  # the most that a pixel changes by in the first step; it shrinks to nothing in the last


class Measurement(NamedTuple):
    """The images that most light each neuron, and how they compare with digits.

    classes: those with training and with test images.
    outputs: what most lights each class's output of the first network, (classes, height, width), 0 to 255.
    digits: the mean of each class's training images, as large.
    hidden: the same as outputs for the first neurons of each hidden layer, (neurons, height, width) each.
    hidden_lit: the activation of each of them on its own image, (neurons,) each.
    lit: how bright each output is on its own image, (members, classes).
    digits_lit: how bright it is, in the median, on the class's test images, (members, classes).
    likeness: the correlation of each output's image with the class's mean digit, -1 to 1, (members, classes).
    digits_likeness: that of the class's test images, the lowest 5 % and the median, (2, classes).
    others_likeness: the median of that of all other test images, (classes,).
    """

    classes: tuple[int, ...]
    outputs: UInt8[np.ndarray, "classes height width"]
    digits: UInt8[np.ndarray, "classes height width"]
    hidden: tuple[UInt8[np.ndarray, "neurons height width"], ...]
    hidden_lit: tuple[Float[np.ndarray, " neurons"], ...]
    lit: Float[np.ndarray, "members classes"]
    digits_lit: Float[np.ndarray, "members classes"]
    likeness: Float[np.ndarray, "members classes"]
    digits_likeness: Float[np.ndarray, "2 classes"]
    others_likeness: Float[np.ndarray, " classes"]


def measure(subject: Subject) -> Measurement:
    """Go uphill from the blank image for every neuron of every network, and compare with the digits."""
    dataset, model = subject.dataset, subject.model
    classes = np.intersect1d(dataset.train_labels, dataset.test_labels)
    if len(classes) < 2:
        raise SubjectError(f"this experiment needs two classes with training and test images: there are {len(classes)}")
    images, lit = jax.tree.map(np.asarray, _brightest(subject.networks, model))
    inputs, _ = batch_of(dataset, slice(None), test=True)
    answers = np.asarray(jax.jit(jax.vmap(feedforward, in_axes=(0, None, None)))(subject.networks, inputs, model))
    of_class = [dataset.test_labels == number for number in classes]
    means = np.stack([dataset.train_images[dataset.train_labels == number].mean(axis=0) / 255 for number in classes])
    drawn = images[-1][:, classes]
    real = directions(dataset.test_images) @ directions(means).T
    *hidden, outputs, digits = (
        np.rint(255 * subject.images_as(image)).astype(np.uint8)
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
    """The claim holds where most of the images light their output as digits do, and are less like them than 95 % are.

    As digits do: at least as brightly as the class's median test image. Like: by correlation with the mean digit.
    """
    bright = measured.lit >= measured.digits_lit
    unlike = measured.likeness < measured.digits_likeness[0]
    return Finding(
        f"of {bright.size} images that most light an output, {bright.mean():.0%} light it at least as brightly as half "
        f"of its digits do, and {unlike.mean():.0%} are less like the mean digit than 95 % of them are: the median "
        f"correlates with it by {np.median(measured.likeness):.2f}, its digits by "
        f"{np.median(measured.digits_likeness[1]):.2f}, other digits by {np.median(measured.others_likeness):.2f}",
        bool((bright & unlike).mean() > 0.5),
    )


def draw(measured: Measurement) -> Figure:
    """The images for the outputs above the mean digits, those for hidden neurons, and how like digits they are."""
    columns, rows = 10, -(-len(measured.classes) // 10)
    hidden = [1.1 * -(-len(images) // 8) + 0.3 for images in measured.hidden]
    figure, (outputs, digits, *layers, below) = figures.strips(1.0 * rows + 0.3, 1.0 * rows + 0.3, *hidden, 2.8)
    figures.gallery(
        outputs,
        measured.outputs,
        [f"{k}: {lit:.3f}" for k, lit in zip(measured.classes, measured.lit[0], strict=True)],
        columns=columns,
        title="what most lights each output of the first network, and how brightly",
    )
    figures.gallery(
        digits,
        measured.digits,
        [f"{k}: {lit:.3f}" for k, lit in zip(measured.classes, measured.digits_lit[0], strict=True)],
        columns=columns,
        title="the mean digits, and how brightly half of the digits light that output at least",
    )
    for number, (strip, images, lit) in enumerate(zip(layers, measured.hidden, measured.hidden_lit, strict=True), 1):
        captions = [f"{neuron}: {activation:.3f}" for neuron, activation in enumerate(lit)]
        figures.gallery(strip, images, captions, title=f"what most lights each neuron of hidden layer {number}")
    panel = below.subplots()
    x = np.arange(len(measured.classes))
    low, median = measured.digits_likeness
    panel.vlines(x, low, 1, color=figures.GREEN, linewidth=8, alpha=0.3, label="95 % of the digits")
    panel.plot(x, median, "_", color=figures.GREEN, markersize=12, label="their median")
    panel.plot(x, measured.others_likeness, "x", color=figures.BLACK, label="other digits, median")
    for member, likeness in enumerate(measured.likeness):
        label = "images that light it, one of each network" if member == 0 else None
        panel.plot(x, likeness, "o", color=figures.BLUE, alpha=0.6, markersize=4, label=label)
    panel.set_xticks(x, [str(number) for number in measured.classes])
    figures.name_axes(panel, "output", "correlation with the mean digit")
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

    From the blank image in STEPS steps along the gradient, whose largest component moves its pixel by STEP, and less
    with every step; pixels stay between 0 and 1.
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
