"""Images that are moved, against moving each by hand."""

import numpy as np
import pytest

from mlp_jax.data import shifted

IMAGES = np.random.default_rng(0).integers(1, 256, (500, 4 * 5 * 2)).astype(np.uint8)  # ink everywhere
SHAPE = (4, 5, 2)


def moved(image, down, right):
    """One image, pixel by pixel."""
    before, after = image.reshape(SHAPE), np.zeros(SHAPE, np.uint8)
    for row in range(4):
        for column in range(5):
            if 0 <= row - down < 4 and 0 <= column - right < 5:
                after[row, column] = before[row - down, column - right]
    return after.ravel()


def test_each_image_is_moved_by_some_pixels_and_all_moves_are_as_likely():
    images = shifted(IMAGES, (3,), shape=SHAPE, pixels=1)
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    found = [
        [move for move in moves if np.array_equal(moved(before, *move), after)]
        for before, after in zip(IMAGES, images, strict=True)
    ]
    assert all(len(which) == 1 for which in found)
    counts = [found.count([move]) for move in moves]
    assert sum((count - 500 / 9) ** 2 / (500 / 9) for count in counts) < 26.1  # chi-squared, 8 degrees: 1 in 1,000


def test_the_same_seed_moves_alike_and_another_does_not():
    one, again, other = (shifted(IMAGES, seed, shape=SHAPE, pixels=2) for seed in ((1, 2), (1, 2), (2, 1)))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_floats_move_as_uint8_do():
    floats = -IMAGES.astype(np.float64)
    one, other = (shifted(images, (3,), shape=SHAPE, pixels=1) for images in (IMAGES, floats))
    np.testing.assert_array_equal(other, -one.astype(np.float64))


def test_no_pixels_leave_images_as_they_are():
    np.testing.assert_array_equal(shifted(IMAGES, (0,), shape=SHAPE, pixels=0), IMAGES)


@pytest.mark.parametrize("pixels", [-1, 4, 1000])
def test_moves_that_cannot_be_are_refused(pixels):
    with pytest.raises(ValueError, match=f"moved by up to {pixels} pixels: expected 0 to 3"):
        shifted(IMAGES, (0,), shape=SHAPE, pixels=pixels)
