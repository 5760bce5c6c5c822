"""Tables: CSV, TSV, Parquet and Feather files, data frames, and dicts of columns."""

import csv
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlp_jax.data.dataset import Dataset, DatasetError, DataWarning, Examples
from mlp_jax.data.preprocessing import (
    MISSING,
    MOST_CATEGORIES,
    NO,
    YES,
    Column,
    Preprocessing,
    kind_of,
    listed,
    numbers_of,
)
from mlp_jax.data.split import split_rows
from mlp_jax.scaling import Scaling, robust_scaling, standard_scaling

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table

Task = Literal["classification", "regression"]
ScalingName = Literal["robust", "standard", "none"]

SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq", ".feather", ".arrow")
"""The endings of files that hold a table; those of text may have .gz behind them."""
SEPARATORS = ",;\t|"
FEW = 20
"""Integers of at most so many different values are classes; more are numbers. So are categories beyond doubt."""
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def load_table(
    source: Any,
    target: str,
    *,
    test: Any = None,
    test_fraction: float = 0.2,
    split: str = "random",
    task: Task | None = None,
    scaling: ScalingName = "robust",
    ignore: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
) -> Dataset:
    """The rows of a table as a data set: one column is predicted, the others are inputs.

    source: the path of a CSV, TSV, Parquet or Feather file; a data frame of pandas or Polars; or a dict of columns.
    target: the column to predict. Text, and yes and no, are classes; floats are numbers; integers are classes if there
        are at most 20 different ones, each twice or more. task: "classification" or "regression" decides otherwise.
    test: another such table, to test with. If not given, rows of `source` are: the column `split` says "train" or
        "test" of each; or `test_fraction` of all, above 0 and below 1, drawn at random with the same fraction of each
        class; or, with split "time", the last ones.
    scaling: of columns of numbers: "robust", "standard" (see `mlp_jax.scaling`) or "none". Numbers to predict always
        become standard; `dataset.preprocessing.numbers` gives the network's outputs in their unit.
    ignore: columns that are no inputs. preprocessing: one that was learned before, of the same target; the rows are
        then encoded as it says, and task, scaling and ignore are not used.

    Text becomes one-hot, at most 256 categories a column; yes and no become 1 and 0; a missing number becomes the
    column's median. A column with missing values gets one more input that says where. All of this is learned from the
    training rows, and kept in `dataset.preprocessing`. Columns that cannot be inputs are left out with a DataWarning:
    row numbers, columns that are empty, and text that is another in most rows.

    Raises DatasetError for a table that cannot be read or has no rows, columns that do not exist, dates, infinity,
    targets that are missing, all the same, or of more classes than half the rows.

    >>> table = {"legs": [2, 4, 4, 2], "fur": ["no", "yes", "yes", "no"], "kind": ["bird", "cat", "cat", "bird"]}
    >>> dataset = load_table(table, "kind", test_fraction=0.5)
    >>> dataset.feature_names, dataset.class_names
    (('legs', 'fur'), ('bird', 'cat'))
    """
    table = read_table(source)
    _check_names(table, [target], "target")
    _check_names(table, ignore, "column to ignore")
    if table.num_rows < 2:
        raise DatasetError(f"{_named(source)} has {table.num_rows} rows: expected 2 or more, to train and to test with")
    by_column = test is None and split not in ("random", "time")
    if by_column:
        _check_names(table, [split], "column to split by")
    if preprocessing is None:
        classes = _is_classification(table.column(target), target, task)
        names = _class_names(table.column(target), target) if classes else None
    else:
        classes, names = preprocessing.class_names is not None, preprocessing.class_names
    answers = _targets(table.column(target), target, names)
    if test is not None:
        rows, tests = np.arange(table.num_rows), None
    elif by_column:
        rows, tests = _rows_by_column(split, table.column(split))
    else:
        rows, tests = split_rows(table.num_rows, test_fraction, answers if classes else None, in_order=split == "time")
    train = table.take(rows)
    if preprocessing is None:
        no_inputs = {target, *ignore, *([split] if by_column else [])}
        columns = _columns(train, no_inputs | _row_numbers(table, no_inputs))
        preprocessing = Preprocessing(columns, target=target, class_names=names)
        preprocessing = replace(preprocessing, inputs=_scaling(scaling, columns, preprocessing.unscaled(train)[0]))
        if not classes:
            preprocessing = replace(preprocessing, targets=standard_scaling(answers[rows]))
    if tests is None:
        tested = read_table(test)
        _check_names(tested, [target], "target")
        if not tested.num_rows:
            raise DatasetError(f"{_named(test)} has no rows: expected some to test with")
        test_answers = _targets(tested.column(target), target, names)
    else:
        tested, test_answers = table.take(tests), answers[tests]
    answers = answers[rows]
    if preprocessing.targets is not None:
        answers, test_answers = (preprocessing.targets(each).astype(np.float32) for each in (answers, test_answers))
    return Dataset(
        Examples(preprocessing.encode(train)[0], answers),
        Examples(_encoded(preprocessing, tested), test_answers),
        class_names=names,
        feature_names=preprocessing.feature_names,
        preprocessing=preprocessing,
    )


def read_table(source: Any) -> "Table":
    """A table of any kind that `load_table` takes, its columns as PyArrow has them. Raises DatasetError."""
    import pyarrow as pa

    try:
        if isinstance(source, str | Path):
            table = _read_file(Path(source))
        elif type(source).__module__.startswith("pandas"):
            table = pa.Table.from_pandas(source, preserve_index=False)
        elif isinstance(source, pa.Table | Mapping) or hasattr(source, "__arrow_c_stream__"):
            table = pa.table(source)
        else:
            raise DatasetError(
                f"the table is of type {type(source).__name__}: expected a path, a data frame or a dict of columns"
            )
    except OSError as error:
        raise DatasetError(f"{source} cannot be read ({error.strerror or error})") from error
    except (pa.ArrowException, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{_named(source)} is no table that can be read ({str(error).splitlines()[0]})") from error
    names = [str(name).strip() for name in table.column_names]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DatasetError(f"{_named(source)} has several columns named {listed(twice)}: give each its own name")
    return pa.table({name: _plain(column) for name, column in zip(names, table.columns, strict=True)})


def encoded_rows(preprocessing: Preprocessing, source: Any) -> tuple["Table", np.ndarray]:
    """A table to predict for, and the inputs of its rows, as a network was trained on them.

    What is unusual in it is a DataWarning: unknown categories, columns that training had not. Raises DatasetError for
    columns that are missing and what cannot be read.

    >>> from mlp_jax.data import encoded_rows
    >>> data = load_table({"x": [0.0, 1.5, 2.0, 3.0], "y": [1.5, 2.5, 3.5, 4.5]}, "y", scaling="none")
    >>> encoded_rows(data.preprocessing, {"x": [7.0, 8.0]})[1].tolist()
    [[7.0], [8.0]]
    """
    table = read_table(source)
    if not table.num_rows:
        raise DatasetError(f"{_named(source)} has no rows")
    inputs = _encoded(preprocessing, table)
    if preprocessing.columns and (others := preprocessing.new_columns(table)):
        warnings.warn(f"column {listed(others)} is no input of the network: not used", DataWarning, stacklevel=2)
    return table, inputs


def _named(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else "the table"


def _encoded(preprocessing: Preprocessing, table: "Table") -> np.ndarray:
    inputs, notes = preprocessing.encode(table)
    for note in notes:
        warnings.warn(note, DataWarning, stacklevel=3)
    return inputs


def _read_file(path: Path) -> "Table":
    import pyarrow.feather
    import pyarrow.parquet

    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() in (".parquet", ".pq"):
        return pyarrow.parquet.read_table(path)
    if suffix.lower() in (".feather", ".arrow"):
        return pyarrow.feather.read_table(path)
    return _read_csv(path)


def _read_csv(path: Path, decimal_point: str = ".") -> "Table":
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    compute: Any = import_module("pyarrow.compute")  # Any, because it makes its functions when it is imported
    with pa.input_stream(str(path)) as stream:  # unpacks .gz
        content = stream.read()
    try:
        header = content[: content.find(b"\n") + 1 or len(content)].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 ({error.reason}): save it as CSV UTF-8") from error
    if not header.strip():
        raise DatasetError(f"{path} is empty: expected names of columns in its first line")
    separator = max(SEPARATORS, key=header.count)
    names = next(csv.reader([header], delimiter=separator))
    if sum(_is_number(name) for name in names) > len(names) / 2:
        raise DatasetError(f"{path} begins with {header.strip()[:60]!r}: expected names of columns in its first line")
    words = [*MISSING, *(word.upper() for word in MISSING), "NaN", "Null", "#N/A"]
    table = arrow_csv.read_csv(
        pa.BufferReader(content),
        arrow_csv.ReadOptions(block_size=max(2**20, len(content))),  # types are guessed from the first block
        arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        arrow_csv.ConvertOptions(null_values=words, strings_can_be_null=True, decimal_point=decimal_point),
    )
    for place, column in enumerate(table.columns):
        if column.type != pa.string():
            continue
        stripped = compute.utf8_trim_whitespace(column)
        missing = compute.is_in(compute.utf8_lower(stripped), value_set=pa.array(MISSING))
        if compute.any(missing).as_py():  # with blanks around them, which the reader does not expect
            stripped = _as_numbers(compute.if_else(missing, pa.scalar(None, pa.string()), stripped))
        elif decimal_point == "." and _all_match(DECIMAL_COMMA, stripped):
            return _read_csv(path, ",")
        table = table.set_column(place, table.column_names[place], stripped)
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_numbers(texts: "ChunkedArray") -> "ChunkedArray":
    import pyarrow as pa

    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return texts


def _all_match(pattern: re.Pattern[str], texts: "ChunkedArray") -> bool:
    known = [text for text in texts.unique().to_pylist() if text is not None]
    return bool(known) and all(map(pattern.fullmatch, known))


def _plain(column: "ChunkedArray") -> "ChunkedArray":
    """A column with its categories, if it has some, as text or numbers, and text in one of PyArrow's ways."""
    import pyarrow as pa
    import pyarrow.types as is_of

    if is_of.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_of.is_large_string(column.type) or is_of.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _check_names(table: "Table", names: Sequence[str], what: str) -> None:
    for name in names:
        if name not in table.column_names:
            close = get_close_matches(name, table.column_names, 3, 0.5) or table.column_names[:10]
            raise DatasetError(f"there is no column {name!r}, the {what}: expected one of {', '.join(close)} ...")


def _is_classification(values: "ChunkedArray", target: str, task: Task | None) -> bool:
    import pyarrow.types as is_of

    if task is not None:
        if task == "regression" and kind_of(target, values) == "text":
            raise DatasetError(f"the target {target} is text: expected numbers for a regression")
        return task == "classification"
    if kind_of(target, values) != "number":
        return True
    if not is_of.is_integer(values.type):
        return False
    counts = [each["counts"] for each in values.drop_null().value_counts().to_pylist()]
    return len(counts) <= FEW and min(counts, default=0) > 1


def _class_names(values: "ChunkedArray", target: str) -> tuple[str, ...]:
    known = sorted(value for value in values.unique().to_pylist() if value is not None)
    if len(known) < 2:
        given = f"{known[0]!r} in every row" if known else "empty"
        raise DatasetError(f"the target {target} is {given}: there is nothing to learn")
    if len(known) > len(values) / 2:
        raise DatasetError(
            f"the target {target} has {len(known)} classes in {len(values)} rows: expected at most half as many; "
            "numbers are predicted with the task regression"
        )
    return tuple(map(str, known))


def _targets(values: "ChunkedArray", target: str, names: tuple[str, ...] | None) -> np.ndarray:
    """The class of each row, (n,), or the number, (n, 1). Raises DatasetError for missing ones and new classes."""
    if values.null_count:
        first = values.is_null().to_pylist().index(True) + 1
        raise DatasetError(
            f"the target {target} is missing in {values.null_count} of {len(values)} rows, first in row {first} (rows "
            "count from 1): leave those rows out"
        )
    if names is None:
        numbers = numbers_of(target, values)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if wrong.size:
            raise DatasetError(
                f"the target {target} is not a number in {wrong.size} rows, first in row {wrong[0] + 1} (rows count "
                "from 1): leave those rows out"
            )
        if len(numbers) > 1 and numbers.min() == numbers.max():
            raise DatasetError(f"the target {target} is {numbers[0]:g} in every row: there is nothing to learn")
        return numbers[:, None]
    places = {name: place for place, name in enumerate(names)}
    texts = list(map(str, values.to_pylist()))
    if unknown := [text for text in dict.fromkeys(texts) if text not in places]:
        raise DatasetError(f"the target {target} is {listed(unknown)} in test rows, but in no training row")
    return np.array([places[text] for text in texts], np.int32)


def _rows_by_column(name: str, values: "ChunkedArray") -> tuple[np.ndarray, np.ndarray]:
    words = np.array([str(value).lower() for value in values.to_pylist()])
    tests = np.isin(words, ("test", *YES, "1"))
    wrong = ~(tests | np.isin(words, ("train", *NO, "0")))
    if wrong.any() or tests.all() or not tests.any():
        found = listed(sorted(set(words[wrong] if wrong.any() else words)))
        raise DatasetError(f"column {name}, to split by, holds {found}: expected train in some rows and test in others")
    return np.flatnonzero(~tests), np.flatnonzero(tests)


def _row_numbers(table: "Table", leave_out: set[str]) -> set[str]:
    """Columns that number the rows, which in a sorted table would give the answer away."""
    import pyarrow.types as is_of

    found = set()
    for name, values in zip(table.column_names, table.columns, strict=True):
        if name in leave_out or not is_of.is_integer(values.type) or values.null_count:
            continue
        if (np.diff(values.to_numpy()) == 1).all():
            found.add(name)
            warnings.warn(f"column {name or '(without a name)'} numbers the rows: left out", DataWarning, stacklevel=3)
    return found


def _columns(train: "Table", leave_out: set[str]) -> tuple[Column, ...]:
    """What the training rows teach of each column that is an input."""
    dates, columns = [], []
    for name in train.column_names:
        values = train.column(name)
        if name in leave_out:
            continue
        if _holds_dates(values):
            dates.append(name)
        elif reason := _useless(name, values):
            warnings.warn(f"column {name} {reason}: left out", DataWarning, stacklevel=3)
        else:
            columns.append(_column(name, values))
    if dates:
        raise DatasetError(
            f"column {listed(dates)} holds dates or times: put a number in their place, the year or the days since a "
            "day for instance, or ignore the column"
        )
    if not columns:
        raise DatasetError("there is no column left to predict from")
    return tuple(columns)


def _holds_dates(values: "ChunkedArray") -> bool:
    import pyarrow.types as is_of

    return is_of.is_temporal(values.type) or (is_of.is_string(values.type) and _all_match(DATE, values))


def _useless(name: str, values: "ChunkedArray") -> str | None:
    """Why a column cannot be an input, if so."""
    if values.null_count == len(values):
        return "is empty"
    if kind_of(name, values) == "text":
        known = values.drop_null()
        different = len(known.unique())
        if different > max(FEW, len(known) / 2):
            return f"has {different} different texts in {len(known)} rows"
    return None


def _column(name: str, values: "ChunkedArray") -> Column:
    kind, missing = kind_of(name, values), values.null_count > 0
    if kind == "text":
        counts = sorted(values.drop_null().value_counts().to_pylist(), key=lambda each: -each["counts"])
        if len(counts) > MOST_CATEGORIES:
            warnings.warn(
                f"column {name} has {len(counts)} categories: all but the {MOST_CATEGORIES} commonest count as missing",
                DataWarning,
                stacklevel=4,
            )
            missing = True
        categories = sorted(each["values"] for each in counts[:MOST_CATEGORIES])
        return Column(name, "text", marks_missing=missing, categories=tuple(categories))
    numbers = numbers_of(name, values)
    missing = bool(np.isnan(numbers).any())
    known = numbers[~np.isnan(numbers)]
    if not known.size:
        known = np.zeros(1)
    words = tuple(sorted({str(word) for word in values.unique().to_pylist() if word is not None}, key=_is_yes))
    return Column(
        name,
        kind,
        float(np.median(known)),
        missing,
        float(known.min()),
        float(known.max()),
        words[:2] if kind == "yes_no" else (),
    )


def _is_yes(word: str) -> bool:
    return word.lower() in YES


def _scaling(name: ScalingName, columns: tuple[Column, ...], inputs: np.ndarray) -> Scaling | None:
    """The scaling of all inputs: of numbers as asked for, of all others none."""
    if name == "none":
        return None
    scaled = {"robust": robust_scaling, "standard": standard_scaling}[name](inputs)
    numbers = np.concatenate(
        [np.arange(len(column.feature_names)) == (0 if column.kind == "number" else -1) for column in columns]
    )
    return replace(scaled, shift=np.where(numbers, scaled.shift, 0.0), scale=np.where(numbers, scaled.scale, 1.0))
