"""A random image gets a confident nonsense answer.

Claim: given a picture in which every pixel is random, the network does not hesitate, but says that it is some digit as
surely as it names a real one. Source: lesson 2. Refuted if: an output is on, above one half, for less than half as many
random images as digits of the test set.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of
from mlp_jax.network import feedforward

IMAGES = 10_000
EDGES = np.linspace(0, 1, 41)
SURE = 0.5  # an output above this one is a neuron that is more on than off


class Measurement(NamedTuple):
    """The brightest output of each network over random images and over the test images.

    noise, digits: shares of images by brightest output, between EDGES, (members, bins).
    sure_of_noise, sure_of_digits: the share of images whose brightest output is above SURE, (members,).
    called: the share of random images that each network calls each class, (members, classes).
    """

    noise: Float[np.ndarray, "members bins"]
    digits: Float[np.ndarray, "members bins"]
    sure_of_noise: Float[np.ndarray, " members"]
    sure_of_digits: Float[np.ndarray, " members"]
    called: Float[np.ndarray, "members classes"]


def measure(subject: Subject) -> Measurement:
    """Show every network the same random images, each pixel evenly between 0 and 1, and the test images.

    Raises SubjectError for outputs that are not from 0 to 1.
    """
    low, high = subject.model.output.range
    if low < 0 or high > 1:
        raise SubjectError(f"this experiment needs outputs from 0 to 1: those of this network go from {low} to {high}")
    random = jax.random.uniform(jax.random.key(0), (IMAGES, subject.sizes[0]))
    inputs, _ = batch_of(subject.dataset, slice(None), test=True)
    answers = jax.jit(jax.vmap(feedforward, in_axes=(0, None, None)))
    noise, digits = (np.asarray(answers(subject.networks, images, subject.model)) for images in (random, inputs))
    brightest, brightest_digits = noise.max(axis=2), digits.max(axis=2)
    called = np.stack([np.bincount(row, minlength=subject.sizes[-1]) for row in noise.argmax(axis=2)])
    return Measurement(
        _shares(brightest),
        _shares(brightest_digits),
        np.mean(brightest > SURE, axis=1),
        np.mean(brightest_digits > SURE, axis=1),
        called / IMAGES,
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds where random images get a sure answer at least half as often as digits, in the median network."""
    noise, digits = np.median(measured.sure_of_noise), np.median(measured.sure_of_digits)
    favourite = measured.called.argmax(axis=1)
    first, share = favourite[0], measured.called[0].max()
    return Finding(
        f"{noise:.0%} of {IMAGES:,} random images light an output above {SURE} (median of {len(favourite)} networks, "
        f"{measured.sure_of_noise.min():.0%} to {measured.sure_of_noise.max():.0%}), as do {digits:.0%} of the test "
        f"images; the first network calls {share:.0%} of the noise a {first}",
        bool(noise > 0 and noise >= digits / 2),
    )


def draw(measured: Measurement) -> Figure:
    """How bright the brightest output is, and what noise is called."""
    figure, (panels,) = figures.page(1, 2)
    brightness, called = panels
    figures.histograms(
        brightness,
        EDGES,
        {"random images": np.median(measured.noise, axis=0), "test images": np.median(measured.digits, axis=0)},
    )
    figures.name_axes(brightness, "brightest output", "share of images, %")
    classes = np.arange(measured.called.shape[1])
    for number, row in enumerate(measured.called):
        called.plot(classes, 100 * row, "o", color=figures.BLUE if number else figures.RED, alpha=0.7, markersize=4)
    called.set_xticks(classes)
    figures.name_axes(
        called, "what noise is called", "share of random images, %", "a dot for each network, the first red"
    )
    return figure


def _shares(brightest: Float[np.ndarray, "members n"]) -> Float[np.ndarray, "members bins"]:
    return np.stack([np.histogram(row, EDGES)[0] for row in brightest]) / brightest.shape[1]
