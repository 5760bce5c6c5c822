"""Mistakes are counted as a loop counts them, and the surest are shown."""

import numpy as np
import pytest
import subjects

from mlp_jax import Layer, Model
from mlp_jax.activations import identity
from mlp_jax.experiments.mistakes import draw, judge, measure
from mlp_jax.experiments.subject import SubjectError

MODEL = Model(output=identity)
CLASSES = 4
COUNT = 60
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (COUNT, CLASSES), np.uint8)
LABELS = np.where(RANDOM.uniform(size=COUNT) < 0.6, IMAGES.argmax(1), RANDOM.integers(0, CLASSES, COUNT)).astype(
    np.uint8
)


def subject(labels=LABELS, members=2, shape=(2, 2, 1)):
    """The outputs of the first network are the pixels; the second's favour the last class."""
    weights = np.stack([np.eye(CLASSES, dtype=np.float32)] * 2)[:members]
    biases = np.float32([[0, 0, 0, 0], [0, 0, 0, 0.3]])[:members]
    data = subjects.dataset(IMAGES, labels, shape, CLASSES)
    return subjects.subject((Layer(weights, biases),), data=data, model=MODEL)


def test_every_number_is_that_of_a_loop():
    measured = measure(subject())
    confusion, wrong_twice = np.zeros((CLASSES, CLASSES), int), 0
    for member, favour in enumerate((0, 0.3)):
        right, wrong, second = [], [], 0
        for image, label in zip(IMAGES / 255, LABELS, strict=True):
            outputs = image + np.array([0, 0, 0, favour])
            answer = outputs.argmax()
            (right if answer == label else wrong).append(outputs.max())
            second += answer != label and sorted(outputs)[-2] == outputs[label]
            if member == 0:
                confusion[label, answer] += 1
                with_favour = image + np.array([0, 0, 0, 0.3])
                wrong_twice += answer != label and with_favour.argmax() != label
        assert measured.wrong[member] == len(wrong)
        assert measured.second[member] == pytest.approx(second / len(wrong))
        pairs = [(a > b) + (a == b) / 2 for a in np.float32(right) for b in np.float32(wrong)]
        assert measured.surer[member] == pytest.approx(np.mean(pairs), abs=1e-3)
    np.testing.assert_array_equal(measured.confusion, confusion)
    assert measured.shared[2] == wrong_twice
    assert measured.shared.sum() == measured.tested == COUNT
    assert measured.shared @ [0, 1, 2] == measured.wrong.sum()
    assert measured.chance == pytest.approx(1 / 3)


def test_shows_the_surest_mistakes():
    measured = measure(subject())
    wrong = IMAGES.argmax(1) != LABELS
    assert len(measured.indices) == min(24, wrong.sum())
    assert wrong[measured.indices].all()
    assert list(measured.sure) == sorted(measured.sure, reverse=True)
    np.testing.assert_allclose(measured.sure, IMAGES[measured.indices].max(1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(measured.images.reshape(-1, CLASSES), IMAGES[measured.indices])
    np.testing.assert_array_equal(measured.labels, LABELS[measured.indices])
    np.testing.assert_array_equal(measured.answers, IMAGES[measured.indices].argmax(1))
    left_out = np.setdiff1d(np.flatnonzero(wrong), measured.indices)
    assert (IMAGES[left_out].max(1) <= IMAGES[measured.indices].max(1).min()).all()


def test_holds_only_where_mistakes_are_unsure_and_near():
    measured = measure(subject())
    forgiven = measured._replace(surer=np.array([0.7, 0.9]), second=np.array([0.5, 0.7]))
    assert judge(forgiven).verdict == "holds"
    assert "80% of pairs" in judge(forgiven).text
    assert "mistaken by all 2, and by chance" in judge(forgiven).table
    assert not judge(forgiven._replace(surer=np.array([0.5, 0.9]))).parts["less sure of its mistakes"]
    assert not judge(forgiven._replace(second=np.array([0.3, 0.7]))).parts["the right digit is its second choice"]


def test_one_network_shares_with_none():
    measured = measure(subject(members=1))
    assert not any("by all" in row for row in judge(measured).table)
    draw(measured)


def test_labels_what_it_draws():
    measured = measure(subject())
    figure = draw(measured)
    pictures = [panel.get_title() for panel in figure.axes if "test image " in panel.get_title()]
    assert len(pictures) == len(measured.images)
    assert pictures[0].startswith(f"{measured.answers[0]} ({measured.sure[0]:.3f}), is {measured.labels[0]}")
    confusion, shared = figure.axes[-2:]
    assert all((panel.get_xlabel() and panel.get_ylabel()) for panel in (confusion, shared))
    assert [bar.get_height() for bar in shared.patches] == measured.shared[1:].tolist()


def test_needs_mistakes_and_right_answers_and_images():
    with pytest.raises(SubjectError, match="60 test images they get 0 wrong"):
        measure(subject(IMAGES.argmax(1), members=1))
    with pytest.raises(SubjectError, match="they get 60 wrong"):
        measure(subject((IMAGES.argmax(1) + 1) % CLASSES, members=1))
    with pytest.raises(SubjectError, match="images of one channel"):
        measure(subject(shape=(1, 1, 4)))
