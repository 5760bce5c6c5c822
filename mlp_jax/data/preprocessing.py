"""From the columns of a table to the inputs of a network, and from its outputs to answers.

What was learned from the training rows (medians, categories, scaling) is kept with a network's parameters, so that new
rows are treated in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Float32

from mlp_jax.data.dataset import DatasetError
from mlp_jax.scaling import Scaling

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table

Kind = Literal["number", "yes_no", "text"]
YES, NO = ("yes", "true", "y", "t"), ("no", "false", "n", "f")
MISSING = ("", "?", "na", "n/a", "nan", "null")
"""Texts, in lower case, that say that a value is missing."""
MOST_CATEGORIES = 256
"""Of a column of text: what is rarer counts as missing."""
SHOWN = 5
"""How many names or values a message lists."""


@dataclass(frozen=True)
class Column:
    """A column of a table, and the inputs that are made of it.

    name: in the table's header.
    kind: number, one input; yes_no, one input, 0 or 1; text, one for each category, of which one is 1.
    fill: what a missing number counts as, the median of the training rows.
    marks_missing: whether one more input is 1 where the value is missing: if it was in a training row.
    low, high: of a number, the smallest and the largest in the training rows.
    categories: of text, all that are known; of yes_no, the two words.

    >>> from mlp_jax.data import Column
    >>> Column("sex", "text", marks_missing=True, categories=("female", "male")).feature_names
    ('sex = female', 'sex = male', 'sex is missing')
    """

    name: str
    kind: Kind
    fill: float = 0.0
    marks_missing: bool = False
    low: float = 0.0
    high: float = 1.0
    categories: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of its inputs."""
        if self.kind == "text":
            names = tuple(f"{self.name} = {category}" for category in self.categories)
        else:
            names = (self.name,)
        return (*names, f"{self.name} is missing") if self.marks_missing else names

    def encode(self, values: "ChunkedArray") -> tuple[Float[np.ndarray, "n inputs"], list[str]]:
        """The inputs of some rows, in units, and what is to be said of them."""
        notes = []
        if self.kind == "text":
            inputs, missing, unseen = _one_hot(values, self.categories)
            if unseen:
                notes.append(
                    f"{listed(unseen)} in column {self.name} count as missing: training knew {listed(self.categories)}"
                )
        else:
            numbers = numbers_of(self.name, values)
            missing = np.isnan(numbers)
            inputs = np.where(missing, self.fill, numbers)[:, None]
            if missing.any() and not self.marks_missing:
                notes.append(
                    f"column {self.name} has {missing.sum()} missing values, and had none in training: they count as "
                    f"its median, {self.fill:g}"
                )
        if self.marks_missing:
            inputs = np.concatenate([inputs, missing[:, None]], axis=1)
        return inputs, notes


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """How a table becomes the inputs of a network, and what its outputs mean.

    columns: those that are inputs, in the order of the network's; () for pictures.
    inputs: scales the inputs that the columns make; None for pictures, whose bytes from 0 to 255 become 0 to 1.
    target: the name of the column to predict; None for pictures.
    targets: scales the numbers to predict; None for classes.
    class_names: of the outputs; None for numbers.
    image_shape: of pictures, height, width and channels.
    interval: of a committee that predicts numbers, the margin of intervals around its answers that hold nine tenths of
        the true numbers, in units of `targets`; None if that was not measured.

    >>> from mlp_jax.data import load_table
    >>> table = {"age": [31, 47, 22, 58], "city": ["Rome", "Oslo", "Rome", None], "pay": [2.0, 3.5, 1.8, 4.1]}
    >>> dataset = load_table(table, "pay", test_fraction=0.25)
    >>> dataset.preprocessing.feature_names[0]
    'age'
    """

    columns: tuple[Column, ...] = ()
    inputs: Scaling | None = None
    target: str | None = None
    targets: Scaling | None = None
    class_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int] | None = None
    interval: float | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def unit(self) -> float:
        """What 1 in the network's output is in the units of the target."""
        return 1.0 if self.targets is None else float(self.targets.scale[0])

    def encode(self, table: "Table") -> tuple[Float32[np.ndarray, "n n_in"], list[str]]:
        """The inputs of a table's rows, scaled, and notes on what was unusual in it.

        Columns are found by name. Raises DatasetError for those that are missing and values that do not fit.
        """
        inputs, notes = self.unscaled(table)
        return (inputs if self.inputs is None else self.inputs(inputs)).astype(np.float32), notes

    def unscaled(self, table: "Table") -> tuple[Float[np.ndarray, "n n_in"], list[str]]:
        """The same inputs in their units."""
        names, mine = table.column_names, [column.name for column in self.columns]
        if missing := [name for name in mine if name not in names]:
            others = [name for name in names if name not in mine]
            there = f"; it has {listed(others)} besides" if others else ""
            raise DatasetError(f"the table has no column {listed(missing)}, which training had{there}")
        parts, notes = [np.zeros((table.num_rows, 0))], []
        for column in self.columns:
            inputs, more = column.encode(table.column(column.name))
            parts.append(inputs)
            notes += more
        return np.concatenate(parts, axis=1), notes

    def new_columns(self, table: "Table") -> list[str]:
        """The columns of a table that no input and no answer is made of."""
        known = {*(column.name for column in self.columns), self.target}
        return [name for name in table.column_names if name not in known]

    def numbers(self, outputs: Float[Any, "n 1"]) -> Float[np.ndarray, " n"]:
        """The network's outputs in the units of the target."""
        outputs = np.asarray(outputs, np.float64)
        return (outputs if self.targets is None else self.targets.undo(outputs))[:, 0]

    def to_document(self) -> dict[str, Any]:
        """Everything but the numbers of the scalings, as JSON can hold it."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "clip": None if self.inputs is None else self.inputs.clip,
            "target": self.target,
            "class_names": self.class_names,
            "image_shape": self.image_shape,
            **({} if self.interval is None else {"interval": self.interval}),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The numbers of the scalings."""
        scalings = {"inputs": self.inputs, "targets": self.targets}
        return {
            f"{name}.{part}": np.asarray(getattr(scaling, part), np.float64)
            for name, scaling in scalings.items()
            if scaling is not None
            for part in ("shift", "scale")
        }

    @classmethod
    def from_parts(cls, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Preprocessing":
        """What `to_document` and `to_arrays` were made of. KeyError, TypeError or ValueError for anything else."""

        def scaling(name: str, clip: float | None) -> Scaling | None:
            return (
                Scaling(arrays[f"{name}.shift"], arrays[f"{name}.scale"], clip) if f"{name}.shift" in arrays else None
            )

        columns = tuple(
            Column(**{**column, "categories": tuple(map(str, column["categories"]))}) for column in document["columns"]
        )
        names, shape, interval = document["class_names"], document["image_shape"], document.get("interval")
        made = cls(
            columns,
            scaling("inputs", document["clip"]),
            document["target"],
            scaling("targets", None),
            None if names is None else tuple(map(str, names)),
            None if shape is None else tuple(map(int, shape)),  # type: ignore[arg-type]
            None if interval is None else float(interval),
        )
        if made.inputs is not None and made.inputs.shift.shape != (len(made.feature_names),):
            raise ValueError(f"inputs.shift has shape {made.inputs.shift.shape} for {len(made.feature_names)} inputs")
        return made


def kind_of(name: str, values: "ChunkedArray") -> Kind:
    """What a column holds. Raises DatasetError for dates and anything that is neither numbers nor text."""
    import pyarrow.types as is_of

    dtype = values.type
    if is_of.is_integer(dtype) or is_of.is_floating(dtype) or is_of.is_decimal(dtype):
        return "number"
    if is_of.is_boolean(dtype):
        return "yes_no"
    if is_of.is_string(dtype) or is_of.is_large_string(dtype):
        words = {word.lower() for word in values.unique().to_pylist() if word is not None}
        return "yes_no" if words and words <= {*YES, *NO} else "text"
    if is_of.is_binary(dtype):
        raise DatasetError(f"column {name} holds bytes that are not UTF-8: save the table as CSV UTF-8")
    raise DatasetError(f"column {name} is {dtype}: expected numbers, text, or yes and no")


def numbers_of(name: str, values: "ChunkedArray") -> Float[np.ndarray, " n"]:
    """A column as numbers, yes as 1 and no as 0, NaN where missing. DatasetError for text and infinity."""
    import pyarrow as pa
    import pyarrow.types as is_of

    if is_of.is_string(values.type) or is_of.is_large_string(values.type):
        return _yes_as_one(name, values)
    if is_of.is_boolean(values.type):
        values = values.cast(pa.int8())
    try:
        numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) if len(values) else np.zeros(0)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DatasetError(f"column {name} is {values.type}: it held numbers in training") from error
    infinite = np.flatnonzero(np.isinf(numbers))
    if infinite.size:
        raise DatasetError(
            f"column {name} is {numbers[infinite[0]]} in row {infinite[0] + 1} (rows count from 1): put a finite "
            "number there, or leave it empty"
        )
    return numbers


def _yes_as_one(name: str, values: "ChunkedArray") -> Float[np.ndarray, " n"]:
    words = values.to_pylist()
    known = {None: np.nan} | dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)
    wrong = next((word for word in words if word is not None and word.lower() not in known), None)
    if wrong is not None:
        raise DatasetError(f"column {name} holds the text {wrong!r}: it held numbers, or yes and no, in training")
    return np.array([known[word if word is None else word.lower()] for word in words])


def _one_hot(
    values: "ChunkedArray", categories: Sequence[str]
) -> tuple[Float[np.ndarray, "n categories"], np.ndarray, list[str]]:
    """One-hot rows, which rows are missing or unknown, and the unknown categories."""
    import pyarrow as pa

    pc: Any = import_module("pyarrow.compute")  # Any, because it makes its functions when it is imported
    texts = values.cast(pa.string())
    places = pc.index_in(texts, value_set=pa.array(categories, pa.string()), skip_nulls=True)
    indices = pc.fill_null(places, -1).to_numpy()
    inputs = np.zeros((len(texts), len(categories)))
    known = np.flatnonzero(indices >= 0)
    inputs[known, indices[known]] = 1
    unseen = texts.filter(pc.and_(pc.is_null(places), pc.is_valid(texts))).unique().to_pylist()
    return inputs, indices < 0, unseen


def listed(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
