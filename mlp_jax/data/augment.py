"""More training images than there are: the same ones, a little changed in every epoch."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

Augment = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
"""Makes the images of an epoch of the training images, (n, pixels) uint8, and a seed; of the same shape and type."""


def shifted(
    images: UInt8[np.ndarray, "n pixels"], seed: tuple[int, ...], *, shape: tuple[int, int, int], pixels: int
) -> UInt8[np.ndarray, "n pixels"]:
    """Each image moved by up to `pixels` pixels up or down and left or right, every whole number as likely.

    seed: the moves depend on it, and on the number of images, alone.
    shape: height, width and channels of an image. What comes in at an edge has no ink.

    Returns new images. Raises ValueError for a negative number of pixels, or one by which all ink could leave.
    """
    if not 0 <= pixels < min(shape[:2]):
        raise ValueError(f"images are to be moved by up to {pixels} pixels: expected 0 to {min(shape[:2]) - 1}")
    down, right = np.random.default_rng(seed).integers(-pixels, pixels + 1, size=(2, len(images)))
    larger = np.pad(images.reshape(-1, *shape), [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(larger, shape, axis=(1, 2, 3))
    return windows[np.arange(len(images)), pixels - down, pixels - right, 0].reshape(images.shape)
