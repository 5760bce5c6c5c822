"""Pictures of digits, converted to the format of MNIST."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from mlp_jax.data.dataset import DatasetError

SIDE = 28  # of an image of MNIST, in pixels
BOX = 20  # the longer side of the digit within it
CENTRE = 14  # row and column of the digit's centre of mass
FAINT = 0.2  # ink less dense than this is the grain of the paper; the densest ink is 1


class Digit(NamedTuple):
    """A picture as a network of 784 inputs sees it.

    pixels: (784,) uint8, 0 for no ink to 255 for full ink.
    inverted: the picture had dark ink on light paper.
    resized: the picture was not 28 x 28, so the digit was cut out, scaled and centred.

    >>> from mlp_jax.data import Digit
    >>> Digit(np.zeros(784, np.uint8), inverted=False, resized=True).resized
    True
    """

    pixels: UInt8[np.ndarray, "784"]
    inverted: bool
    resized: bool


def read_digit(path: str | Path) -> Digit:
    """The digit in an image file of any format and size, dark on light or light on dark, prepared as MNIST's were.

    The median of the picture's border is the paper; what differs from it is ink. A picture of 28 x 28 pixels is taken
    as it is, but inverted if its paper is light. From any other, the digit is cut out, scaled so that its longer side
    has 20 pixels, and placed with its centre of mass in the centre of 28 x 28 (LeCun et al. 1998).

    Raises DatasetError, a ValueError, for a file that is missing or not an image, or a picture without ink.

    >>> import tempfile
    >>> from mlp_jax.data import read_digit
    >>> picture = Image.new("L", (90, 120), 255)  # white paper
    >>> picture.paste(0, (40, 20, 50, 100))  # a black stroke, a 1
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     picture.save(f"{directory}/one.png")
    ...     digit = read_digit(f"{directory}/one.png")
    >>> digit.pixels.shape, int(digit.pixels.max()), digit.inverted, digit.resized
    ((784,), 255, True, True)
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # about pictures that Pillow can still open
            brightness = _brightness(ImageOps.exif_transpose(image))
    except Exception as error:  # a damaged file can make Pillow's decoders raise almost anything
        raise DatasetError(f"{path}: not a readable image ({error})") from error
    border = np.concatenate([brightness[0], brightness[-1], brightness[:, 0], brightness[:, -1]])
    paper, darkest, lightest = np.median(border), brightness.min(), brightness.max()
    if lightest - darkest < 16:
        raise DatasetError(f"{path}: there is no ink in this picture: all of it is about equally bright")
    inverted = bool(paper > (darkest + lightest) / 2)
    if brightness.shape == (SIDE, SIDE):
        pixels = 255 - brightness if inverted else brightness
        return Digit(np.rint(pixels).astype(np.uint8).ravel(), inverted, resized=False)
    ink = paper - brightness if inverted else brightness - paper
    framed = _framed(np.clip(ink / ink.max(), 0, 1))
    if framed.max() == 0:
        raise DatasetError(f"{path}: there is too little ink in this picture to see at {SIDE} x {SIDE} pixels")
    return Digit(np.rint(255 * framed / framed.max()).astype(np.uint8).ravel(), inverted, resized=True)


def _brightness(image: Image.Image) -> Float[np.ndarray, "height width"]:
    """The brightness of each pixel, 0 to 255; transparent pixels show white paper."""
    if image.mode.startswith(("I", "F")):  # more than 8 bits, on a scale of its own
        levels = np.asarray(image, np.float64)
        if not np.isfinite(levels).all():
            raise ValueError("there are pixels that are not finite")
        return 255 * (levels - levels.min()) / max(np.ptp(levels), 1e-9)
    return np.asarray(on_white(image).convert("L"), np.float64)


def on_white(image: Image.Image) -> Image.Image:
    """The picture without transparency, on white paper."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _framed(ink: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "28 28"]:
    """The digit in `ink`, 0 to 1, scaled into a box of 20 x 20 and placed by its centre of mass."""
    ink = np.where(ink < FAINT, 0, ink)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = Image.fromarray((255 * ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8))
    scale = BOX / max(cut.size)
    width, height = (max(1, round(scale * length)) for length in cut.size)
    digit = np.asarray(cut.resize((width, height), Image.Resampling.LANCZOS), np.float64)
    mass = max(digit.sum(), 1)  # the sum is 0 if thin lines vanished
    row = CENTRE - round(digit.sum(axis=1) @ np.arange(height) / mass)
    column = CENTRE - round(digit.sum(axis=0) @ np.arange(width) / mass)
    # A digit whose mass lies at one end would leave the frame: it is placed as near to the centre as fits.
    row, column = min(max(row, 0), SIDE - height), min(max(column, 0), SIDE - width)
    framed = np.zeros((SIDE, SIDE))
    framed[row : row + height, column : column + width] = digit
    return framed
