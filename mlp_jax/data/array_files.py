"""Arrays in files, and the data set that they make.

Headers are checked against contents, and numbers as they are read. All of it raises DatasetError, which names the file,
for files that cannot be read or contradict their headers, and for arrays that no data set can have.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_jax.data.dataset import CLASSES, FLOATS, Dataset, DatasetError, Examples
from mlp_jax.data.preprocessing import Preprocessing

PIECE = 2**18  # bytes read at once: few enough to be in the processor's cache when they are copied
MAPPED = 2**28  # bytes above which an array is mapped from its file, if its bytes lie there as they are
AT_ONCE = 1_000  # images turned upright at a time
TRUSTED = 8  # times its size in the file: memory that an array gets at once; if it expands further, it grows as it does

Fits = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stored:
    """An array in an open file: its header is read, its elements are not.

    name: of the file, and of the array if the file holds several, for messages.
    shape, dtype, fortran: as the header declares them; fortran if the first index varies fastest.
    file: gives the bytes of the elements, from the first one on. packed: how many bytes of the file hold them.
    size: how many bytes the elements really have; None if only reading tells.
    raw: the file and the offset of the first element, if the elements are not compressed.
    column: of labels, the column that has the classes; None if there is one only.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    file: BufferedIOBase
    packed: int
    size: int | None = None
    raw: tuple[Path, int] | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 1:
            raise DatasetError(f"{self.name} has shape {self.shape}: there is nothing in it")
        if self.size is not None and self.size != self.declared:
            raise self._wrong_size(f"has {self.size}", cut=self.size < self.declared)

    @property
    def declared(self) -> int:
        """Bytes that the elements have by the header."""
        return math.prod(self.shape) * self.dtype.itemsize

    def _wrong_size(self, found: str, cut: bool) -> DatasetError:
        return DatasetError(
            f"{self.name} {found} bytes after its header, which declares {self.declared} ({self.dtype}, "
            f"{' x '.join(map(str, self.shape))}): {'it was cut short' if cut else 'something was added to it'} or its "
            "header is damaged; get the file again"
        )

    def read(self, rows: range, dtype: type | np.dtype, fits: Fits, expected: str) -> np.ndarray:
        """The rows `rows` of the array, (len(rows), ...), as `dtype`.

        fits: marks the elements that `dtype` can hold and a data set can use; `expected` describes them in messages.

        Takes memory for the result, twice if it grows as it arrives, and for all rows if they lie in Fortran order.
        """
        count, row = math.prod(self.shape), math.prod(self.shape[1:])
        first, last = (0, count) if self.fortran else (rows.start * row, rows.stop * row)
        values = np.empty(min(last - first, TRUSTED * self.packed // np.dtype(dtype).itemsize + 1), dtype)
        element = 0
        while element < count:
            wanted = min(PIECE // self.dtype.itemsize, count - element) * self.dtype.itemsize
            with reading(self.name):
                piece = self.file.read(wanted)
            if len(piece) < wanted:
                raise self._wrong_size(f"ends {element * self.dtype.itemsize + len(piece)}", cut=True)
            elements = np.frombuffer(piece, self.dtype)
            start, stop = max(first - element, 0), min(last - element, len(elements))
            if start < stop:
                begin, end = element + start - first, element + stop - first
                if end > len(values):
                    values.resize(min(last - first, max(2 * len(values), end)), refcheck=False)
                fine = fits(elements[start:stop])
                if not fine.all():
                    wrong = start + int(fine.argmin())
                    with reading(self.name):  # a damaged header may declare more than NumPy can index
                        index = np.unravel_index(element + wrong, self.shape, "F" if self.fortran else "C")
                    raise DatasetError(f"{self.name}{[*map(int, index)]} is {elements[wrong]}: expected {expected}")
                values[begin:end] = elements[start:stop]
            element += len(elements)
        with reading(self.name):
            more = self.file.read(1)  # the end is also where a checksum is compared
        if more:
            raise self._wrong_size(f"has more than {self.declared}", cut=False)
        if self.fortran:
            return values.reshape(self.shape, order="F")[rows.start : rows.stop]
        return values.reshape(len(rows), *self.shape[1:])


class Arrays(NamedTuple):
    """The arrays that make a data set.

    transposed: whether rows and columns of the images are exchanged, as in EMNIST. first_class: the smallest label.
    class_names: of the classes, from the first on; None if they are in the targets or unknown.
    """

    train_inputs: Stored
    train_targets: Stored
    test_inputs: Stored
    test_targets: Stored
    train_weights: Stored | None = None
    test_weights: Stored | None = None
    transposed: bool = False
    first_class: int = 0
    class_names: tuple[str, ...] | None = None


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns exceptions of libraries, for a damaged file or one out of reach, into a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"{name}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file can make them raise almost anything
        raise DatasetError(f"{name}: cannot be read, it is damaged ({str(error) or type(error).__name__})") from error


def image_shape(inputs: Stored) -> tuple[int, int, int] | None:
    """Height, width and channels if `inputs` are images, None if they are rows of numbers."""
    name, shape = inputs.name, inputs.shape
    if len(shape) not in (2, 3, 4):
        raise DatasetError(
            f"{name} has shape {shape}: expected (n, n_in), (n, height, width) or (n, height, width, channels)"
        )
    if inputs.dtype != np.uint8 and inputs.dtype.newbyteorder("=") not in FLOATS:
        raise DatasetError(
            f"{name} is {inputs.dtype}: expected uint8, which become 0 to 1, or floats; save it with "
            ".astype(np.float32)"
        )
    if len(shape) == 4 and shape[1] <= 4 < shape[3]:
        raise DatasetError(
            f"{name} has shape {shape}, with its channels before its rows: expected (n, height, width, channels); "
            "save images.transpose(0, 2, 3, 1)"
        )
    return None if len(shape) == 2 else (shape[1], shape[2], shape[3] if len(shape) == 4 else 1)


def read_numbers(numbers: Stored, rows: range) -> np.ndarray:
    """The rows `rows` of uint8 or floats as they are, each flattened, in the byte order of this machine.

    An array of more than MAPPED bytes is mapped from its file if possible, and read as it is used. Its numbers may not
    be aligned in memory, and only `Dataset` checks that they are finite.
    """
    length = math.prod(numbers.shape[1:])
    if numbers.raw and numbers.declared > MAPPED and numbers.dtype.isnative and not numbers.fortran:
        path, offset = numbers.raw
        offset += rows.start * length * numbers.dtype.itemsize
        with reading(numbers.name):
            return np.memmap(path, numbers.dtype, "r", offset, (len(rows), length))
    dtype = numbers.dtype.newbyteorder("=")
    return numbers.read(rows, dtype, np.isfinite, "finite numbers").reshape(len(rows), length)


def read_targets(targets: Stored, inputs: Stored, rows: range) -> tuple[np.ndarray, int]:
    """The targets of the rows `rows` of `inputs`, and how many outputs all targets need; 0 if they are names."""
    name, shape, examples = targets.name, targets.shape, inputs.shape[0]
    if shape[0] != examples:
        raise DatasetError(f"{name} has {shape[0]} targets, {inputs.name} {examples} inputs: expected one each")
    if targets.dtype.newbyteorder("=") in FLOATS and len(shape) <= 2:
        return read_numbers(targets, rows), math.prod(shape[1:])
    if targets.dtype.kind == "U" and len(shape) == 1:
        return targets.read(rows, targets.dtype, lambda names: np.ones(len(names), bool), "a name"), 0
    if targets.dtype.kind not in "iu" or (shape[1:] not in ((), (1,)) and targets.column is None):
        one_hot = "; of one-hot rows, save targets.argmax(axis=1); of rows with several 1, targets.astype(np.float32)"
        one_hot = one_hot if targets.dtype.kind in "iu" else ""
        raise DatasetError(
            f"{name} is {targets.dtype} of shape {shape}: expected integers (n,), the class of each, texts (n,), its "
            f"name, or float16 to float64 (n, n_out), the wanted outputs{one_hot}"
        )

    def fits(classes: np.ndarray) -> np.ndarray:
        return (classes >= 0) & (classes < CLASSES)

    if targets.column is not None:
        classes = targets.read(range(examples), np.int32, lambda each: np.ones(len(each), bool), "an integer")
        classes = classes[:, targets.column]
    else:
        classes = targets.read(range(examples), np.int32, fits, f"0 to {CLASSES - 1}").ravel()
    return classes[rows.start : rows.stop], 1 + int(classes.max())


def read_examples(inputs: Stored, targets: Stored, weights: Stored | None, rows: range) -> tuple[Examples, int]:
    """The examples `rows`, and how many outputs all of them need."""
    wanted, n_out = read_targets(targets, inputs, rows)
    if weights is None:
        return Examples(read_numbers(inputs, rows), wanted), n_out
    if weights.shape != inputs.shape[:1] or weights.dtype.newbyteorder("=") not in FLOATS:
        raise DatasetError(
            f"{weights.name} is {weights.dtype} of shape {weights.shape}: expected floats {inputs.shape[:1]}, a weight "
            "for each example"
        )
    return Examples(read_numbers(inputs, rows), wanted, read_numbers(weights, rows)[:, 0]), n_out


def read_dataset(arrays: Arrays, part: int, parts: int) -> Dataset:
    """The data set of the arrays, with one of `parts` equal parts of its training examples."""
    shape = image_shape(arrays.train_inputs)
    image_shape(arrays.test_inputs)
    if arrays.train_inputs.shape[1:] != arrays.test_inputs.shape[1:]:
        raise DatasetError(
            f"{arrays.train_inputs.name} has shape {arrays.train_inputs.shape}, {arrays.test_inputs.name} "
            f"{arrays.test_inputs.shape}: one network cannot take inputs of different sizes"
        )
    examples = arrays.train_inputs.shape[0]
    rows = rows_of_part(examples, part, parts)
    train, of_train = read_examples(arrays.train_inputs, arrays.train_targets, arrays.train_weights, rows)
    tests = range(arrays.test_inputs.shape[0])
    test, of_test = read_examples(arrays.test_inputs, arrays.test_targets, arrays.test_weights, tests)
    n_out, names = max(of_train, of_test), arrays.class_names
    if arrays.transposed and shape is not None:
        train, test = (replace(each, inputs=_upright(each.inputs, shape)) for each in (train, test))
        shape = (shape[1], shape[0], shape[2])
    if arrays.first_class:
        train, test = (replace(each, targets=each.targets - arrays.first_class) for each in (train, test))
    if (of_train == 0) != (of_test == 0):
        raise DatasetError(f"of {arrays.train_targets.name} and {arrays.test_targets.name} only one holds names")
    if n_out == 0:
        if parts > 1:
            raise DatasetError(f"{arrays.train_targets.name} holds names, which each process would number otherwise")
        names = tuple(map(str, np.unique(np.concatenate([train.targets, test.targets]))))
        train, test = (replace(each, targets=np.searchsorted(names, each.targets)) for each in (train, test))
    if names is None:
        return Dataset(train, test, shape, n_out=n_out)
    return Dataset(train, test, shape, names, preprocessing=Preprocessing(class_names=names))


def _upright(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images (n, height x width x channels) with rows and columns exchanged, in place if they are in memory."""
    upright = images if images.flags.writeable else np.array(images)
    for start in range(0, len(images), AT_ONCE):
        some = upright[start : start + AT_ONCE]
        some[:] = some.reshape(-1, *shape).transpose(0, 2, 1, 3).reshape(len(some), -1).copy()
    return upright


def rows_of_part(examples: int, part: int, parts: int) -> range:
    """Which training examples are one of several equal parts. Raises DatasetError if there is no such part."""
    if parts < 1 or examples % parts:
        raise DatasetError(
            f"{examples} training examples cannot be split into {parts} equal parts: let the number of parts, one "
            f"for each process, divide {examples}"
        )
    if not 0 <= part < parts:
        raise DatasetError(f"there is no part {part} of {parts}: expected 0 to {parts - 1}")
    return range(part * examples // parts, (part + 1) * examples // parts)
