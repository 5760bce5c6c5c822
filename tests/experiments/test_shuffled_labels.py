"""shuffled-labels: on images of which only the label tells them apart, or nothing does."""

import numpy as np
import pytest

from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments import claim_of, shuffled_labels

EPOCHS = 25
LABELS = np.repeat([0, 1, 1], 20)  # twice as many of one class
IMAGES = np.stack([255 * LABELS, 255 * (1 - LABELS)], axis=1).astype(np.uint8)  # two kinds of image
DATA = Dataset(Examples(IMAGES, LABELS), Examples(IMAGES[:40], LABELS[:40]))


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffled_labels, "HIDDEN", (8,))
        patch.setattr(shuffled_labels, "EPOCHS", EPOCHS)
        patch.setattr(shuffled_labels, "RATE", 0.02)
        patch.setattr(shuffled_labels, "BATCH", 10)
        return shuffled_labels.measure(DATA)


def test_what_an_image_tells_is_learned_and_what_it_does_not_is_not(measured):
    true, shuffled = measured.true, measured.shuffled
    np.testing.assert_array_equal(true.accuracy[:, -1], 1)
    np.testing.assert_array_equal(true.test_accuracy, 1)
    assert true.cost.shape[1] < EPOCHS  # it ends when all have learned
    # The best that can be done with two kinds of image is to answer each by the label that it has most often.
    order = np.random.default_rng(0).permutation(LABELS)
    best = sum(max(np.bincount(order[kind == LABELS], minlength=2)) for kind in (0, 1)) / len(LABELS)
    assert shuffled.cost.shape == shuffled.accuracy.shape == (len(shuffled_labels.SEEDS), EPOCHS)
    assert (shuffled.accuracy <= best + 1e-6).all()
    np.testing.assert_allclose(shuffled.accuracy[:, -1], best)


def test_guessing_is_as_good_as_the_classes_are_frequent(measured):
    assert measured.images == 60
    assert measured.chance == pytest.approx(1 / 3 * 1 / 2 + 2 / 3 * 1 / 2)
    assert measured.guessing == pytest.approx(-np.log(1 / 3) / 3 - 2 * np.log(2 / 3) / 3)


def test_straightness_is_what_least_squares_leaves_no_residue_of():
    draw = np.random.default_rng(0)
    rows = np.stack([draw.normal(size=12), np.exp(-np.arange(12.0))])
    accuracy = np.tile(np.linspace(0.1, 1, 12), (2, 1))  # 90 % in the eleventh epoch
    straight, found = shuffled_labels.straightness(shuffled_labels.Curves(rows, accuracy, np.zeros(2)))
    np.testing.assert_allclose(straight, 1)
    for curve, share in zip(rows[:, :11], found, strict=True):
        _, residue, *_ = np.polyfit(np.arange(11), curve, 1, full=True)
        assert share == pytest.approx(1 - residue[0] / (11 * curve.var()))


def test_epochs_are_counted_to_the_first_that_is_good_enough():
    accuracy = np.array([[0.5, 0.99, 0.98], [1.0, 1.0, 1.0], [0.1, 0.2, 0.98]])
    np.testing.assert_array_equal(shuffled_labels.epochs_to(0.99, accuracy), [2, 1, np.inf])


def curves(epochs, test, bend, first=None, last=1.0):
    """Curves that reach their last accuracy in the last epoch; cost and accuracy go like a power of the epochs left."""
    left = np.linspace(1, 0, epochs)[None] ** bend
    accuracy = last - (last - 0.1) * left
    if first is not None:
        accuracy[0, 0] = first
    return shuffled_labels.Curves(2.3 * left, accuracy, np.array([test]))


NAMES = list(claim_of("shuffled-labels").criteria)
FAST = curves(6, 0.9, 4, first=0.8)


@pytest.mark.parametrize(
    ("true", "shuffled", "fails"),
    [
        (FAST, curves(50, 0.1, 1), None),
        (FAST, curves(50, 0.1, 1, last=0.95), {"learned by heart", "slowly"}),
        (FAST, curves(12, 0.1, 1), {"slowly"}),
        (FAST, curves(60, 0.1, 0.1), {"almost in a line"}),
        (curves(6, 0.9, 1), curves(50, 0.1, 1), {"fast with true labels"}),
        (FAST, curves(50, 0.3, 1), {"no better than chance on test images"}),
    ],
)
def test_each_part_of_the_claim_can_fail(true, shuffled, fails):
    finding = shuffled_labels.judge(shuffled_labels.Measurement(true, shuffled, 5000, 100, 0.1, 2.3))
    assert list(finding.parts) == NAMES
    assert {name for name, holds in finding.parts.items() if not holds} == (fails or set())


def test_labels_that_are_not_learned_refute_it(measured):
    finding = shuffled_labels.judge(measured)
    assert not finding.parts["learned by heart"]
    assert "at best" in finding.text


def test_the_figure_names_its_axes(measured):
    cost, accuracy = shuffled_labels.draw(measured).axes
    assert cost.get_ylabel() == "training cost, nats an image"
    assert accuracy.get_ylabel() == "training accuracy, %"
    assert cost.get_xlabel() == accuracy.get_xlabel() == "epoch"
