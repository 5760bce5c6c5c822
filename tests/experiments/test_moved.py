"""moved: images against SciPy's, and networks that know a digit by its place."""

import numpy as np
import pytest
import subjects
from scipy import ndimage
from subjects import DATA

from mlp_jax import Layer
from mlp_jax.experiments import moved
from mlp_jax.experiments.subject import SubjectError

RANDOM = np.random.default_rng(0)
PICTURES = np.float32(RANDOM.uniform(size=(3, 9, 9)))


@pytest.mark.parametrize("move", [{"down": 2}, {"right": -3}, {"down": 1.5, "right": 0.25}])
def test_images_are_shifted_as_scipy_does(move):
    shift = (move.get("down", 0), move.get("right", 0))
    expected = [ndimage.shift(image, shift, order=1, mode="grid-constant") for image in PICTURES]
    np.testing.assert_allclose(moved.moved_by(PICTURES, **move), expected, atol=1e-5)


@pytest.mark.parametrize("degrees", [90, -90, 30])
def test_images_are_turned_as_scipy_does(degrees):
    expected = [ndimage.rotate(image, degrees, reshape=False, order=1, mode="grid-constant") for image in PICTURES]
    np.testing.assert_allclose(moved.moved_by(PICTURES, turn=degrees), expected, atol=1e-4)


@pytest.mark.parametrize("factor", [0.5, 1.3])
def test_images_are_scaled_as_scipy_does(factor):
    back = np.eye(2) / factor
    expected = [
        ndimage.affine_transform(image, back, offset=4 - back @ [4, 4], order=1, mode="grid-constant")
        for image in PICTURES
    ]
    np.testing.assert_allclose(moved.moved_by(PICTURES, scale=factor), expected, atol=1e-4)


@pytest.fixture(scope="module")
def measured():
    """Of a network that calls an image by whether its left or its right half is bright."""
    sides = np.zeros((20, 12, 12), np.uint8)
    labels = np.arange(20) % 2
    sides[labels == 0, 5:7, 3:5] = 255
    sides[labels == 1, 5:7, 7:9] = 255
    left = np.where(np.arange(12) < 6, 10, -10) * np.ones((12, 1))
    weights = np.stack([left.ravel(), -left.ravel()]).astype(np.float32)
    network = subjects.one((Layer(weights, np.zeros(2, np.float32)),))
    data = subjects.dataset(sides.reshape(20, -1), labels, (12, 12, 1), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moved, "EPOCHS", 2)
        return moved.measure(subjects.subject(network, data=data))


def test_a_network_that_goes_by_the_place_is_lost_when_it_changes(measured):
    shift = measured.shift[0]
    assert shift[0] == 1
    # Three pixels right or left take one of the two kinds to the other half; up and down change nothing.
    assert shift[moved.SHIFTS.index(3)] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    np.testing.assert_allclose(measured.turn[0][[0, 5]], [0.5, 1], atol=0.51)
    np.testing.assert_allclose(measured.scale[0], 1)
    assert measured.sure_wrong == pytest.approx(1)
    assert measured.whole == pytest.approx(1)


def test_noise_is_a_part_of_the_training_and_wants_nothing(measured):
    data = moved._with_noise(DATA)
    assert len(data.train) == 33
    np.testing.assert_array_equal(data.train.targets[30:], 0)
    np.testing.assert_array_equal(data.train.targets[:30].argmax(axis=1), DATA.train.targets)
    assert data.train.inputs.dtype == np.uint8
    assert data.train.inputs[30:].std() > 50
    assert measured.noise_sure_of_noise.shape == measured.noise_accuracy.shape == (2,)


def example(measured, *, still=0.95, lost=0.4, mended=0.8, wrong=0.7, noise=0.7, moved_noise=0.3, noise_noise=0.1):
    shift = np.full((3, len(moved.SHIFTS)), still)
    moved_shift = np.full((2, len(moved.SHIFTS)), 0.9)
    shift[:, 3], moved_shift[:, 3] = lost, mended
    return measured._replace(
        shift=shift,
        moved_shift=moved_shift,
        sure_wrong=np.array([wrong, wrong, 0]),
        sure_of_noise=np.array([noise, noise, 0]),
        moved_sure_of_noise=np.array([moved_noise] * 2),
        noise_sure_of_noise=np.array([noise_noise] * 2),
    )


@pytest.mark.parametrize(
    ("numbers", "failing"),
    [
        ({}, set()),
        ({"lost": 0.92, "mended": 0.97}, {"lost when digits move"}),
        ({"wrong": 0.4}, {"confident all the same"}),
        ({"mended": 0.6}, {"it is the setup"}),
        ({"moved_noise": 0.4}, {"nonsense because digits do not move"}),
        ({"noise_noise": 0.4}, {"nonsense because nothing rewards doubt"}),
    ],
)
def test_each_part_of_the_claim_can_fail(measured, numbers, failing):
    parts = moved.judge(example(measured, **numbers)).parts
    assert {name for name, holds in parts.items() if not holds} == failing


def test_the_figure_names_its_axes(measured):
    labels = [panel.get_xlabel() for panel in moved.draw(measured).axes if not panel.images]
    assert labels[:3] == ["shift, pixels", "turn, degrees", "scale"]
    assert labels[3].startswith("random images that light")


def test_needs_images_of_one_channel():
    with pytest.raises(SubjectError, match="images of one channel"):
        moved.measure(subjects.subject(data=subjects.dataset(shape=(2, 2, 4))))
