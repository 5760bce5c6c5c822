"""A random image gets a confident nonsense answer.

Source: lesson 2.
Refuted if: an output is on, above one half, for less than half as many random images as digits of the test set.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of, check_classes, outputs_of_all

IMAGES = 10_000
EDGES = np.linspace(0, 1, 41)
SURE = 0.5  # an output above this one is a neuron that is more on than off


class Measurement(NamedTuple):
    """The brightest output of each network over random images and over the test images."""

    noise: Float[np.ndarray, "members bins"]  # shares of images by brightest output, between EDGES
    digits: Float[np.ndarray, "members bins"]
    sure_of_noise: Float[np.ndarray, " members"]  # the share of images whose brightest output is above SURE
    sure_of_digits: Float[np.ndarray, " members"]
    called: Float[np.ndarray, "members classes"]  # the share of random images that each network calls each class


def measure(subject: Subject) -> Measurement:
    """Show every network the same random images, each pixel evenly between 0 and 1, and the test images.

    Raises SubjectError for outputs that are not from 0 to 1.
    """
    check_classes(subject.dataset)
    low, high = subject.model.output.range
    if low < 0 or high > 1:
        raise SubjectError(f"this experiment needs outputs from 0 to 1: those of this network go from {low} to {high}")
    random = jax.random.uniform(jax.random.key(0), (IMAGES, subject.sizes[0]))
    inputs, _ = batch_of(subject.dataset.test, subject.networks)
    noise, digits = (np.asarray(outputs_of_all(subject.networks, images, subject.model)) for images in (random, inputs))
    called = np.stack([np.bincount(row, minlength=subject.sizes[-1]) for row in noise.argmax(axis=2)])
    brightest = noise.max(axis=2), digits.max(axis=2)
    shares = [np.stack([np.histogram(row, EDGES)[0] for row in rows]) / rows.shape[1] for rows in brightest]
    sure = [np.mean(rows > SURE, axis=1) for rows in brightest]
    return Measurement(shares[0], shares[1], sure[0], sure[1], called / IMAGES)


def judge(measured: Measurement) -> Finding:
    """The claim holds if random images get a sure answer at least half as often as digits, in the median network."""
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
    figure, ((brightness, called),) = figures.page(1, 2)
    shares = {"random images": np.median(measured.noise, axis=0), "test images": np.median(measured.digits, axis=0)}
    figures.histograms(brightness, EDGES, shares)
    figures.name_axes(brightness, "brightest output", "share of images, %")
    classes = np.arange(measured.called.shape[1])
    figures.members(called, classes, 100 * measured.called, "o")
    title = "a dot for each network, the first red"
    figures.name_axes(called, "what noise is called", "share of random images, %", title, xticks=classes)
    return figure
