"""Pictures that are unlike all that a network was trained on."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from mlp_jax.data.dataset import Dataset, DatasetError

TRAINING = 30_000  # images of the training set that pictures are compared with
TEST = 1_000  # of the test set that say how unlike an image may be
BEYOND = 0.02  # of these are called unlike: as many false alarms are to be expected
AT_ONCE = 1_000


def are_unlike(pictures: UInt8[np.ndarray, "n n_in"], dataset: Dataset) -> Bool[np.ndarray, " n"]:
    """Which pictures are further from all training images than 98 % of the test images are.

    pictures: rows of pixels, 0 to 255, as the images of the dataset.

    The distance is 1 minus the largest cosine to any of 30,000 training images, all blurred by one pixel. With MNIST,
    2 % of other test digits are unlike, 2 % of digits and 38 % of letters in 60 typefaces, and 27 % of noise. Letters
    such as o, l, s, z and B are too like digits to be seen this way.

    Raises DatasetError for images of unknown shape.

    >>> from mlp_jax import load_dataset
    >>> from mlp_jax.data.unlike import are_unlike
    >>> data = load_dataset("mnist")
    >>> stripes = np.tile(np.array([0, 255, 255, 0], np.uint8), 196)
    >>> are_unlike(np.stack([data.test.inputs[5_000], stripes]), data).tolist()
    [False, True]
    """
    if dataset.image_shape is None:
        raise DatasetError("the dataset has no image_shape: expected images of a known height and width")
    step = max(1, len(dataset.train) // TRAINING)
    training = _directions(dataset.train.inputs[::step][:TRAINING], dataset.image_shape)

    def distances(images: np.ndarray) -> Float[np.ndarray, " n"]:
        parts = (images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))
        return np.concatenate([1 - (_directions(part, dataset.image_shape) @ training.T).max(axis=1) for part in parts])

    return distances(pictures) > np.quantile(distances(dataset.test.inputs[:TEST]), 1 - BEYOND)


def _directions(images: np.ndarray, shape: tuple[int, int, int] | None) -> Float[np.ndarray, "n n_in"]:
    """Images, blurred and of length 1. One without ink stays 0."""
    blurred = ndimage.gaussian_filter(images.reshape(-1, *(shape or ())).astype(np.float32), (0, 1, 1, 0))
    rows = blurred.reshape(len(images), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
