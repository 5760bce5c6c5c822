"""shuffled-labels: on images of which only the label tells them apart, or nothing does."""

import numpy as np
import pytest

from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments import shuffled_labels

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
    for curve in (draw.normal(size=9), np.exp(-np.arange(12.0)), 3 - 0.1 * np.arange(5)):
        _, residue, *_ = np.polyfit(np.arange(len(curve)), curve, 1, full=True)
        expected = 1 - residue[0] / (len(curve) * curve.var())
        assert shuffled_labels.straightness(curve) == pytest.approx(expected)


def test_epochs_are_counted_to_the_first_that_is_good_enough():
    accuracy = np.array([[0.5, 0.99, 0.98], [1.0, 1.0, 1.0], [0.1, 0.2, 0.98]])
    np.testing.assert_array_equal(shuffled_labels.epochs_to_learn(accuracy), [2, 1, np.inf])


def curves(epochs, test, bend):
    """Curves that reach 100 % in the last epoch; the cost falls like a power of the epochs left."""
    cost = 2.3 * np.linspace(1, 0.01, epochs)[None] ** bend
    accuracy = np.append(np.full(epochs - 1, 0.5), 1.0)[None]
    return shuffled_labels.Curves(cost, accuracy, np.array([test]), np.array([shuffled_labels.straightness(cost[0])]))


@pytest.mark.parametrize(
    ("epochs", "test", "bend", "holds"),
    [(50, 0.1, 1, True), (12, 0.1, 1, False), (50, 0.3, 1, False), (50, 0.1, 5, False)],
    ids=["all as claimed", "fast", "better than chance", "along a curve"],
)
def test_each_part_of_the_claim_can_fail(epochs, test, bend, holds):
    numbers = shuffled_labels.Measurement(curves(6, 0.9, 4), curves(epochs, test, bend), 5000, 0.1, 2.3)
    finding = shuffled_labels.judge(numbers)
    assert finding.holds is holds
    assert f"in {epochs} epochs" in finding.text


def test_labels_that_are_not_learned_refute_it(measured):
    assert not shuffled_labels.judge(measured).holds
    assert "at best" in shuffled_labels.judge(measured).text


def test_the_figure_names_its_axes(measured):
    cost, accuracy = shuffled_labels.draw(measured).axes
    assert cost.get_ylabel() == "training cost, nats an image"
    assert accuracy.get_ylabel() == "training accuracy, %"
    assert cost.get_xlabel() == accuracy.get_xlabel() == "epoch"
