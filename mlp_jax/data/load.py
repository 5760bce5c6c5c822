"""Data sets by name, whole or in part."""

import hashlib
import io
import zipfile
from importlib import resources

import numpy as np
from numpy.lib import format as npy

from mlp_jax.data.dataset import Dataset, DatasetError

MNIST_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
PIECE = 2**18  # bytes decompressed at once: what the processor's cache still holds when it is copied


def load_dataset(source: str = "mnist", *, part: int = 0, parts: int = 1) -> Dataset:
    """The data set that `source` names, with all of its training images or one of several equal parts of them.

    "mnist" is the one inside the package: 60,000 handwritten digits to train on and 10,000 to test with, 784 pixels
    each (LeCun, Cortes and Burges; see MNIST.md beside the file).

    part: which part of the training images, from 0 to parts - 1: the parts follow one another, and side by side they
        are the whole. Memory is taken for the images of this part alone. parts: how many there are, 1 or more, a
        divisor of the number of training images. The test images are always all there.

    Raises DatasetError, a ValueError, for another name, for parts that cannot be equal, for a part that is not among
    them, or where the file is not the one that was published.
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
    with zipfile.ZipFile(io.BytesIO(published)) as arrays:
        return Dataset(
            train_images=_read(arrays, "x_train", part, parts).reshape(-1, 784),
            train_labels=_read(arrays, "y_train", part, parts).astype(np.int32),
            test_images=_read(arrays, "x_test").reshape(-1, 784),
            test_labels=_read(arrays, "y_test").astype(np.int32),
        )


def _read(arrays: zipfile.ZipFile, name: str, part: int = 0, parts: int = 1) -> np.ndarray:
    """One of the equal parts, one after another, of an array in an npz file, without the others in memory."""
    with arrays.open(f"{name}.npy") as file:
        npy.read_magic(file)
        (examples, *shape), _, dtype = npy.read_array_header_1_0(file)
        if parts < 1 or examples % parts:
            raise DatasetError(
                f"{examples} training images cannot be split into {parts} equal parts: let the number of parts, one "
                f"for each process, divide {examples}"
            )
        if not 0 <= part < parts:
            raise DatasetError(f"there is no part {part} of {parts}: expected 0 to {parts - 1}")
        rows = np.empty((examples // parts, *shape), dtype)
        memory = rows.data.cast("B")
        # Compressed bytes cannot be jumped over: the parts before this one are read too, and overwritten.
        for start in (part + 1) * list(range(0, len(memory), PIECE)):
            piece = memory[start : start + PIECE]
            piece[:] = file.read(len(piece))
    return rows
