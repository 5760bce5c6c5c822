"""Of some images that it gets wrong, one feels compelled to forgive it a little.

What one feels is not measured, and the lesson speaks of some examples. The figure shows the mistakes of which the
network was surest, for everybody to judge. What can be counted: whether it was less sure when it was wrong, had the
right digit as its second choice, and made the mistakes that other networks make too.

Source: lesson 2, minute 13.
Holds if:
- less sure of its mistakes: in three of four pairs of a right answer and a mistake it is surer of the right answer.
- the right digit is its second choice: in most of its mistakes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.experiments.subject import MOST, Finding, Subject, SubjectError, batch_of, check_classes, outputs_of_all
from mlp_jax.training import evaluate

SHOWN = 24


class Measurement(NamedTuple):
    """The mistakes of each network on the test images, and those of the first one in pictures."""

    tested: int  # test images
    wrong: Int[np.ndarray, " members"]  # how many each network gets wrong
    surer: Float[np.ndarray, " members"]  # the chance that the brightest output is brighter for a right answer
    second: Float[np.ndarray, " members"]  # the share of mistakes whose right digit is the second brightest output
    chance: float  # of that, were all wrong digits equally likely
    shared: Int[np.ndarray, " members+1"]  # how many test images 0, 1, 2, ... of the networks get wrong
    confusion: Integer[np.ndarray, "classes classes"]  # of the first network: by label (rows) and answer (columns)
    images: Num[np.ndarray, "shown height width"]  # those that it is wrong about and surest
    indices: Int[np.ndarray, " shown"]  # of them among the test images
    answers: Int[np.ndarray, " shown"]
    labels: Integer[np.ndarray, " shown"]
    sure: Float[np.ndarray, " shown"]  # the brightest output for each


def measure(subject: Subject) -> Measurement:
    """Ask every network about the test images. Raises SubjectError if one makes no mistakes, or only such."""
    check_classes(subject.dataset)
    test, labels = subject.dataset.test, subject.dataset.test.targets
    inputs, _ = batch_of(test, subject.networks)
    outputs = np.asarray(outputs_of_all(subject.networks, inputs, subject.model))
    ranked = np.argsort(-outputs, axis=2, kind="stable")
    answers, sure = ranked[:, :, 0], outputs.max(axis=2)
    wrong = answers != labels
    if not wrong.any(axis=1).all() or wrong.all(axis=1).any():
        raise SubjectError(
            f"this experiment needs networks that make mistakes, but not only: of {len(labels)} test images they get "
            f"{', '.join(map(str, wrong.sum(axis=1)))} wrong"
        )
    confusion = evaluate(subject.first, test, subject.model).confusion
    assert confusion is not None  # there are classes
    mistakes = np.flatnonzero(wrong[0])
    indices = mistakes[np.argsort(-sure[0, mistakes], kind="stable")][:SHOWN]
    return Measurement(
        len(labels),
        wrong.sum(axis=1),
        np.array([_chance_above(of[~bad], of[bad]) for of, bad in zip(sure, wrong, strict=True)]),
        np.array([np.mean(of[bad] == labels[bad]) for of, bad in zip(ranked[:, :, 1], wrong, strict=True)]),
        1 / (subject.dataset.n_out - 1),
        np.bincount(wrong.sum(axis=0), minlength=subject.members + 1),
        confusion,
        subject.images_as(test.inputs[indices]),
        indices,
        answers[0, indices],
        labels[indices],
        sure[0, indices],
    )


def judge(measured: Measurement) -> Finding:
    """Both parts are judged by the median network."""
    wrong, surer, second = (float(np.median(of)) for of in (measured.wrong, measured.surer, measured.second))
    members = len(measured.wrong)
    shared: dict[str, str] = {}
    if members > 1:
        by_chance = measured.tested * np.prod(measured.wrong / measured.tested)
        shared = {f"mistaken by all {members}, and by chance": f"{measured.shared[-1]}, {by_chance:.1g}"}
    return Finding(
        f"In {second:.0%} of mistakes the right digit is the second choice, and a right answer is surer than a "
        f"mistake in {surer:.0%} of pairs.",
        {"less sure of its mistakes": surer >= 0.75, "the right digit is its second choice": second > MOST},
        {
            "networks": f"{members}",
            f"mistakes among {measured.tested:,} test images, median": f"{wrong:.0f}",
            "right digit as the second choice, by chance": f"{measured.chance:.0%}",
        }
        | shared,
    )


def draw(measured: Measurement) -> Figure:
    """The surest mistakes of the first network, and what it takes for what."""
    figure, (surest, below) = figures.strips(figures.gallery_height(len(measured.images)) + 0.3, 3.6)
    shown = zip(measured.answers, measured.sure, measured.labels, measured.indices, strict=True)
    captions = [f"{answer} ({sure:.3f}), is {label}\ntest image {index}" for answer, sure, label, index in shown]
    title = "the surest mistakes of the first network: its answer (brightest output), and what it is"
    figures.gallery(surest, measured.images, captions, title=title)
    confusion, shared = below.subplots(1, 2, width_ratios=(1.5, 1))
    figures.matrix(confusion, measured.confusion)
    figures.name_axes(confusion, "answer", "what it is", "test images, first network", grid=False)
    numbers = np.arange(1, len(measured.shared))
    shared.bar(numbers, measured.shared[1:], color=figures.BLUE)
    title = "whose mistakes are whose"
    figures.name_axes(shared, "networks that get it wrong", "test images", title, xticks=numbers)
    shared.grid(visible=False, axis="x")
    return figure


def _chance_above(these: Float[np.ndarray, " n"], those: Float[np.ndarray, " m"]) -> float:
    """The chance that one of these is larger than one of those; ties count half."""
    ordered = np.sort(those)
    below = np.searchsorted(ordered, these, "left") + np.searchsorted(ordered, these, "right")
    return float(below.mean() / (2 * len(ordered)))
