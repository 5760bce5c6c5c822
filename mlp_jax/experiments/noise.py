"""A random image does not leave the network uncertain: it gives a confident nonsense answer, as if of a digit.

An uncertain network might activate no output, or all of them evenly. The lesson shows one image, and says that the
network "feels as sure" of it as of an actual 5. The random images here have pixels drawn evenly from 0 to 1.

Source: lesson 2, minute 15.
Holds if:
- an answer instead of doubt: in the median network most random images light one output above one half, more than twice
  as brightly as the second.
- as sure as of a digit: the brightest output of the median random image is as bright as that of the median test image,
  to a tenth.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.subject import (
    ALIKE,
    MOST,
    MUCH_MORE,
    Finding,
    Subject,
    SubjectError,
    batch_of,
    check_classes,
    outputs_of_all,
)

IMAGES = 10_000
EDGES = np.linspace(0, 1, 41)
ON, SURE = 0.5, 0.9  # a neuron that is more on than off, and one that is all but on


class Measurement(NamedTuple):
    """The brightest output of each network over random images (first) and over the test images (second)."""

    shares: Float[np.ndarray, "2 members bins"]  # shares of images by brightest output, between EDGES
    median: Float[np.ndarray, "2 members"]  # the brightest output of half of the images is brighter than this
    on: Float[np.ndarray, "2 members"]  # the share of images whose brightest output is above ON
    sure: Float[np.ndarray, "2 members"]  # the same above SURE
    alone: Float[np.ndarray, "2 members"]  # above ON, and more than MUCH_MORE times as bright as the second
    called: Float[np.ndarray, "members classes"]  # the share of random images that each network calls each class


def measure(subject: Subject) -> Measurement:
    """Show every network the same random images, each pixel evenly between 0 and 1, and the test images.

    Raises SubjectError for inputs or outputs that are not from 0 to 1.
    """
    check_classes(subject.dataset)
    shown = subject.dataset.test.inputs
    if shown.dtype != np.uint8 and not 0 <= shown.min() <= shown.max() <= 1:
        raise SubjectError(
            f"this experiment needs images, of numbers from 0 to 1: inputs go from {shown.min():g} to {shown.max():g}"
        )
    low, high = subject.model.output.range
    if low < 0 or high > 1:
        raise SubjectError(f"this experiment needs outputs from 0 to 1: those of this network go from {low} to {high}")
    random = jax.random.uniform(jax.random.key(0), (IMAGES, subject.sizes[0]))
    inputs, _ = batch_of(subject.dataset.test, subject.networks)
    outputs = [np.asarray(outputs_of_all(subject.networks, images, subject.model)) for images in (random, inputs)]
    called = np.stack([np.bincount(row, minlength=subject.sizes[-1]) for row in outputs[0].argmax(axis=2)])
    second, brightest = zip(*(np.moveaxis(np.sort(each, axis=2)[..., -2:], 2, 0) for each in outputs), strict=True)
    pairs = list(zip(second, brightest, strict=True))
    return Measurement(
        np.stack([[np.histogram(row, EDGES)[0] / len(row) for row in first] for first in brightest]),
        np.stack([np.median(first, axis=1) for first in brightest]),
        np.stack([np.mean(first > ON, axis=1) for first in brightest]),
        np.stack([np.mean(first > SURE, axis=1) for first in brightest]),
        np.stack([np.mean((first > ON) & (first > MUCH_MORE * next_), axis=1) for next_, first in pairs]),
        called / IMAGES,
    )


def judge(measured: Measurement) -> Finding:
    """Both parts are judged by the median network."""
    (noise, digits), (on, _), (sure, sure_digits), (alone, _) = (
        np.median(numbers, axis=1) for numbers in (measured.median, measured.on, measured.sure, measured.alone)
    )
    favourite = measured.called[0].argmax()
    return Finding(
        f"{on:.0%} of the random images light an output above {ON}, and the brightest output is {noise:.2f} for "
        f"them and {digits:.2f} for digits.",
        {
            "an answer instead of doubt": bool(alone > MOST),
            "as sure as of a digit": bool(noise >= (1 - ALIKE) * digits),
        },
        {
            "networks; numbers are those of the median one": f"{len(measured.called)}",
            "random images": f"{IMAGES:,}",
            f"random images that light one output alone above {ON}": f"{alone:.0%}",
            f"random images with an output above {SURE}": f"{sure:.0%}",
            f"test images with an output above {SURE}": f"{sure_digits:.0%}",
            f"noise that the first network calls {favourite}": f"{measured.called[0].max():.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """How bright the brightest output is, and what noise is called."""
    figure, ((brightness, called),) = figures.page(1, 2)
    noise, digits = np.median(measured.shares, axis=1)
    figures.histograms(brightness, EDGES, {"random images": noise, "test images": digits})
    figures.name_axes(brightness, "brightest output", "share of images, %")
    classes = np.arange(measured.called.shape[1])
    figures.members(called, classes, 100 * measured.called, "o")
    title = "a dot for each network, the first orange"
    figures.name_axes(called, "what noise is called", "share of random images, %", title, xticks=classes)
    return figure
