"""Pictures of digits, converted to the format of MNIST."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from mlp_jax.data.dataset import DatasetError

SIDE = 28  # of an image of MNIST, in pixels
CENTRE = 14  # the row and the column at which the ink is centred
LARGEST = 1000  # pixels of a side that is looked at; larger pictures are reduced
HOLES = 3  # that a digit can have; an 8 has two, and untidy strokes enclose another
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
HEIC_NAMES = (".heic", ".heif")


class Frame(NamedTuple):
    """Where the ink lies in images of 28 x 28.

    box: its longer side in pixels, of most images. by_mass: whether its centre of mass is in the middle, as in MNIST,
    or the centre of the rectangle around it, as in EMNIST.

    >>> from mlp_jax import load_dataset
    >>> from mlp_jax.data.images import Frame
    >>> Frame.of(load_dataset("mnist").train.inputs[:200])
    Frame(box=20, by_mass=True)
    """

    box: int = 20
    by_mass: bool = True

    @classmethod
    def of(cls, images: UInt8[np.ndarray, "n 784"]) -> "Frame | None":
        """The frame of ink on black; None if the images fill all of their 28 x 28, as those of Fashion-MNIST do."""
        found = [_extent(image) for image in images.reshape(-1, SIDE, SIDE) if image.any()]
        box = round(np.median([side for side, _, _ in found])) if found else SIDE
        if box >= SIDE - 2:
            return None
        off_mass, off_rectangle = (np.mean([abs(centres[which] - CENTRE) for _, *centres in found]) for which in (0, 1))
        return cls(box, bool(off_mass < off_rectangle))

    def holds(self, image: Float[np.ndarray, "height width"]) -> bool:
        """Whether an image is like this already: black paper, and ink where it belongs."""
        if image.shape != (SIDE, SIDE) or np.median(image) > 0 or image.max() < 128:
            return False
        side, *centres = _extent(image)
        return bool(side <= self.box + 2 and np.all(np.abs(centres[not self.by_mass] - CENTRE) < 1.5))


class Digit(NamedTuple):
    """A picture as a network of 784 inputs sees it.

    pixels: (784,) uint8, 0 for no ink to 255 for full ink.
    inverted: the picture had dark ink on light paper.
    resized: the picture was not like the images of the frame, so the digit was cut out, scaled and centred.
    doubt: why it is not one digit, or empty.

    >>> from mlp_jax.data import Digit
    >>> Digit(np.zeros(784, np.uint8), inverted=False, resized=True).doubt
    ''
    """

    pixels: UInt8[np.ndarray, "784"]
    inverted: bool
    resized: bool
    doubt: str = ""


def read_digit(path: str | Path, frame: Frame = Frame()) -> Digit:  # noqa: B008 -- it cannot be changed
    """The digit or letter in an image file of any format and size, prepared as MNIST's were, or for another frame.

    Ink may be dark on light or light on dark, in uneven light, beside a shadow or with a table in view: see
    `mlp_jax.data.ink.find_ink`. If a picture has transparency and one colour, what is opaque is ink. The digit is cut
    out, scaled so that its longer side has 20 pixels, and placed with its centre of mass in the centre of 28 x 28
    (LeCun et al. 1998), unless the frame says otherwise. A picture of 28 x 28 pixels that is like this already, on
    black or white paper, stays as it is.

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
        raise unreadable(path, error) from error
    for inverted, pixels in ((False, brightness), (True, 255 - brightness)):
        if frame.holds(pixels):
            return Digit(np.rint(pixels).astype(np.uint8).ravel(), inverted, resized=False)
    from mlp_jax.data.ink import find_ink  # here, because it imports SciPy's image functions, which takes 0.2 s

    ink = find_ink(brightness)
    if ink is None:
        raise DatasetError(f"{path}: there is no ink in this picture: all of it is about equally bright")
    framed = _framed(ink.density, frame)
    doubt = ""
    if ink.shapes > 1:
        doubt = f"{ink.shapes} shapes lie apart in it"
    elif ink.holes > HOLES:
        doubt = f"it encloses {ink.holes} areas, a digit at most {HOLES}"
    return Digit(np.rint(255 * framed / framed.max()).astype(np.uint8).ravel(), ink.dark, resized=True, doubt=doubt)


def unreadable(path: str | Path, error: Exception) -> DatasetError:
    """The error to raise for a file that Pillow could not read, and that says so if a phone took it as HEIC."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        start = b""
    reason = str(error)
    if start[4:8] == b"ftyp" and start[8:] in HEIC:
        reason = "it is HEIC, the format of iPhones: save it as JPEG or PNG"
    return DatasetError(f"{path}: not a readable image ({reason})")


def on_white(image: Image.Image) -> Image.Image:
    """The picture without transparency, on white paper."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _brightness(image: Image.Image) -> Float[np.ndarray, "height width"]:
    """The brightness of each pixel, 0 to 255. Large pictures are reduced to LARGEST pixels a side."""
    if image.mode.startswith(("I", "F")):  # more than 8 bits, on a scale of its own
        levels = np.asarray(image, np.float64)
        if not np.isfinite(levels).all():
            raise ValueError("there are pixels that are not finite")
        image = Image.fromarray((255 * (levels - levels.min()) / max(np.ptp(levels), 1e-9)).astype(np.float32))
    else:
        image = _alpha_of_one_colour(image) or on_white(image).convert("L")
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return np.asarray(image, np.float64)


def _alpha_of_one_colour(image: Image.Image) -> Image.Image | None:
    """The opacity of a picture that has one colour only and transparency, which is its ink; None of any other."""
    if not image.has_transparency_data:
        return None
    image = image.convert("RGBA")
    pixels = np.asarray(image).reshape(-1, 4)
    colours, opacity = pixels[pixels[:, 3] > 0, :3], pixels[:, 3]
    one_colour = len(colours) and max(np.ptp(colours, axis=0)) < 16
    return image.getchannel("A") if one_colour and opacity.min() < opacity.max() else None


def _extent(image: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """The longer side of the ink, its centre of mass, and the centre of the rectangle around it."""
    places = np.array(np.nonzero(image))
    low, high = places.min(axis=1), places.max(axis=1) + 1
    return int(max(high - low)), np.average(places, axis=1, weights=image[image > 0]), (low + high) / 2


def _framed(ink: Float[np.ndarray, "height width"], frame: Frame) -> Float[np.ndarray, "28 28"]:
    """The digit in `ink`, 0 to 1, scaled and placed."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = Image.fromarray((255 * ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8))
    scale = frame.box / max(cut.size)
    width, height = (max(1, round(scale * length)) for length in cut.size)
    digit = np.asarray(cut.resize((width, height), Image.Resampling.LANCZOS), np.float64)
    row, column = CENTRE - height // 2, CENTRE - width // 2
    if frame.by_mass:
        row = CENTRE - round(digit.sum(axis=1) @ np.arange(height) / digit.sum())
        column = CENTRE - round(digit.sum(axis=0) @ np.arange(width) / digit.sum())
    # A digit whose mass lies at one end would leave the frame: it is placed as near to the centre as fits.
    row, column = min(max(row, 0), SIDE - height), min(max(column, 0), SIDE - width)
    framed = np.zeros((SIDE, SIDE))
    framed[row : row + height, column : column + width] = digit
    return framed
