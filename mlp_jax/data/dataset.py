"""A data set: examples to learn from, and others to test with. Targets are classes or wanted outputs."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mlp_jax.data.split import stratified
from mlp_jax.network import described

if TYPE_CHECKING:
    from mlp_jax.data.preprocessing import Preprocessing

FLOATS = (np.float16, np.float32, np.float64)
CLASSES = 2**20  # a larger class is damage or no class
MANY = 1_000  # more classes than this are looked at for gaps
GAPS = 10  # times as many outputs as labels that occur: mistaken labels, or numbers to predict
PIECE = 2**20  # numbers checked at once, so that a mapped file is never in memory as a whole


class DatasetError(ValueError):
    """Data that cannot be used; the message names the fault and the file or array.

    >>> try:
    ...     Dataset(train=Examples(np.ones((2, 3)), np.array([0])), test=Examples(np.ones((2, 3)), np.array([0, 1])))
    ... except DatasetError as error:
    ...     print(str(error)[:55])
    train.targets are int64 of shape (1,) for 2 examples: e
    """


class DataWarning(UserWarning):
    """Something unusual in the data, and what was done about it.

    >>> import warnings
    >>> from mlp_jax.data import load_table
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     dataset = load_table({"id": [1, 2, 3, 4], "x": [0.1, 0.7, 0.2, 0.3], "y": [1.5, 2.5, 3.5, 4.5]}, "y")
    >>> print(caught[0].message)
    column id numbers the rows: left out
    """


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of a network, the targets wanted for them, and the weight of each example in the loss. A pytree.

    inputs: (n, n_in): uint8, of which 0 to 255 become 0 to 1 on the device, or floats, which are taken as they are.
    targets: (n,) integers, the class of each example, from 0; or (n, n_out) floats, the wanted outputs.
    weights: (n,) floats of 0 or more, see `loss`; if None, every example counts the same.

    `Dataset`, `evaluate` and `fit` refuse examples that `check_examples` refuses.

    >>> examples = Examples(np.array([[0.5, -1.0], [2.0, 0.0]]), np.array([1, 0]))
    >>> len(examples), examples.has_classes, examples.n_out
    (2, True, 2)
    """

    inputs: Any
    targets: Any
    weights: Any = None

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        weights = "" if self.weights is None else f", weights={described(self.weights)}"
        return f"Examples(inputs={described(self.inputs)}, targets={described(self.targets)}{weights})"

    def rows(self, rows: Any) -> "Examples":
        """Some of the examples: a slice, or an array of row numbers."""
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.inputs[rows], self.targets[rows], weights)

    @property
    def has_classes(self) -> bool:
        """True if the targets are classes, False if they are wanted outputs."""
        return np.ndim(self.targets) == 1

    @property
    def n_out(self) -> int:
        """How many outputs a network needs at least: the columns of the targets, or the largest class plus one."""
        return 1 + int(np.max(self.targets)) if self.has_classes else self.targets.shape[1]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in two parts, training and test.

    train, test: Examples of NumPy arrays, both with classes or both with wanted outputs.
    image_shape: height, width and channels, if every input is an image; its pixels lie in that order.
    class_names: of every class, from 0. feature_names: of the inputs, one for each column.
    n_out: how many outputs a network for these data has. If not given: one for each column of the targets or for each
        of class_names; without names, the largest class plus one.
    preprocessing: how the inputs were made of a table or of pictures; None if they are what the file has.

    Raises DatasetError if the two parts or the names do not fit together, and for what `check_examples` refuses.

    >>> examples = Examples(np.array([[0.5, -1.0], [2.0, 0.0]]), np.array([1, 0]))
    >>> dataset = Dataset(train=examples, test=examples, class_names=("no", "yes"))
    >>> dataset.n_in, dataset.n_out, dataset.first(1).train
    (2, 2, Examples(inputs=float64[1, 2], targets=int64[1]))
    """

    train: Examples
    test: Examples
    image_shape: tuple[int, int, int] | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    n_out: int = 0
    preprocessing: "Preprocessing | None" = None

    def __post_init__(self) -> None:
        check_examples(self.train, "train")
        check_examples(self.test, "test")
        train, test = self.train, self.test
        if train.has_classes != test.has_classes:
            raise DatasetError(
                f"train.targets have shape {train.targets.shape}, test.targets {test.targets.shape}: "
                "expected classes (n,) in both, or wanted outputs (n, n_out) in both"
            )
        for name in ("inputs", "targets"):
            ours, theirs = getattr(train, name), getattr(test, name)
            if ours.shape[1:] != theirs.shape[1:]:
                raise DatasetError(
                    f"train.{name} have {ours.shape[1]} columns, test.{name} {theirs.shape[1]}: one network cannot "
                    "take both"
                )
        object.__setattr__(self, "n_out", self._outputs())
        shape, n_in = self.image_shape, self.n_in
        if shape is not None and (len(shape) != 3 or min(shape) < 1 or math.prod(shape) != n_in):
            raise DatasetError(
                f"image_shape is {shape} for inputs of {n_in} columns: expected (height, width, channels), whose "
                f"product is {n_in}"
            )
        if self.feature_names is not None and len(self.feature_names) != n_in:
            raise DatasetError(f"there are {len(self.feature_names)} feature_names for {n_in} columns of inputs")

    def _outputs(self) -> int:
        names = self.class_names
        if not self.has_classes:
            if names is not None:
                raise DatasetError("there are class_names, but the targets are wanted outputs: leave the names out")
            if self.n_out not in (0, self.train.n_out):
                raise DatasetError(f"n_out is {self.n_out} for {self.train.n_out} columns of targets: leave it out")
            return self.train.n_out
        n_out = self.n_out or (max(self.train.n_out, self.test.n_out) if names is None else len(names))
        if names is None and n_out > MANY:
            _refuse_gaps(np.union1d(self.train.targets, self.test.targets), n_out)
        if names is not None and len(names) != n_out:
            raise DatasetError(f"there are {len(names)} class_names for {n_out} outputs: expected one each")
        for part, examples in (("train", self.train), ("test", self.test)):
            _check_classes(part, examples.targets, n_out)
        return n_out

    def __repr__(self) -> str:
        parts = {name: value for name, value in vars(self).items() if value is not None and name != "preprocessing"}
        for name in ("class_names", "feature_names"):
            if len(parts.get(name, ())) > 10:
                parts[name] = f"<{len(parts[name])} names>"
        return f"Dataset({', '.join(f'{name}={value}' for name, value in parts.items())})"

    @property
    def n_in(self) -> int:
        """How many numbers an input has."""
        return self.train.inputs.shape[1]

    @property
    def has_classes(self) -> bool:
        """True if the targets are classes, False if they are wanted outputs."""
        return self.train.has_classes

    def first(self, count: int) -> "Dataset":
        """The same data with the first `count` training examples only. Raises DatasetError if there are fewer."""
        if not 1 <= count <= len(self.train):
            raise DatasetError(f"{count} training examples are asked for: expected 1 to {len(self.train)}")
        return replace(self, train=self.train.rows(slice(count)))

    def held_out(self, count: int | float, *, last: bool = False) -> "Dataset":
        """The same data with `count` of the training examples in place of the test examples: to choose settings by.

        count: how many; below 1, which fraction of all. Which ones depends on the number of examples, `count` and the
        classes alone. How many of a class are held out is its proportion, rounded by the method of largest remainders.
        last: whether the last ones are held out instead, of examples in order of time.

        Raises DatasetError unless `count` leaves examples on both sides.
        """
        examples = len(self.train)
        count = max(1, round(count * examples)) if 0 < count < 1 else int(count)
        if not 0 < count < examples:
            raise DatasetError(f"{count} training examples are to be held out: expected 1 to {examples - 1}")
        if last:
            kept, out = slice(examples - count), slice(examples - count, None)
        else:
            kept, out = stratified(examples, count, self.train.targets if self.has_classes else None)
        return replace(self, train=self.train.rows(kept), test=self.train.rows(out))


def _refuse_gaps(labels: np.ndarray, n_out: int) -> None:
    """Raises DatasetError if there are many more classes than labels that occur."""
    if n_out > GAPS * len(labels):
        raise DatasetError(
            f"{len(labels)} different labels occur, from {labels[0]} to {labels[-1]}: a network would have {n_out} "
            "outputs; number them with names, labels = np.unique(labels, return_inverse=True), and give the names as "
            "class_names"
        )


def check_dataset(dataset: Dataset) -> None:
    """Raises DatasetError, which says how to make one, for anything that is no Dataset."""
    if isinstance(dataset, Dataset):
        return
    given, expected = f"the dataset is of type {type(dataset).__name__}", "Dataset(train=examples, test=others)"
    if not isinstance(dataset, Examples):
        expected = "Dataset(train=Examples(inputs, targets), test=Examples(inputs, targets))"
    raise DatasetError(f"{given}: expected {expected}, or load_dataset(...)")


def check_examples(examples: Examples, part: str = "examples", n_out: int | None = None) -> None:
    """Raises DatasetError, naming the array and the fault, unless a network can learn these examples in NumPy arrays.

    Refused are other types and shapes, lengths that differ, no examples, inputs or targets that are not finite,
    classes below 0 or from `n_out` on, and weights that are negative, not finite or all 0. part: for the message.
    """
    if not isinstance(examples, Examples):
        expected = "its part train or test" if isinstance(examples, Dataset) else "Examples(inputs, targets)"
        raise DatasetError(f"{part} is of type {type(examples).__name__}: expected {expected}")
    inputs, targets, weights = examples.inputs, examples.targets, examples.weights
    for name, array in ("inputs", inputs), ("targets", targets), ("weights", weights):
        if (array is not None or name != "weights") and type(array) not in (np.ndarray, np.memmap):
            raise DatasetError(f"{part}.{name} are of type {type(array).__name__}: expected a NumPy array")
    if inputs.dtype != np.uint8 and inputs.dtype not in FLOATS:
        raise DatasetError(
            f"{part}.inputs are {inputs.dtype}: expected uint8, which become 0 to 1, or floats; convert them, as with "
            ".astype(np.float32)"
        )
    if inputs.ndim != 2 or inputs.size == 0:
        what = "there is nothing in them" if inputs.size == 0 else "expected (n, n_in), one example a row"
        raise DatasetError(f"{part}.inputs have shape {inputs.shape}: {what}")
    _check_targets(part, targets, len(inputs))
    for name, array in ((f"{part}.inputs", inputs), (f"{part}.targets", targets)):
        if array.dtype in FLOATS:
            _check_finite(name, array)
    if examples.has_classes:
        _check_classes(part, targets, n_out or CLASSES)
    elif n_out is not None and targets.shape[1] != n_out:
        raise DatasetError(f"{part}.targets have {targets.shape[1]} columns: expected {n_out}, one for each output")
    if weights is not None:
        _check_weights(part, weights, len(inputs))


def _check_targets(part: str, targets: np.ndarray, examples: int) -> None:
    classes = np.issubdtype(targets.dtype, np.integer) and targets.dtype.isnative
    fits = targets.ndim == (1 if classes else 2) and len(targets) == examples and targets.size
    if fits and (classes or targets.dtype in FLOATS):
        return
    hint = ""
    if classes and targets.ndim == 2:
        hint = "; " + ("targets[:, 0]" if targets.shape[1] == 1 else "targets.argmax(axis=1) of one-hot rows")
    elif not classes and targets.dtype not in FLOATS:
        hint = "; convert them, as with .astype(int) or .astype(np.float32)"
    elif not classes and targets.ndim == 1:
        hint = "; targets[:, None] for one output, targets.astype(int) for classes"
    raise DatasetError(
        f"{part}.targets are {targets.dtype} of shape {targets.shape} for {examples} examples: expected integers "
        f"({examples},), the class of each, or floats ({examples}, n_out), the wanted outputs{hint}"
    )


def _check_classes(part: str, targets: np.ndarray, n_out: int) -> None:
    wrong = np.flatnonzero((targets < 0) | (targets >= n_out))
    if wrong.size:
        raise DatasetError(
            f"{part}.targets[{wrong[0]}] is {targets[wrong[0]]}: expected a class from 0 to {n_out - 1} "
            f"({wrong.size} of {len(targets)} are out of range)"
        )


def _check_weights(part: str, weights: np.ndarray, examples: int) -> None:
    if weights.shape != (examples,) or weights.dtype not in FLOATS:
        given = f"{weights.dtype} of shape {weights.shape}"
        raise DatasetError(f"{part}.weights are {given}: expected ({examples},) floats")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise DatasetError(f"{part}.weights[{wrong[0]}] is {weights[wrong[0]]}: expected finite numbers of 0 or more")
    if not weights.astype(jax.dtypes.canonicalize_dtype(weights.dtype)).any():  # float32, unless JAX is to use float64
        raise DatasetError(f"{part}.weights are all 0: no example would count")


def _check_finite(name: str, array: np.ndarray) -> None:
    step, on_device = max(1, PIECE // array.shape[1]), jax.dtypes.canonicalize_dtype(array.dtype)
    for start in range(0, len(array), step):
        with np.errstate(over="ignore"):  # float64 may leave the range of float32, which JAX makes of it
            finite = np.isfinite(array[start : start + step].astype(on_device, copy=False))
        if not finite.all():
            row, column = np.argwhere(~finite)[0] + (start, 0)
            raise DatasetError(
                f"{name}[{row}, {column}] is {array[row, column]}: expected finite numbers of {on_device}; leave "
                "such rows out, or put numbers in their place"
            )
