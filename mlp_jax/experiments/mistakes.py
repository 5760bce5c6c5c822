"""Look at what it gets wrong, and you forgive it a little.

Claim: the images that the network gets wrong are such that one cannot blame it much. Source: lesson 2. To forgive is
up to who looks at the pictures; what can be counted is whether the network was less sure where it was wrong, had the
right digit in mind, and went wrong where others do too. Refuted if: of a right answer and a mistake it is surer of the
former in less than three of four pairs, or the right digit is its second choice in less than half of its mistakes.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of
from mlp_jax.network import feedforward

SHOWN = 24
COLUMNS = 8


class Measurement(NamedTuple):
    """The mistakes of each network on the test images, and those of the first one in pictures.

    tested: how many test images there are. wrong: how many each network gets wrong, (members,).
    surer: the chance that a right answer is surer than a mistake: that its brightest output is brighter, (members,).
    second: the share of mistakes whose right digit is the second brightest output, (members,).
    chance: of that, were all wrong digits equally likely.
    shared: how many test images 0, 1, 2, ... of the networks get wrong, (members + 1,).
    confusion: test images of the first network, by label (rows) and answer (columns), (classes, classes).
    images: those that it is wrong about and surest, (shown, height, width); for each of them, (shown,):
    indices: of the test image. answers, labels. sure: the brightest output.
    """

    tested: int
    wrong: Int[np.ndarray, " members"]
    surer: Float[np.ndarray, " members"]
    second: Float[np.ndarray, " members"]
    chance: float
    shared: Int[np.ndarray, " members+1"]
    confusion: Int[np.ndarray, "classes classes"]
    images: UInt8[np.ndarray, "shown height width"]
    indices: Int[np.ndarray, " shown"]
    answers: Int[np.ndarray, " shown"]
    labels: Integer[np.ndarray, " shown"]
    sure: Float[np.ndarray, " shown"]


def measure(subject: Subject) -> Measurement:
    """Ask every network about the test images. Raises SubjectError where one makes no mistakes, or only such."""
    dataset = subject.dataset
    labels = dataset.test_labels
    inputs, _ = batch_of(dataset, slice(None), test=True)
    answer = jax.jit(jax.vmap(feedforward, in_axes=(0, None, None)))
    outputs = np.asarray(answer(subject.networks, inputs, subject.model))
    ranked = np.argsort(-outputs, axis=2, kind="stable")
    answers, sure = ranked[:, :, 0], outputs.max(axis=2)
    wrong = answers != labels
    if not wrong.any(axis=1).all() or wrong.all(axis=1).any():
        raise SubjectError(
            f"this experiment needs networks that make mistakes, but not only: of {len(labels)} test images they get "
            f"{', '.join(map(str, wrong.sum(axis=1)))} wrong"
        )
    confusion = np.zeros((dataset.classes, dataset.classes), int)
    np.add.at(confusion, (labels, answers[0]), 1)
    mistakes = np.flatnonzero(wrong[0])
    indices = mistakes[np.argsort(-sure[0, mistakes], kind="stable")][:SHOWN]
    return Measurement(
        len(labels),
        wrong.sum(axis=1),
        np.array([_chance_above(of[~bad], of[bad]) for of, bad in zip(sure, wrong, strict=True)]),
        np.array([np.mean(of[bad] == labels[bad]) for of, bad in zip(ranked[:, :, 1], wrong, strict=True)]),
        1 / (dataset.classes - 1),
        np.bincount(wrong.sum(axis=0), minlength=subject.members + 1),
        confusion,
        subject.images_as(np.asarray(dataset.test_images[indices], np.float32)).astype(np.uint8),
        indices,
        answers[0, indices],
        labels[indices],
        sure[0, indices],
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds where the median network is less sure of its mistakes, and mostly has the right digit in mind.

    A right answer is surer than a mistake in three of four pairs, and the right digit comes second in half of the
    mistakes or more.
    """
    wrong, surer, second = (float(np.median(of)) for of in (measured.wrong, measured.surer, measured.second))
    members = len(measured.wrong)
    shared = ""
    if members > 1:
        by_chance = measured.tested * np.prod(measured.wrong / measured.tested)
        shared = f"; all {members} get the same {measured.shared[-1]} wrong (by chance it would be {by_chance:.1g})"
    return Finding(
        f"{wrong:.0f} of {measured.tested:,} test images are mistaken (median of {members} networks): right answers "
        f"are surer than mistakes in {surer:.0%} of pairs, and the right digit is the second choice in {second:.0%} of "
        f"mistakes (by chance {measured.chance:.0%}){shared}",
        bool(surer >= 0.75 and second >= 0.5),
    )


def draw(measured: Measurement) -> Figure:
    """The surest mistakes of the first network, and what it takes for what."""
    rows = -(-len(measured.images) // COLUMNS)
    figure, (surest, below) = figures.strips(1.2 * rows + 0.3, 3.6)
    captions = [
        f"{answer} ({sure:.3f}), is {label}\ntest image {index}"
        for answer, sure, label, index in zip(
            measured.answers, measured.sure, measured.labels, measured.indices, strict=True
        )
    ]
    figures.gallery(
        surest,
        measured.images,
        captions,
        columns=COLUMNS,
        title="the surest mistakes of the first network: its answer (brightest output), and what it is",
    )
    confusion, shared = below.subplots(1, 2, width_ratios=(1.5, 1))
    figures.matrix(confusion, measured.confusion)
    confusion.set_xlabel("answer")
    confusion.set_ylabel("what it is")
    confusion.set_title("test images, first network", fontsize="medium")
    numbers = np.arange(1, len(measured.shared))
    shared.bar(numbers, measured.shared[1:], color=figures.BLUE)
    shared.set_xticks(numbers)
    figures.name_axes(shared, "networks that get it wrong", "test images", "whose mistakes are whose")
    shared.grid(visible=False, axis="x")
    return figure


def _chance_above(these: Float[np.ndarray, " n"], those: Float[np.ndarray, " m"]) -> float:
    """The chance that one of these is larger than one of those; ties count half."""
    ordered = np.sort(those)
    below = np.searchsorted(ordered, these, "left") + np.searchsorted(ordered, these, "right")
    return float(below.mean() / (2 * len(ordered)))
