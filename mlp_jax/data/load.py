"""Data sets by name."""

import hashlib
import io
from importlib import resources

import numpy as np

from mlp_jax.data.dataset import Dataset, DatasetError

MNIST_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"


def load_dataset(source: str = "mnist") -> Dataset:
    """The data set that `source` names.

    "mnist" is the one inside the package: 60,000 handwritten digits to train on and 10,000 to test with, 784 pixels
    each (LeCun, Cortes and Burges; see MNIST.md beside the file).

    Raises DatasetError, a ValueError, for another name, or where the file is not the one that was published.
    """
    if source != "mnist":
        raise DatasetError(f"there is no data set {source!r}: expected 'mnist', the one inside the package")
    published = resources.files("mlp_jax.data").joinpath("mnist.npz").read_bytes()
    checksum = hashlib.sha256(published).hexdigest()
    if checksum != MNIST_SHA256:
        raise DatasetError(
            f"mlp_jax/data/mnist.npz has SHA-256 {checksum}, expected {MNIST_SHA256}: "
            "the file is damaged; install the package again"
        )
    with np.load(io.BytesIO(published), allow_pickle=False) as arrays:
        return Dataset(
            train_images=arrays["x_train"].reshape(-1, 784),
            train_labels=arrays["y_train"].astype(np.int32),
            test_images=arrays["x_test"].reshape(-1, 784),
            test_labels=arrays["y_test"].astype(np.int32),
        )
