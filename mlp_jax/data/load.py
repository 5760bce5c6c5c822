"""Loading a data set, or one part of it for each process."""

import hashlib
import os
import stat
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

from mlp_jax.data.array_files import Arrays, read_dataset
from mlp_jax.data.dataset import Dataset, DatasetError
from mlp_jax.data.idx import idx_sets, opened_idx
from mlp_jax.data.npz import opened_npz

MNIST_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
SOURCES = (
    "'mnist', which comes with the package; a directory of IDX files; an .npz file with x_train, y_train, x_test and "
    "y_test; or tfds:NAME[:CONFIG]"
)


def load_dataset(source: str | Path = "mnist", *, part: int = 0, parts: int = 1) -> Dataset:
    """The data set that `source` names, with all of its training examples or one of several equal parts of them.

    source: one of these.
        "mnist": the one in the package: 60,000 handwritten digits to train with and 10,000 to test with, 784 pixels
        each (LeCun, Cortes and Burges; see MNIST.md beside the file).
        A directory of four IDX files, raw or gzipped, named as MNIST, Fashion-MNIST, KMNIST and EMNIST were published
        (train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz, emnist-letters-test-images-idx3-ubyte and so on). If it
        holds several sets, DIR/emnist-letters means the files that begin so. Images and labels are the published ones:
        those of EMNIST have rows and columns exchanged, and its letters are numbered from 1: class 0 has no examples.
        An .npz file with x_train, y_train, x_test and y_test. Inputs x: rows of numbers (n, n_in), or images
        (n, height, width) or (n, height, width, channels); uint8, or finite floats, which are kept as they are.
        Targets y: integers (n,) or (n, 1), the class of each example, or finite floats (n, n_out) or (n,), the wanted
        outputs. It may have w_train and w_test, (n,) floats, the weights. Nothing in it is ever unpickled.
        "tfds:NAME" or "tfds:NAME:CONFIG": an image classification set of TensorFlow Datasets.
    part: which part of the training examples, from 0 to parts - 1, in their order. Only its inputs take memory. Each
        part comes with all test examples. parts: how many there are, a divisor of the number of training examples.

    There are as many classes as the largest of all training and test examples plus one, or as TFDS has names for.
    Arrays of more than 2**28 bytes that are not compressed stay in their file: they are a read-only np.memmap, and the
    checksum that an .npz has of them is not compared.

    Raises DatasetError, a ValueError, for another source, for data that are damaged or contradict one another, and for
    a part that does not exist.

    >>> from mlp_jax import load_dataset
    >>> data = load_dataset("mnist")
    >>> data.train.inputs.shape, data.test.targets[:3].tolist()
    ((60000, 784), [7, 2, 1])
    """
    if isinstance(source, str) and source.startswith("tfds:"):
        from mlp_jax.data.tfds import read_tfds

        name, _, config = source.removeprefix("tfds:").partition(":")
        return read_tfds(name, config or None, part, parts)
    with _opened(source) as arrays:
        return read_dataset(arrays, part, parts)


def _opened(source: str | Path) -> AbstractContextManager[Arrays]:
    if source == "mnist":
        return _opened_mnist()
    path = Path(source)
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError) as error:
        if path.name and os.path.isdir(path.parent) and path.name in idx_sets(path.parent):
            return opened_idx(path.parent, path.name)
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"there is no data set {str(source)!r} ({reason}): expected {SOURCES}") from error
    if stat.S_ISDIR(mode):
        return opened_idx(path)
    if stat.S_ISREG(mode) and path.suffix == ".npz":
        return opened_npz(path)
    raise DatasetError(f"{path} is no data set: expected {SOURCES}")


def _opened_mnist() -> AbstractContextManager[Arrays]:
    published = resources.files("mlp_jax.data").joinpath("mnist.npz").read_bytes()
    checksum = hashlib.sha256(published).hexdigest()
    if checksum != MNIST_SHA256:
        raise DatasetError(
            f"mlp_jax/data/mnist.npz has SHA-256 {checksum}, expected {MNIST_SHA256}: "
            "the file is damaged; install the package again"
        )
    return opened_npz(Path("mlp_jax/data/mnist.npz"), published)
