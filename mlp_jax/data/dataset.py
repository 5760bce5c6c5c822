"""A data set: labelled images to train on, and others to test with."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer, UInt8


class DatasetError(ValueError):
    """Data that cannot be used; the message says what is wrong with it, and where."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in two parts, training and test.

    train_images, test_images: one image a row, (n, pixels), uint8: 0 is no ink, 255 full ink.
    train_labels, test_labels: (n,), any integer type, from 0 to classes - 1.
    classes: how many kinds of image there are.
    image_shape: height, width and channels of every image, whose pixels lie in that order; None where unknown.

    Raises DatasetError, a ValueError, for another type or shape, lengths that differ, labels out of range, or no
    images at all.
    """

    train_images: UInt8[np.ndarray, "train pixels"]
    train_labels: Integer[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test pixels"]
    test_labels: Integer[np.ndarray, " test"]
    classes: int = 10
    image_shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        _check("train", self.train_images, self.train_labels, self.classes)
        _check("test", self.test_images, self.test_labels, self.classes)
        if self.train_images.shape[1] != self.test_images.shape[1]:
            raise DatasetError(
                f"train_images have {self.train_images.shape[1]} pixels, test_images {self.test_images.shape[1]}: "
                "one network cannot take both"
            )
        shape, pixels = self.image_shape, self.train_images.shape[1]
        if shape is not None and (len(shape) != 3 or min(shape) < 1 or math.prod(shape) != pixels):
            raise DatasetError(
                f"image_shape is {shape} for images of {pixels} pixels: expected (height, width, channels), whose "
                f"product is {pixels}"
            )

    def held_out(self, count: int) -> "Dataset":
        """The same data with `count` of the training images in place of the test images: to choose settings by.

        Which ones depends on their number and `count` alone. Raises DatasetError unless some are left on both sides.
        """
        examples = len(self.train_labels)
        if not 0 < count < examples:
            raise DatasetError(f"{count} training images are to be held out: expected 1 to {examples - 1}")
        chosen = np.random.default_rng(0).permutation(examples)
        out, left = np.sort(chosen[:count]), np.sort(chosen[count:])
        images, labels = self.train_images, self.train_labels
        return replace(
            self,
            train_images=images[left],
            train_labels=labels[left],
            test_images=images[out],
            test_labels=labels[out],
        )


def _check(part: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    for name, array in ((f"{part}_images", images), (f"{part}_labels", labels)):
        if not isinstance(array, np.ndarray):
            raise DatasetError(f"{name} is of type {type(array).__name__}: expected a NumPy array")
    if images.dtype != np.uint8:
        raise DatasetError(f"{part}_images are {images.dtype}: expected uint8, 0 for no ink to 255 for full ink")
    if images.ndim != 2:
        raise DatasetError(f"{part}_images have shape {images.shape}: expected (n, pixels), one image a row")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(f"{part}_labels are {labels.dtype}: expected an integer type")
    if labels.shape != images.shape[:1]:
        raise DatasetError(f"{part}_labels have shape {labels.shape} for {len(images)} images: expected one label each")
    if images.size == 0:
        raise DatasetError(f"{part}_images have shape {images.shape}: there is nothing in them")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DatasetError(
            f"{part}_labels[{wrong[0]}] is {labels[wrong[0]]}: expected 0 to {classes - 1} "
            f"({wrong.size} of {len(labels)} labels are out of range)"
        )
