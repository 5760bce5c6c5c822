"""Augmentation: the same training images, changed a little in every epoch.

An Augment takes the training inputs and a seed, and returns the inputs of one epoch. `fit` takes one:

    >>> from mlp_jax.data import Augment
    >>> def brighter(images, seed):
    ...     return np.minimum(images, 200) + np.uint8(np.random.default_rng(seed).integers(50))
    >>> augment: Augment = brighter
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Num

Augment = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
"""Takes the training inputs, (n, n_in), and a seed, and returns those of an epoch, of the same shape and dtype."""


def shifted(
    images: Num[np.ndarray, "n n_in"], seed: tuple[int, ...], *, shape: tuple[int, int, int], pixels: int
) -> Num[np.ndarray, "n n_in"]:
    """Each image moved by up to `pixels` pixels up or down and left or right; all these moves are equally likely.

    images: one a row, of any dtype. seed: the moves depend only on it and on the number of images.
    shape: height, width and channels of an image. The pixels that come in at an edge are 0.

    Returns new images. Raises ValueError for a negative number of pixels, or one that could move an image out of sight.

    >>> from mlp_jax.data import shifted
    >>> image = np.array([[0, 0, 0, 0, 9, 0, 0, 0, 0]])  # 3 x 3 pixels
    >>> moved = shifted(image, (0,), shape=(3, 3, 1), pixels=1)
    >>> moved.shape, int(moved.sum())
    ((1, 9), 9)
    """
    if not 0 <= pixels < min(shape[:2]):
        raise ValueError(f"images are to be moved by up to {pixels} pixels: expected 0 to {min(shape[:2]) - 1}")
    down, right = np.random.default_rng(seed).integers(-pixels, pixels + 1, size=(2, len(images)))
    larger = np.pad(images.reshape(-1, *shape), [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(larger, shape, axis=(1, 2, 3))
    return windows[np.arange(len(images)), pixels - down, pixels - right, 0].reshape(images.shape)
