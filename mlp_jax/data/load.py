"""Loading a data set, or one part of it for each process."""

import hashlib
import os
import stat
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from mlp_jax.data.array_files import Arrays, read_dataset, rows_of_part
from mlp_jax.data.dataset import Dataset, DatasetError, Examples
from mlp_jax.data.folders import has_folders, load_pictures
from mlp_jax.data.idx import idx_sets, opened_idx
from mlp_jax.data.npz import opened_npz, read_whole_npz
from mlp_jax.data.oddities import said_if_odd
from mlp_jax.data.split import split_rows
from mlp_jax.data.table import SUFFIXES, load_table

MNIST_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
SOURCES = (
    "'mnist', a table (.csv, .tsv, .parquet, .feather), an .npz file, a directory of IDX files or of folders with "
    "pictures, or tfds:NAME[:CONFIG]"
)


def load_dataset(source: Any = "mnist", *, part: int = 0, parts: int = 1, **how: Any) -> Dataset:
    """The data set that `source` names, with all of its training examples or one of several equal parts of them.

    source: one of these.
        "mnist": the one in the package: 60,000 handwritten digits to train with and 10,000 to test with, 784 pixels
        each (LeCun, Cortes and Burges; see MNIST.md beside the file).
        A directory of four IDX files, raw or gzipped, named as MNIST, Fashion-MNIST, KMNIST and EMNIST were published
        (train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz, emnist-letters-test-images-idx3-ubyte and so on), or as
        QMNIST was. If it holds several sets, DIR/emnist-letters means the files that begin so. Images of EMNIST, known
        by that name, are turned upright. Its classes, and those of sets with a mapping.txt, have the names of their
        characters.
        A table, as `load_table` takes it: with `target`, the column to predict, and its other arguments.
        A directory with a folder of pictures for each class, as `load_pictures` takes it, with its arguments.
        An .npz file with x_train, y_train, x_test and y_test; or with x and y, a fraction `test_fraction` of which is
        drawn at random to test with, 0.2 if not given; with split="time" the last examples. Inputs x: rows of numbers
        (n, n_in), or images (n, height, width) or (n, height, width, channels); uint8, or finite floats, which are kept
        as they are. Targets y: integers (n,) or (n, 1), the class of each example, or finite floats (n, n_out) or (n,),
        the wanted outputs; or texts (n,), the names of classes. It may have w_train and w_test, or w, (n,) floats, the
        weights, and class_names, texts. Nothing in it is ever unpickled. Keys may be those of MedMNIST.
        "tfds:NAME" or "tfds:NAME:CONFIG": an image classification set of TensorFlow Datasets.
    part: which part of the training examples, from 0 to parts - 1, in their order. Only its inputs take memory. Each
        part comes with all test examples. parts: how many there are, a divisor of the number of training examples.
    how: of a table, of pictures, and of an .npz with x and y: arguments as above.

    There are as many classes as the largest of all training and test examples plus one, or as there are names.
    A DataWarning says what is probably a mistake: classes without examples, inputs that are nearly 0 or far from it.
    Arrays of more than 2**28 bytes that are not compressed stay in their file: they are a read-only np.memmap, and the
    checksum that an .npz has of them is not compared.

    Raises DatasetError, a ValueError, for another source, for data that are damaged or contradict one another, for
    arguments that other sources take, and for a part that does not exist.

    >>> from mlp_jax import load_dataset
    >>> data = load_dataset("mnist")
    >>> data.train.inputs.shape, data.test.targets[:3].tolist()
    ((60000, 784), [7, 2, 1])
    """
    if "target" in how and not is_table(source):
        raise DatasetError(
            f"{source} is no table: a target is a column of a {', '.join(SUFFIXES)} file or a data frame"
        )
    if "target" in how:
        return one_part(load_table(source, **how), part, parts)
    if is_table(source):
        raise DatasetError(f"{source} is a table: say which column is to be predicted, the target")
    if _is_directory(source) and not idx_sets(Path(source)) and has_folders(Path(source)):
        return one_part(load_pictures(source, **how), part, parts)
    if str(source).endswith(".npz") and Path(source).is_file() and (whole := read_whole_npz(Path(source))):
        examples, shape = whole
        return one_part(said_if_odd(_split(examples, shape, **how), source), part, parts)
    if how:
        raise DatasetError(f"{source} has training and test examples as it is: leave out {', '.join(how)}")
    if isinstance(source, str) and source.startswith("tfds:"):
        from mlp_jax.data.tfds import read_tfds

        name, _, config = source.removeprefix("tfds:").replace("/", ":", 1).partition(":")
        return said_if_odd(read_tfds(name, config or None, part, parts), source)
    with _opened(source) as arrays:
        dataset = read_dataset(arrays, part, parts)
    return dataset if source == "mnist" else said_if_odd(dataset, source)


def is_table(source: Any) -> bool:
    """Whether the source is a file that holds a table, by its name, or a table in memory."""
    if isinstance(source, str | Path):
        return str(source).lower().removesuffix(".gz").endswith(SUFFIXES)
    return True


def one_part(dataset: Dataset, part: int, parts: int) -> Dataset:
    """The data set with one of `parts` equal parts of its training examples. DatasetError if they do not divide."""
    rows = rows_of_part(len(dataset.train), part, parts)
    return dataset if parts == 1 else replace(dataset, train=dataset.train.rows(slice(rows.start, rows.stop)))


def _split(
    examples: Examples,
    image_shape: tuple[int, int, int] | None,
    *,
    test_fraction: float = 0.2,
    split: str = "random",
) -> Dataset:
    if split not in ("random", "time"):
        raise DatasetError(f"the split is {split!r}: expected random or time, because the arrays have no columns")
    classes = examples.targets if examples.has_classes else None
    train, test = split_rows(len(examples), test_fraction, classes, in_order=split == "time")
    return Dataset(examples.rows(train), examples.rows(test), image_shape, n_out=examples.n_out)


def _is_directory(source: Any) -> bool:
    return isinstance(source, str | Path) and source != "mnist" and os.path.isdir(source)


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
    if {".pkl", ".pickle"} & {*path.suffixes}:
        raise DatasetError(
            f"{path} is a pickle, which can run any program when it is opened: write its arrays to an .npz file with "
            "np.savez('data.npz', x_train=..., y_train=..., x_test=..., y_test=...); MNIST itself is inside, as mnist"
        )
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
