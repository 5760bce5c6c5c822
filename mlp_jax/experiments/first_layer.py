"""The second layer looks for almost random, loose patterns, and not for edges.

Claim: the weights that lead to a neuron of the second layer, drawn as a picture, look nearly like noise with a loose
pattern in the middle, and not like the small edges one might have hoped for. Source: lesson 2. Refuted if: neighbouring
weights are as alike as neighbouring pixels of digits, the middle is as empty as in noise, or an edge explains
about as much of what a neuron looks for as of edges made by hand.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.hand_set import edges
from mlp_jax.experiments.subject import Finding, Subject

SHOWN = 16
DIGITS = 1000
PERCENTILES = (5, 50, 95)
BEFORE, AFTER, DIGIT, EDGE = KINDS = ("before training", "after training", "digits", "edges set by hand")
SIZES = np.array([0.7, 1, 1.4])  # of edges: bars of 8, 11 and 15 pixels


class Measurement(NamedTuple):
    """How orderly the pictures of weights are, beside noise, digits and an edge.

    shown_before, shown_after: the weights of the first neurons of the first network, (shown, height, width).
    neurons: how many pictures of weights there are, of all networks.
    alike, middle, edge: the PERCENTILES of these numbers over the pictures of each of KINDS, (kinds, 3).
        alike: the correlation of a pixel with the one beside or below it, -1 to 1 (Moran's I): 0 for noise.
        middle: the share of the squared numbers that lies in the middle half of height and of width.
        edge: the share of the variance that the best of many edges explains, 0 to 1.
    """

    shown_before: Float[np.ndarray, "shown height width"]
    shown_after: Float[np.ndarray, "shown height width"]
    neurons: int
    alike: Float[np.ndarray, "kinds 3"]
    middle: Float[np.ndarray, "kinds 3"]
    edge: Float[np.ndarray, "kinds 3"]


def measure(subject: Subject) -> Measurement:
    """Take the same numbers of all weights, before training, when they are noise, and after; of digits and of edges."""
    layers = (networks[0].weights for networks in (subject.initial, subject.networks))
    before, after = (subject.images_as(np.asarray(weights, np.float64)) for weights in layers)
    shape = before.shape[-2:]
    digits = subject.images_as(subject.dataset.train_images[:DIGITS] / 255)
    kinds = [before.reshape(-1, *shape), after.reshape(-1, *shape), digits, _edges_anywhere(shape)]
    numbers = [(_alike(images), _middle(images), _explained(images)) for images in kinds]
    alike, middle, edge = (
        np.stack([np.percentile(number, PERCENTILES) for number in kind]) for kind in zip(*numbers, strict=True)
    )
    shown_before, shown_after = (images[0, :SHOWN].round(4) for images in (before, after))
    return Measurement(shown_before, shown_after, len(kinds[0]), alike, middle, edge)


def judge(measured: Measurement) -> Finding:
    """The claim holds where the median neuron's weights are nearly random, patterned in the middle, and no edge.

    Nearly random: neighbours are less than half as alike as those of digits. Patterned in the middle: more alike, and
    more of them in the middle, than in 95 % of noise. No edge: the best edge explains less than half as much
    of them as of edges set by hand.
    """
    alike, middle, edge = (
        dict(zip(KINDS, numbers, strict=True)) for numbers in (measured.alike, measured.middle, measured.edge)
    )
    nearly_random = alike[AFTER][1] < alike[DIGIT][1] / 2
    patterned = alike[AFTER][1] > alike[BEFORE][2] and middle[AFTER][1] > middle[BEFORE][2]
    no_edge = edge[AFTER][1] < edge[EDGE][1] / 2
    return Finding(
        f"the weights are {'' if nearly_random else 'not '}nearly random: those of neighbouring pixels correlate by "
        f"{alike[AFTER][1]:.2f} (median of {measured.neurons} neurons; noise {alike[BEFORE][1]:.2f}, digits "
        f"{alike[DIGIT][1]:.2f}). They are {'' if patterned else 'not '}patterned in the middle, whose quarter of the "
        f"pixels has {middle[AFTER][1]:.0%} of the squared weights (noise {middle[BEFORE][1]:.0%}), and they are "
        f"{'no edges' if no_edge else 'edges'}: the best edge explains {edge[AFTER][1]:.0%} of their variance "
        f"({edge[BEFORE][1]:.0%} of noise, {edge[DIGIT][1]:.0%} of digits, {edge[EDGE][1]:.0%} of edges set by hand)",
        bool(nearly_random and patterned and no_edge),
    )


def draw(measured: Measurement) -> Figure:
    """The weights before and after training, and the three numbers of each kind of picture."""
    height = 1.1 * -(-len(measured.shown_after) // 8) + 0.3
    figure, (before, after, numbers) = figures.strips(height, height, 2.2)
    for strip, images, name in ((before, measured.shown_before, BEFORE), (after, measured.shown_after, AFTER)):
        limit = float(np.percentile(np.abs(images), 99)) or 1.0
        figures.gallery(
            strip,
            images,
            [f"neuron {number}" for number in range(len(images))],
            limit=limit,
            title=f"weights {name}: blue below {-limit:.2f}, white 0, red above {limit:.2f}",
        )
    panels = numbers.subplots(1, 3, sharey=True)
    labels = ("neighbours' correlation", "share in the middle, %", "explained by an edge, %")
    for panel, label, scale, values in zip(
        panels, labels, (1, 100, 100), (measured.alike, measured.middle, measured.edge), strict=True
    ):
        for row, ((low, median, high), colour) in enumerate(zip(scale * values, figures.COLOURS, strict=False)):
            panel.plot([low, high], [row, row], color=colour, linewidth=2)
            panel.plot(median, row, "o", color=colour)
        figures.name_axes(panel, label, "")
    panels[0].set_yticks(range(len(KINDS)), KINDS)
    panels[0].set_ylabel("pictures of")
    panels[0].set_ylim(len(KINDS) - 0.6, -0.4)
    numbers.suptitle(f"median and 5 to 95 % of {measured.neurons} neurons of all networks", fontsize="medium")
    return figure


def _alike(images: Float[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
    x = images - images.mean(axis=(1, 2), keepdims=True)
    below, beside = x[:, 1:] * x[:, :-1], x[:, :, 1:] * x[:, :, :-1]
    pairs = below[0].size + beside[0].size
    return _ratio((below.sum(axis=(1, 2)) + beside.sum(axis=(1, 2))) / pairs, np.square(x).mean(axis=(1, 2)))


def _middle(images: Float[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
    squares = np.square(images)
    height, width = images.shape[1:]
    middle = squares[:, height // 4 : height - height // 4, width // 4 : width - width // 4]
    return _ratio(middle.sum(axis=(1, 2)), squares.sum(axis=(1, 2)))


def _explained(images: Float[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
    """The square of the correlation with the edge that it is largest for, bright or dark, of all that are tried.

    They stand at every pixel, what leaves the image coming in on the other side, at sixteen angles, in three sizes.
    """
    shape = images.shape[1:]
    angle, size = (axis.ravel() for axis in np.meshgrid(np.arange(16) * np.pi / 16, min(shape) / 28 * SIZES))
    tried = edges(shape, np.full(48, shape[0] // 2 + 0.0), np.full(48, shape[1] // 2 + 0.0), angle, size)
    spectra, edge_spectra = (
        np.fft.rfft2(directions(these.reshape(len(these), -1)).reshape(these.shape)) for these in (images, tried)
    )
    best = np.zeros(len(images))
    for spectrum in edge_spectra:  # the theorem of convolution: a product of spectra is a sum at every place
        at_each_pixel = np.fft.irfft2(spectra * spectrum.conj(), shape)
        best = np.maximum(best, np.square(at_each_pixel).max(axis=(1, 2)))
    return best


def _edges_anywhere(shape: tuple[int, int]) -> Float[np.ndarray, "n height width"]:
    """A hundred edges in the middle half of height and of width, each at an angle and of a size of its own."""
    random, unit = np.random.default_rng(0), min(shape) / 28
    down, across = (random.uniform(side / 4, 3 * side / 4, 100) for side in shape)
    return edges(shape, down, across, random.uniform(0, np.pi, 100), unit * random.uniform(SIZES[0], SIZES[-1], 100))


def directions(images: Num[np.ndarray, "*n pixels"]) -> Float[np.ndarray, "*n pixels"]:
    """Images as vectors of length 1 with mean 0, whose products are correlations; 0 where all pixels are the same."""
    x = np.asarray(images, np.float32)
    x = x - x.mean(axis=-1, keepdims=True)
    return _ratio(x, np.linalg.norm(x, axis=-1, keepdims=True))


def _ratio(part: Float[np.ndarray, "..."], whole: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Part / whole, 0 where the whole is 0: an image of one colour is like nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
