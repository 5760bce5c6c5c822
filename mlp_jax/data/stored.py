"""Arrays as they lie in files: what their headers declare, held against what is there, and the data set they make."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from mlp_jax.data.dataset import Dataset, DatasetError

PIECE = 2**18  # bytes read at once: what the processor's cache still holds when they are copied
MAPPED = 2**28  # bytes above which an array that lies in its file as it is stays there
TRUSTED = 8  # times its size in the file that an array is given at once; where it expands further, as it does so
CLASSES = 2**20  # a label above is damage, or no label

CUT = "it was cut short or its header is damaged; get the file again"
LONG = "something was added to it or its header is damaged; get the file again"


@dataclass(frozen=True)
class Stored:
    """An array in an open file, its header read and its elements not.

    name: of the file, and of the array where it holds several, for messages.
    shape, dtype, fortran: as the header declares them; fortran where the first index runs fastest.
    file: what gives the elements' bytes, from the first one on.
    packed: how many bytes of the file hold them.
    size: how many bytes the elements have in fact, None where only reading tells.
    raw: the file and the first element's place in it where its bytes lie there as they are, None elsewhere.

    Raises DatasetError where there is nothing in it, or where shape and size contradict each other.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    file: BufferedIOBase
    packed: int
    size: int | None = None
    raw: tuple[Path, int] | None = None

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 1:
            raise DatasetError(f"{self.name} has shape {self.shape}: there is nothing in it")
        if self.size is not None and self.size != self.declared:
            raise DatasetError(
                f"{self.name} has {self.size} bytes after its header, which declares {self.declared} "
                f"({self.dtype}, {self._shape}): {CUT if self.size < self.declared else LONG}"
            )

    @property
    def declared(self) -> int:
        """Bytes that the elements have by the header."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def _shape(self) -> str:
        return " x ".join(str(length) for length in self.shape)

    def index(self, element: int) -> str:
        """Where in the array its element number `element` is, counted as they lie in the file."""
        index = []
        for length in self.shape if self.fortran else reversed(self.shape):
            element, place = divmod(element, length)
            index.append(place)
        return f"{self.name}{index if self.fortran else index[::-1]}"

    def read(self, rows: range, dtype: type, convert: "Convert") -> np.ndarray:
        """The rows `rows` of the array, (len(rows), ...), as `dtype`.

        `convert` turns elements of this array into numbers that the type holds; it is told where the first one is, as
        `index` takes it. Memory is taken for the result, twice where it grows with what arrives, and a piece of the
        file; for all rows where they lie in Fortran order.

        Raises DatasetError where the file cannot be read, or has less or more than its header declares.
        """
        count, row = math.prod(self.shape), math.prod(self.shape[1:])
        first, last = (0, count) if self.fortran else (rows.start * row, rows.stop * row)
        values = np.empty(min(last - first, TRUSTED * self.packed + 1), dtype)
        element = 0
        while element < count:
            wanted = min(PIECE // self.dtype.itemsize, count - element) * self.dtype.itemsize
            with reading(self.name):
                piece = self.file.read(wanted)
            if len(piece) < wanted:
                there = element * self.dtype.itemsize + len(piece)
                raise DatasetError(
                    f"{self.name} ends {there} bytes after its header, which declares {self.declared} "
                    f"({self.dtype}, {self._shape}): {CUT}"
                )
            elements = np.frombuffer(piece, self.dtype)
            start, stop = max(first - element, 0), min(last - element, len(elements))
            if start < stop:
                begin, end = element + start - first, element + stop - first
                if end > len(values):
                    values.resize(min(last - first, max(2 * len(values), end)), refcheck=False)
                values[begin:end] = convert(self, elements[start:stop], element + start)
            element += len(elements)
        with reading(self.name):
            more = self.file.read(1)  # the end is also where a checksum is compared
        if more:
            raise DatasetError(
                f"{self.name} goes on after the {self.declared} bytes that its header declares "
                f"({self.dtype}, {self._shape}): {LONG}"
            )
        if self.fortran:
            return values.reshape(self.shape, order="F")[rows.start : rows.stop]
        return values.reshape(len(rows), *self.shape[1:])


Convert = Callable[[Stored, np.ndarray, int], np.ndarray]


class Arrays(NamedTuple):
    """The four arrays that make a data set."""

    train_images: Stored
    train_labels: Stored
    test_images: Stored
    test_labels: Stored


@contextmanager
def reading(name: str) -> Iterator[None]:
    """What libraries raise on a file that is damaged or out of reach, as a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"{name}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file can make them raise almost anything
        raise DatasetError(f"{name}: cannot be read, it is damaged ({str(error) or type(error).__name__})") from error


def image_shape(images: Stored) -> tuple[int, int, int] | None:
    """Height, width and channels of `images`, None where only the number of pixels is known.

    Raises DatasetError where they are no images: not (n, height, width), (n, height, width, channels) or (n, pixels)
    of uint8 or floats.
    """
    name, shape = images.name, images.shape
    if len(shape) not in (2, 3, 4):
        raise DatasetError(
            f"{name} has shape {shape}: expected (n, height, width), (n, height, width, channels) or (n, pixels)"
        )
    if images.dtype != np.uint8 and images.dtype.str[1:] not in ("f2", "f4", "f8"):
        raise DatasetError(
            f"{name} is {images.dtype}: expected uint8, 0 for no ink to 255 for full ink, or floats from 0 to 1; "
            "convert it and save it again"
        )
    if len(shape) == 4 and shape[1] <= 4 < shape[3]:
        raise DatasetError(
            f"{name} has shape {shape}, with its channels before its rows: expected (n, height, width, channels); "
            "save images.transpose(0, 2, 3, 1)"
        )
    return None if len(shape) == 2 else (shape[1], shape[2], shape[3] if len(shape) == 4 else 1)


def read_images(images: Stored, rows: range) -> UInt8[np.ndarray, "n pixels"]:
    """The images `rows`, one a row; a float x, from 0 to 1, becomes the integer nearest to 255 x.

    Those of more than MAPPED bytes that lie in their file as they are stay there, and are read where they are used.

    Raises DatasetError where the file is not what it says, or a float is not from 0 to 1.
    """
    pixels = math.prod(images.shape[1:])
    if images.raw and images.declared > MAPPED and images.dtype == np.uint8 and not images.fortran:
        path, offset = images.raw
        with reading(images.name):
            return np.memmap(path, np.uint8, "r", offset + rows.start * pixels, (len(rows), pixels))

    return images.read(rows, np.uint8, _as_pixels).reshape(len(rows), pixels)


def _as_pixels(images: Stored, elements: np.ndarray, first: int) -> np.ndarray:
    if elements.dtype == np.uint8:
        return elements
    with np.errstate(invalid="ignore"):
        outside = ~((elements >= 0) & (elements <= 1))  # NaN is outside too
    if outside.any():
        wrong = int(outside.argmax())
        raise DatasetError(
            f"{images.index(first + wrong)} is {elements[wrong]}: expected floats from 0 to 1, or uint8 from 0 to 255"
        )
    return np.rint(255 * elements.astype(np.float64))


def read_labels(labels: Stored, images: Stored) -> Int32[np.ndarray, " n"]:
    """The labels that belong to `images`.

    Raises DatasetError where the file is not what it says, or there is not one label, an integer from 0 on, for each.
    """
    name, shape = labels.name, labels.shape
    if len(shape) == 2 and shape[1] > 1:
        raise DatasetError(
            f"{name} has shape {shape}: expected (n,), one label each; of one-hot rows, save labels.argmax(axis=1)"
        )
    if len(shape) > 2 or labels.dtype.kind not in "iu":
        raise DatasetError(f"{name} is {labels.dtype} of shape {shape}: expected integers, (n,) or (n, 1)")
    count, wanted = math.prod(shape), images.shape[0]
    if count != wanted:
        raise DatasetError(f"{name} has {count} labels, {images.name} {wanted} images: expected one each")

    return labels.read(range(count), np.int32, _as_labels).ravel()


def _as_labels(labels: Stored, elements: np.ndarray, first: int) -> np.ndarray:
    outside = (elements < 0) | (elements >= CLASSES)
    if outside.any():
        wrong = int(outside.argmax())
        raise DatasetError(f"{labels.index(first + wrong)} is {elements[wrong]}: expected 0 to {CLASSES - 1}")
    return elements


def read_dataset(arrays: Arrays, part: int, parts: int) -> Dataset:
    """The data set of the four arrays, with one of the equal parts of its training images.

    Raises DatasetError where they contradict one another, are not what they say, or cannot be parted so.
    """
    shape = image_shape(arrays.train_images)
    image_shape(arrays.test_images)
    if arrays.train_images.shape[1:] != arrays.test_images.shape[1:]:
        raise DatasetError(
            f"{arrays.train_images.name} has shape {arrays.train_images.shape}, {arrays.test_images.name} "
            f"{arrays.test_images.shape}: one network cannot take images of different sizes"
        )
    examples = arrays.train_images.shape[0]
    if parts < 1 or examples % parts:
        raise DatasetError(
            f"{examples} training images cannot be split into {parts} equal parts: let the number of parts, one "
            f"for each process, divide {examples}"
        )
    if not 0 <= part < parts:
        raise DatasetError(f"there is no part {part} of {parts}: expected 0 to {parts - 1}")
    rows = range(part * examples // parts, (part + 1) * examples // parts)
    train_labels = read_labels(arrays.train_labels, arrays.train_images)
    test_labels = read_labels(arrays.test_labels, arrays.test_images)
    return Dataset(
        train_images=read_images(arrays.train_images, rows),
        train_labels=train_labels[rows.start : rows.stop],
        test_images=read_images(arrays.test_images, range(arrays.test_images.shape[0])),
        test_labels=test_labels,
        classes=1 + int(max(train_labels.max(), test_labels.max())),
        image_shape=shape,
    )
