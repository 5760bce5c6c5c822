"""The second layer looks for almost random, loose patterns, and not for edges.

Source: lesson 2.
Refuted if: neighbouring weights are as alike as neighbouring pixels of digits, the middle is as empty as in noise, or
an edge explains about as much of what a neuron looks for as of edges made by hand.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.hand_set import edges
from mlp_jax.experiments.subject import Finding, Subject, batch_of

SHOWN = 16
DIGITS = 1000
PERCENTILES = (5, 50, 95)
BEFORE, AFTER, DIGIT, EDGE = KINDS = ("before training", "after training", "digits", "edges set by hand")
SIZES = np.array([0.7, 1, 1.4])  # of edges: bars of 8, 11 and 15 pixels


class Measurement(NamedTuple):
    """How orderly pictures of weights are, beside noise, digits and edges: PERCENTILES over the pictures of each kind.

    alike: the correlation of a pixel with the one beside or below it, -1 to 1 (Moran's I): 0 for noise.
    middle: the share of the squared numbers that lies in the middle half of height and of width.
    edge: the share of the variance that the best of many edges explains, 0 to 1.
    """

    shown_before: Float[np.ndarray, "shown height width"]  # weights of the first neurons of the first network
    shown_after: Float[np.ndarray, "shown height width"]
    neurons: int  # pictures of weights there are, of all networks
    alike: Float[np.ndarray, "kinds 3"]
    middle: Float[np.ndarray, "kinds 3"]
    edge: Float[np.ndarray, "kinds 3"]


def measure(subject: Subject) -> Measurement:
    """Take the same numbers of all weights, before training, when they are noise, and after; of digits and of edges."""
    layers = (networks[0].weights for networks in (subject.initial, subject.networks))
    before, after = (subject.images_as(np.asarray(weights, np.float64)) for weights in layers)
    shape = before.shape[-2:]
    digits, _ = batch_of(subject.dataset.train.rows(slice(DIGITS)), subject.networks)
    digits = subject.images_as(np.asarray(digits, np.float64))
    kinds = [before.reshape(-1, *shape), after.reshape(-1, *shape), digits, _edges_anywhere(shape)]
    numbers = (
        np.stack([np.percentile(number(images), PERCENTILES) for images in kinds])
        for number in (_alike, _middle, _explained)
    )
    shown_before, shown_after = (images[0, :SHOWN].round(4) for images in (before, after))
    return Measurement(shown_before, shown_after, len(kinds[0]), *numbers)


def judge(measured: Measurement) -> Finding:
    """The claim holds if the median neuron's weights are nearly random, patterned in the middle, and no edge.

    Nearly random: neighbours are less than half as alike as those of digits. Patterned: more alike, and more in the
    middle, than 95 % of noise. No edge: the best explains less than half as much as of edges set by hand.
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
    height = figures.gallery_height(len(measured.shown_after))
    figure, (before, after, numbers) = figures.strips(height, height, 2.2)
    for strip, images, name in ((before, measured.shown_before, BEFORE), (after, measured.shown_after, AFTER)):
        limit = float(np.percentile(np.abs(images), 99)) or 1.0
        captions = [f"neuron {number}" for number in range(len(images))]
        title = f"weights {name}: blue below {-limit:.2f}, white 0, red above {limit:.2f}"
        figures.gallery(strip, images, captions, limit=limit, title=title)
    panels = numbers.subplots(1, 3, sharey=True)
    kinds_of_numbers = {
        "neighbours' correlation": measured.alike,
        "share in the middle, %": 100 * measured.middle,
        "explained by an edge, %": 100 * measured.edge,
    }
    for panel, (label, values) in zip(panels, kinds_of_numbers.items(), strict=True):
        for row, ((low, median, high), colour) in enumerate(zip(values, figures.COLOURS, strict=False)):
            panel.plot([low, high], [row, row], color=colour, linewidth=2)
            panel.plot(median, row, "o", color=colour)
        figures.name_axes(panel, label, "")
    panels[0].set(ylabel="pictures of", ylim=(len(KINDS) - 0.6, -0.4), yticks=range(len(KINDS)), yticklabels=KINDS)
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
    """The largest squared correlation with an edge, bright or dark, at any pixel, of sixteen angles and three sizes."""
    shape = images.shape[1:]
    angle, size = (axis.ravel() for axis in np.meshgrid(np.arange(16) * np.pi / 16, min(shape) / 28 * SIZES))
    tried = edges(shape, np.full(48, shape[0] // 2 + 0.0), np.full(48, shape[1] // 2 + 0.0), angle, size)
    spectra, edge_spectra = (
        np.fft.rfft2(directions(these.reshape(len(these), -1).astype(np.float32)).reshape(these.shape))
        for these in (images, tried)
    )
    best = np.zeros(len(images))
    for spectrum in edge_spectra:  # convolution: what leaves the image enters on the other side
        at_each_pixel = np.fft.irfft2(spectra * spectrum.conj(), shape)
        best = np.maximum(best, np.square(at_each_pixel).max(axis=(1, 2)))
    return best


def _edges_anywhere(shape: tuple[int, int]) -> Float[np.ndarray, "n height width"]:
    """A hundred edges in the middle half of height and of width, each at an angle and of a size of its own."""
    random, unit = np.random.default_rng(0), min(shape) / 28
    down, across = (random.uniform(side / 4, 3 * side / 4, 100) for side in shape)
    return edges(shape, down, across, random.uniform(0, np.pi, 100), unit * random.uniform(SIZES[0], SIZES[-1], 100))


def directions(images: Num[np.ndarray, "*n pixels"]) -> Float[np.ndarray, "*n pixels"]:
    """Images as vectors of length 1 with mean 0, whose products are correlations; 0 if all pixels are the same."""
    x = np.asarray(images, np.result_type(images, np.float32))
    x = x - x.mean(axis=-1, keepdims=True)
    return _ratio(x, np.linalg.norm(x, axis=-1, keepdims=True))


def _ratio(part: Float[np.ndarray, "..."], whole: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Part / whole, 0 if the whole is 0: an image of one colour correlates with nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
