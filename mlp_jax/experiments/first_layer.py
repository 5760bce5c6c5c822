"""The second layer ends up almost random, with very loose patterns in the middle, and does not pick up on edges.

How random its weights look depends on what they were before training, which the lesson does not say. Those of this
package are small, with a standard deviation of 1/sqrt(inputs). Standard normal ones, 28 times as large for 784 pixels,
are in Nielsen's book and in the code that the lessons' author published, but not in the lessons' text. So each training
is judged for itself: that of the networks at hand, and beside it, from the same random numbers without the factor
1/sqrt(inputs), networks of the same sizes with sigmoids, once in this package's mini-batches and once in Nielsen's.

Source: lesson 2, minute 14.
Holds if:
- almost random, from small weights: weights of neighbouring pixels correlate less than half as much as neighbouring
  pixels of digits do, in the median neuron of the networks at hand.
- almost random, from standard normal weights: the same, trained from such weights with batches of 100.
- almost random, in Nielsen's training: the same, trained from such weights with batches of 10 and a constant rate.
- patterns in the middle, from small weights: neighbouring weights of the median neuron are more alike than in 95 % of
  neurons before training, and more of its squared weights lies in the middle quarter of the picture.
- patterns in the middle, from standard normal weights: the same, trained from such weights with batches of 100.
- patterns in the middle, in Nielsen's training: the same, trained with batches of 10 and a constant rate.
- no edges: after each of the three, the best edge explains less than half as much of the variance of the median
  neuron's weights as of edges set by hand.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.hand_set import edges
from mlp_jax.experiments.subject import MUCH_MORE, Finding, Subject, batch_of, mesh_for
from mlp_jax.network import Model
from mlp_jax.training import fit_population, init_population, make_optimizer

SHOWN = 8
DIGITS = 1000
PERCENTILES = (5, 50, 95)
SEEDS = (0, 1)
EPOCHS = 30
SMALL, NORMAL, NIELSEN = TRAINED = ("from small weights", "from standard normal weights", "in Nielsen's training")
BEFORE, DIGIT, EDGE = "before training", "digits", "edges set by hand"
KINDS = (BEFORE, *TRAINED, DIGIT, EDGE)
BATCH, NIELSENS_BATCH, NIELSENS_RATE = 100, 10, 1.5  # his rate is 3.0, for a cost with the factor 1/2
SIZES = np.array([0.7, 1, 1.4])  # of edges: bars of 8, 11 and 15 pixels


class Measurement(NamedTuple):
    """How orderly pictures of weights are, beside noise, digits and edges: PERCENTILES over the pictures of each kind.

    alike: the correlation of a pixel with the one beside or below it, -1 to 1 (Moran's I): 0 for noise.
    middle: the share of the squared numbers that lies in the middle half of height and of width.
    edge: the share of the variance that the best of many edges explains, 0 to 1.
    """

    shown: Float[np.ndarray, "trainings shown height width"]  # weights of each training's first neurons
    neurons: tuple[int, ...]  # pictures of weights there are of each training
    alike: Float[np.ndarray, "kinds 3"]
    middle: Float[np.ndarray, "kinds 3"]
    edge: Float[np.ndarray, "kinds 3"]


def measure(subject: Subject) -> Measurement:
    """Take the same numbers of all weights, before training, when they are noise, and after; of digits and of edges.

    Trains networks of the subject's sizes from standard normal weights on its data. Raises SubjectError for inputs that
    are no images of one channel.
    """
    subject.images_as(np.asarray(subject.first[0].weights))  # which refuses other inputs before training
    normal = _from_standard_normal(subject, BATCH)
    nielsens = _from_standard_normal(subject, NIELSENS_BATCH, optimizer=make_optimizer("sgd", NIELSENS_RATE))
    layers = [subject.initial[0].weights, subject.networks[0].weights, normal, nielsens]
    weights = [subject.images_as(np.asarray(layer, np.float64).reshape(-1, subject.sizes[0])) for layer in layers]
    shape = weights[0].shape[-2:]
    digits, _ = batch_of(subject.dataset.train.rows(slice(DIGITS)), subject.networks)
    kinds = [*weights, subject.images_as(np.asarray(digits, np.float64)), _edges_anywhere(shape)]
    numbers = (
        np.stack([np.percentile(number(images), PERCENTILES) for images in kinds])
        for number in (_alike, _middle, _explained)
    )
    shown = min(SHOWN, subject.sizes[1])
    return Measurement(np.stack([w[:shown].round(4) for w in weights]), tuple(map(len, weights)), *numbers)


def judge(measured: Measurement) -> Finding:
    """Compare the median neuron of each training with digits, with noise and with edges."""
    alike, middle, edge = (
        dict(zip(KINDS, numbers, strict=True)) for numbers in (measured.alike, measured.middle, measured.edge)
    )
    parts = {f"almost random, {name}": bool(MUCH_MORE * alike[name][1] < alike[DIGIT][1]) for name in TRAINED}
    for name in TRAINED:
        patterns = alike[name][1] > alike[BEFORE][2] and middle[name][1] > middle[BEFORE][2]
        parts[f"patterns in the middle, {name}"] = bool(patterns)
    highest = max(edge[name][1] for name in TRAINED)
    parts["no edges"] = bool(MUCH_MORE * highest < edge[EDGE][1])
    small, normal, nielsen = (f"{alike[name][1]:.2f}" for name in TRAINED)
    small_middle, normal_middle, nielsen_middle = (f"{middle[name][1]:.0%}" for name in TRAINED)
    return Finding(
        f"Neighbouring weights correlate by {small} after small and by {normal} after standard normal initial "
        f"weights, and by {nielsen} in Nielsen's training.",
        parts,
        {
            "correlation of neighbouring pixels of digits": f"{alike[DIGIT][1]:.2f}",
            "correlation of neighbouring weights before training": f"{alike[BEFORE][1]:z.2f}",
            "squared weights in the middle quarter, before training": f"{middle[BEFORE][1]:.0%}",
            "the same, from small weights": small_middle,
            "the same, from standard normal weights": normal_middle,
            f"the same, in Nielsen's training with batches of {NIELSENS_BATCH}": nielsen_middle,
            "variance that the best edge explains, at most": f"{highest:.0%}",
            "the same of edges set by hand": f"{edge[EDGE][1]:.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The same neurons before training and after each, and the three numbers of each kind of picture."""
    shown = measured.shown.shape[1]
    height = figures.gallery_height(shown)
    figure, (*galleries, numbers) = figures.strips(*[height] * len(measured.shown), 2.8)
    for strip, images, name in zip(galleries, measured.shown, KINDS, strict=False):
        limit = float(np.percentile(np.abs(images), 99)) or 1.0
        captions = [f"neuron {number}" for number in range(shown)]
        title = f"{name}: orange below {-limit:.2g}, black 0, blue above {limit:.2g}"
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
    panels[0].set(ylim=(len(KINDS) - 0.6, -0.4), yticks=range(len(KINDS)))
    panels[0].set_yticklabels(KINDS, fontsize="small")
    numbers.suptitle("a dot for the median picture of each kind, a line from 5 to 95 % of them", fontsize="medium")
    return figure


def _from_standard_normal(subject: Subject, batch_size: int, **settings: Any) -> Float[np.ndarray, "seeds n_out n_in"]:
    """The second layer's weights of sigmoid networks with the subject's sizes, trained from standard normal ones."""
    state, _ = fit_population(
        init_population(SEEDS, subject.sizes, standard_normal=True),
        subject.dataset,
        Model(),
        epochs=EPOCHS,
        batch_size=min(batch_size, len(subject.dataset.train)),
        mesh=mesh_for(len(SEEDS)),
        **settings,
    )
    return jax.device_get(state.params[0].weights)


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
