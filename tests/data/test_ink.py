"""Digits on grey paper, in uneven light, in the shade, on a table: read as the same digits on clean paper."""

import numpy as np
import pytest
from PIL import Image

from mlp_jax import load_dataset
from mlp_jax.data import read_digit
from mlp_jax.data.ink import find_ink

DIGITS = load_dataset().test.inputs[:40].reshape(-1, 28, 28)
TWO = load_dataset().test.inputs[40:120].reshape(-1, 2, 28, 28)


def ink_of(digit, side):
    """The ink of a digit, 0 to 1, in a picture of this side."""
    return np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), float) / 255


def read(path, brightness):
    Image.fromarray(np.clip(brightness, 0, 255).round().astype(np.uint8)).save(path, compress_level=0)
    return read_digit(path)


def likeness(digit, other):
    """Their correlation; a centre of mass halfway between two pixels may round to the other."""
    image = other.pixels.reshape(28, 28)
    moved = [np.roll(image, (row, column), (0, 1)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    return max(np.corrcoef(digit.pixels, each.ravel())[0, 1] for each in moved)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The digits read from white paper at 56 x 56."""
    return [read(tmp_path_factory.mktemp("clean") / "a.png", 255 - 255 * ink_of(digit, 56)) for digit in DIGITS]


@pytest.mark.parametrize("side", [28, 56])
@pytest.mark.parametrize(("paper", "ink"), [(230, 60), (200, 60), (170, 60), (60, 230), (120, 250)])
def test_grey_paper_and_chalk(tmp_path, clean, side, paper, ink):
    for digit, expected in zip(DIGITS, clean, strict=True):
        found = read(tmp_path / "a.png", paper + (ink - paper) * (digit / 255 if side == 28 else ink_of(digit, 56)))
        assert likeness(found, expected) > 0.85
        assert (found.inverted, found.resized, found.doubt) == (paper > ink, True, "")


@pytest.mark.parametrize("darkest", [160, 140, 120])
def test_light_that_falls_off(tmp_path, clean, darkest):
    """From 235 in one corner to the darkest in the other; the ink is 30 % as bright as its paper."""
    row, column = np.mgrid[:140, :140] / 139
    paper = 235 + (darkest - 235) * (row + column) / 2
    for digit, expected in zip(DIGITS, clean, strict=True):
        found = read(tmp_path / "a.png", paper * (1 - 0.7 * ink_of(digit, 140)))
        assert likeness(found, expected) > 0.85
        assert (found.inverted, found.doubt) == (True, "")


def page(digit, number):
    """A quarter of a photo of 3000 x 4000: a digit on a sheet that is brighter at one end."""
    place, side = np.random.default_rng(number), 260
    ink = np.zeros((750, 1000))
    top, left = place.integers(100, 380), place.integers(180, 560)
    ink[top : top + side, left : left + side] = ink_of(digit, side)
    row, column = np.mgrid[:750, :1000] / np.array([[[750.0]], [[1000.0]]])
    return row, column, (210 - 30 * row) * (1 - 0.7 * ink)


def shade(row, column, sheet):
    return sheet * (1 - 0.45 / (1 + np.exp(-(column + 0.4 * row - 0.7) / 0.04)))


def table_beside(row, column, sheet):
    return np.where(column > 0.9, 80 + 8 * np.sin(60 * row), sheet)


def table_at_a_corner(row, column, sheet):
    return np.where(row + column > 1.6, 70, sheet)


def table_around(row, column, sheet):
    return np.where((abs(row - 0.5) > 0.43) | (abs(column - 0.5) > 0.42), 90, sheet)


@pytest.mark.parametrize("surroundings", [shade, table_beside, table_at_a_corner, table_around])
def test_photos(tmp_path, clean, surroundings):
    for number in range(2):
        photo = surroundings(*page(DIGITS[number], number))
        grain = np.random.default_rng(number).normal(0, 3, photo.shape)
        assert likeness(read(tmp_path / "a.png", photo + grain), clean[number]) > 0.9


def test_two_digits_are_noticed(tmp_path, clean):
    assert not any(digit.doubt for digit in clean)
    noticed = 0
    for left, right in TWO:
        both = np.hstack([left[:, 3:25], right[:, 3:25]])  # they touch now and then
        found = read(tmp_path / "a.png", 255 - np.asarray(Image.fromarray(both).resize((220, 140)), float))
        noticed += found.doubt == "2 shapes lie apart in it"
    assert noticed >= 0.9 * len(TWO)


def test_noise_is_noticed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64))
    assert read(tmp_path / "a.png", noise).doubt.endswith("areas, a digit at most 3")


def test_dirt_is_left_out_and_the_parts_of_a_digit_are_not():
    paper = np.full((100, 100), 220.0)
    paper[20:80, 48:54] = paper[20:26, 58:90] = 30  # a stroke, and another near it
    clean = find_ink(paper)
    paper[90:92, 5:8] = 30
    dirty = find_ink(paper)
    np.testing.assert_array_equal(clean.density, dirty.density)
    assert clean.density[22, 80] == 1
    assert (dirty.dark, dirty.shapes, dirty.holes) == (True, 1, 0)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_no_ink(level):
    assert find_ink(np.full((50, 60), float(level))) is None
