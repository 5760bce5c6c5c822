"""The ink in a picture, whatever paper, light and table it was photographed with."""

from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

WIDEST = 0.35  # of the picture's shorter side: what is wider than this is paper, shadow or table, and no stroke
FAINT = 0.2  # ink less dense than this is the grain of the paper; the densest ink is 1
SMALL = 0.05  # of the ink of the main shape: a shape with less is dirt
NEAR = 0.25  # of the main shape's longer side: a smaller gap is within one digit, as between a 5 and its stroke
CONTRAST = 16  # levels of 255 that ink and paper must differ by


class Ink(NamedTuple):
    """The ink of a picture.

    density: of each pixel, 0 for paper to 1 for the densest ink.
    dark: whether it is darker than the paper.
    shapes: how many shapes like strokes of a pen lie apart from one another, as two digits do. One of them is kept.
    holes: how many areas of paper it encloses.
    """

    density: Float[np.ndarray, "height width"]
    dark: bool
    shapes: int
    holes: int


class _Shapes(NamedTuple):
    """Connected ink.

    labels: of each pixel the number of its shape, from 1. Of each shape, mass: its ink; strokes: how much it looks like
    strokes of a pen; box: its rows and columns.
    """

    labels: np.ndarray
    mass: np.ndarray
    strokes: np.ndarray
    box: list[tuple[slice, slice]]


def find_ink(brightness: Float[np.ndarray, "height width"]) -> Ink | None:
    """What a pen has drawn in a picture of brightness 0 to 255; None if there is nothing.

    The paper beside each pixel is found by a morphological closing for dark ink, an opening for light ink (Serra 1982,
    "Image Analysis and Mathematical Morphology"): it fills all that is narrower than WIDEST of the shorter side. So
    light may fall unevenly, and a table may be in view. Dark ink is measured relative to its paper, because paper in
    the shade has less light for both.

    >>> page = np.full((60, 60), 200.0)
    >>> page[10:50, 28:33] = 20
    >>> ink = find_ink(page)
    >>> ink.dark, ink.shapes, ink.holes, float(ink.density[30, 30]), float(ink.density[0, 0])
    (True, 1, 0, 1.0, 0.0)
    """
    size = max(3, round(WIDEST * min(brightness.shape)))
    around = np.pad(ndimage.gaussian_filter(brightness, size / 250), size, mode="edge")
    inner = slice(size, -size), slice(size, -size)
    paper, board = ndimage.grey_closing(around, size)[inner], ndimage.grey_opening(around, size)[inner]
    dark, light = paper - around[inner], around[inner] - board
    faint = FAINT * max(dark.max(), light.max())
    if faint < FAINT * CONTRAST:
        return None
    of_dark, of_light = _shapes(dark, faint), _shapes(light, faint)
    is_dark = max(of_dark.strokes, default=0) >= max(of_light.strokes, default=0)
    ink, found = (dark / np.maximum(paper, 1), of_dark) if is_dark else (light, of_light)
    kept, count = _of_one_digit(found)
    ink = np.where(kept, ink, 0)
    ink /= ink.max()
    _, areas = _label(np.pad(~kept, 1, constant_values=True))
    return Ink(np.where(ink < FAINT, 0, ink), bool(is_dark), count, areas - 1)


def _shapes(ink: Float[np.ndarray, "height width"], faint: float) -> _Shapes:
    mask = ink > faint
    labels, count = _label(mask, np.ones((3, 3)))
    numbers = labels[mask]
    mass, area = np.bincount(numbers, ink[mask], count + 1)[1:], np.bincount(numbers, minlength=count + 1)[1:]
    # Half a stroke's width is the largest distance to the paper. The ratio of area to its square is large if a shape
    # is long for its width: 20 and more for digits, 13 and less for the light between a digit and the edge of a shadow.
    half_width = np.zeros(count + 1)
    np.maximum.at(half_width, numbers, np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1][mask])
    strokes = np.where(mass < SMALL * mass.sum(), 0, area / half_width[1:] ** 2 * mass**0.25)
    return _Shapes(labels, mass, strokes, ndimage.find_objects(labels))


def _label(mask: np.ndarray, neighbours: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """`scipy.ndimage.label`, which by its annotations may return a number alone."""
    return cast(tuple[np.ndarray, int], ndimage.label(mask, neighbours))


def _of_one_digit(found: _Shapes) -> tuple[Bool[np.ndarray, "height width"], int]:
    """The pixels of the shape that looks most like strokes and of its parts, and how many such shapes there are."""
    main = int(found.strokes.argmax())
    side, kept, count = max(_lengths(found.box[main])), [main + 1], 1
    for other, box in enumerate(found.box):
        if other == main or found.mass[other] < SMALL * found.mass[main]:
            continue
        rows, columns = (_gap(one, two) for one, two in zip(box, found.box[main], strict=True))
        beside = columns >= 0 and _lengths(box)[0] >= 0.6 * _lengths(found.box[main])[0]
        if max(rows, columns) > NEAR * side or beside:
            count += found.strokes[other] >= 0.3 * found.strokes[main]
        else:
            kept.append(other + 1)
    return np.isin(found.labels, kept), int(count)


def _lengths(box: tuple[slice, slice]) -> tuple[int, int]:
    return box[0].stop - box[0].start, box[1].stop - box[1].start


def _gap(one: slice, two: slice) -> int:
    """How many pixels lie between two intervals; negative if they overlap."""
    return max(one.start, two.start) - min(one.stop, two.stop)
