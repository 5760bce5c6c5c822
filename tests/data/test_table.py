"""Tables: what becomes of columns, against scikit-learn's transformers; files of every kind; what is refused."""

import gzip
import re

import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler

from mlp_jax import load_dataset
from mlp_jax.data import DatasetError, DataWarning, Preprocessing, encoded_rows, load_table
from mlp_jax.data.table import read_table

RANDOM = np.random.default_rng(0)
ROWS = 60


def made(missing=True):
    """A table of numbers, integers, text, and yes and no, with holes."""
    age = RANDOM.normal(40, 10, ROWS).round(1)
    city = RANDOM.choice(["Oslo", "Rome", "Zürich, west"], ROWS)
    columns = {
        "age": [None if missing and row % 7 == 3 else float(value) for row, value in enumerate(age)],
        "rooms": RANDOM.integers(1, 9, ROWS).tolist(),
        "city": [None if missing and row % 11 == 5 else str(value) for row, value in enumerate(city)],
        "garden": [["no", "yes"][value] for value in RANDOM.integers(0, 2, ROWS)],
    }
    return columns | {
        "price": (10 * age + RANDOM.normal(size=ROWS)).tolist(),
        "kind": RANDOM.choice(["a", "b"], ROWS).tolist(),
    }


TABLE = made()


def write(path, table, separator=","):
    """The table as a CSV file, as people write it."""
    rows = [table, *zip(*table.values(), strict=True)]

    def cell(value):
        text = "" if value is None else str(value)
        return f'"{text}"' if separator in text else text

    path.write_text("\n".join(separator.join(map(cell, row)) for row in rows) + "\n", encoding="utf-8")
    return path


def test_columns_become_what_scikit_learn_makes_of_them():
    """Median, indicator, one-hot and scaling, learned from the training rows alone."""
    dataset = load_table(TABLE, "price", scaling="standard", split="time", test_fraction=0.25, ignore=["kind"])
    train, test = slice(45), slice(45, None)
    table = {
        name: np.array(values, object if name in ("city", "garden") else float)
        for name, values in TABLE.items()
        if name != "kind"
    }
    x = np.stack([table[name] for name in ("age", "rooms", "city", "garden")], axis=1).astype(object)
    x[:, 3] = (x[:, 3] == "yes").astype(float)
    text = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?", missing_values=None),
        OneHotEncoder(categories=[["Oslo", "Rome", "Zürich, west", "?"]]),
    )
    expected = ColumnTransformer(
        [
            ("age", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0]),
            ("hole", ColumnTransformer([("hole", SimpleImputer(add_indicator=True), [0])]), [0]),
            ("rooms", StandardScaler(), [1]),
            ("city", text, [2]),
            ("garden", "passthrough", [3]),
        ],
        sparse_threshold=0,
    ).fit(x[train])
    for part, rows in ((dataset.train, train), (dataset.test, test)):
        found = np.delete(expected.transform(x[rows]).astype(float), 1, axis=1)  # the imputed age beside its indicator
        np.testing.assert_allclose(part.inputs, found, atol=1e-6)
    price = StandardScaler().fit(table["price"][train, None])
    np.testing.assert_allclose(dataset.test.targets, price.transform(table["price"][test, None]), atol=1e-6)
    np.testing.assert_allclose(dataset.preprocessing.numbers(dataset.test.targets), table["price"][test], rtol=1e-5)
    assert dataset.preprocessing.unit == pytest.approx(price.scale_[0])
    assert dataset.feature_names == (
        "age",
        "age is missing",
        "rooms",
        *("city = Oslo", "city = Rome", "city = Zürich, west", "city is missing"),
        "garden",
    )


def test_robust_scaling_is_the_default_and_none_leaves_numbers_as_they_are():
    z = RobustScaler().fit(np.array(TABLE["rooms"][:45])[:, None]).transform(np.array(TABLE["rooms"][45:])[:, None])
    robust, plain = (
        load_table(
            {name: TABLE[name] for name in ("rooms", "kind")}, "kind", split="time", test_fraction=0.25, **scaling
        )
        for scaling in ({}, {"scaling": "none"})
    )
    np.testing.assert_allclose(robust.test.inputs, z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6)
    np.testing.assert_array_equal(plain.test.inputs[:, 0], TABLE["rooms"][45:])


def same(ours, theirs):
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(ours, part).inputs, getattr(theirs, part).inputs)
        np.testing.assert_array_equal(getattr(ours, part).targets, getattr(theirs, part).targets)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "semicolons", "parquet", "feather", "categories"])
def test_every_kind_of_file_gives_the_same(kind, tmp_path):
    table, path = pa.table(TABLE), tmp_path / f"table.{'csv' if kind == 'semicolons' else kind}"
    if kind == "csv.gz":
        path.write_bytes(gzip.compress(write(tmp_path / "plain.csv", TABLE).read_bytes()))
    elif kind in ("csv", "tsv", "semicolons"):
        write(path, TABLE, {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind])
    elif kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        if kind == "categories":
            path = path.with_suffix(".arrow")
            table = table.set_column(2, "city", table.column("city").dictionary_encode())
        pyarrow.feather.write_feather(table, path)
    same(load_dataset(path, target="price"), load_table(TABLE, "price"))


def test_data_frames_are_tables():
    for frame in (pandas.DataFrame(TABLE, index=[f"row {row}" for row in range(ROWS)]), polars.DataFrame(TABLE)):
        same(load_table(frame, "kind"), load_table(TABLE, "kind"))


def test_csv_as_it_is_found(tmp_path):
    """Blanks after commas, question marks and other words for what is missing, decimal commas, a byte-order mark."""
    path = tmp_path / "found.csv"
    path.write_text("\ufeffage, pay ,city\n 39, ?, Rome\n 40, 7, NA\n 41, N/A, Oslo\n")
    assert read_table(path).to_pydict() == {"age": [39, 40, 41], "pay": [None, 7, None], "city": ["Rome", None, "Oslo"]}
    path.write_text("a;b\n1,5;x\n-2,25;y\n")
    assert read_table(path).to_pydict() == {"a": [1.5, -2.25], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 10, None, ("a", "b")),
        ([True, False] * 10, None, ("False", "True")),
        (["yes", "no"] * 10, None, ("no", "yes")),
        ([3, 10] * 10, None, ("3", "10")),
        (list(range(20)), None, None),  # integers, each once
        ([3, 10] * 10, "regression", None),
        ([0.5, 1.0] * 10, None, None),
        ([0.5, 1.0] * 10, "classification", ("0.5", "1.0")),
    ],
)
def test_the_target_says_what_is_learned(values, task, classes):
    dataset = load_table({"x": RANDOM.normal(size=20), "y": values}, "y", task=task)
    assert dataset.class_names == classes
    assert dataset.has_classes == (classes is not None)


def test_rows_to_test_with():
    """A fraction with the classes' proportions, the last rows, those that a column names, or another table."""
    x, y = np.arange(60.0) ** 2, np.repeat(["a", "b", "c"], [40, 15, 5])
    table = {"x": x, "y": y.tolist()}
    plain = {"scaling": "none", "test_fraction": 0.2}
    random = load_table(table, "y", **plain)
    assert np.bincount(random.test.targets).tolist() == [8, 3, 1]
    assert sorted([*random.train.inputs[:, 0], *random.test.inputs[:, 0]]) == x.tolist()
    numbers = load_table({"x": x, "y": x + 0.5}, "y", split="time", **plain)
    np.testing.assert_array_equal(numbers.test.inputs[:, 0], x[-12:])
    for words in (["train", "Test"], ["no", "yes"], [0, 1], [False, True]):
        named = load_table(
            table | {"part": [words[row % 5 == 0] for row in range(60)]}, "y", split="part", scaling="none"
        )
        np.testing.assert_array_equal(named.test.inputs[:, 0], x[::5])
        assert named.feature_names == ("x",)
    other = load_table(table, "y", test={"y": ["c"], "x": [7.0]}, scaling="none")
    assert (len(other.train), other.test.inputs.tolist(), other.test.targets.tolist()) == (60, [[7.0]], [2])


def test_a_class_of_one_row_is_trained_on():
    y = ["rare"] + ["a", "b"] * 10
    for fraction in (0.1, 0.3, 0.5):
        dataset = load_table({"x": RANDOM.normal(size=21), "y": y}, "y", test_fraction=fraction)
        assert 2 in dataset.train.targets


def test_columns_are_found_by_name_and_what_is_new_is_said():
    dataset = load_table(TABLE, "price", ignore=["kind"])
    rows = {name: values[:9] for name, values in TABLE.items()}
    backwards = dict(reversed(list(rows.items()))) | {"roof": ["red"] * 9}
    with pytest.warns(DataWarning, match="column kind, roof is no input of the network"):
        _, inputs = encoded_rows(dataset.preprocessing, backwards)
    with pytest.warns(DataWarning):
        np.testing.assert_array_equal(inputs, encoded_rows(dataset.preprocessing, rows)[1])
    with pytest.raises(DatasetError, match="no column age, city, which training had; it has place besides"):
        encoded_rows(dataset.preprocessing, {"rooms": [1], "garden": ["no"], "place": ["Rome"]})


def test_categories_never_seen_count_as_missing_and_are_said():
    dataset = load_table({"city": ["Rome", "Oslo", None, "Rome"], "y": [1.5, 2.5, 0.5, 1.0]}, "y", split="time")
    with pytest.warns(DataWarning, match="Bern in column city count as missing: training knew Oslo, Rome"):
        _, inputs = encoded_rows(dataset.preprocessing, {"city": ["Bern", None]})
    np.testing.assert_array_equal(inputs[0], inputs[1])
    plain = load_table({"x": [1.0, 3.0, 8.0, 9.0], "y": [1.5, 2.5, 0.5, 1.0]}, "y", split="time", scaling="none")
    with pytest.warns(DataWarning, match="column x has 1 missing values, and had none in training.*its median, 3"):
        assert encoded_rows(plain.preprocessing, {"x": [None, 4.0]})[1].tolist() == [[3.0], [4.0]]
    with pytest.raises(DatasetError, match="column x holds the text 'big'"):
        encoded_rows(plain.preprocessing, {"x": ["big"]})


def test_columns_that_teach_nothing_are_left_out_and_said():
    table = {"id": list(range(5, 35)), "name": [f"n{row}" for row in range(30)], "empty": pa.nulls(30)}
    table |= {"x": RANDOM.normal(size=30), "y": RANDOM.normal(size=30)}
    with pytest.warns(DataWarning) as said:
        dataset = load_table(table, "y")
    assert dataset.feature_names == ("x",)
    assert [str(one.message) for one in said] == [
        "column id numbers the rows: left out",
        "column name has 24 different texts in 24 rows: left out",
        "column empty is empty: left out",
    ]
    assert load_table(table, "y", ignore=["id", "name", "empty"]).feature_names == ("x",)  # and nothing is said


def test_the_commonest_categories_are_kept():
    words = [f"w{row % 300:03}" for row in range(900)] + ["w000"] * 100
    test = {"word": ["w000"], "y": [0.5]}
    with pytest.warns(DataWarning, match="has 300 categories: all but the 256 commonest count as missing"):
        dataset = load_table({"word": words, "y": RANDOM.normal(size=1000)}, "y", test=test)
    assert dataset.n_in == 257


def test_what_was_learned_is_kept_and_used_again():
    dataset = load_table(TABLE, "kind", ignore=["price"])
    kept = dataset.preprocessing
    again = Preprocessing.from_parts(kept.to_document(), kept.to_arrays())
    changed = TABLE | {"age": [None if age is None else age + 100 for age in TABLE["age"]]}
    one, other = (load_table(changed, "kind", preprocessing=each) for each in (kept, again))
    same(one, other)
    assert not np.allclose(one.train.inputs, load_table(changed, "kind", ignore=["price"]).train.inputs)
    for wrong in ({"columns": 3}, {**kept.to_document(), "columns": [{"name": "x", "sort": "number"}]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Preprocessing.from_parts(wrong, kept.to_arrays())


X = {"x": RANDOM.normal(size=20).tolist()}
NUMBERS = X | {"y": RANDOM.normal(size=20).tolist()}


@pytest.mark.parametrize(
    ("table", "how", "message"),
    [
        (NUMBERS, {"target": "prise"}, "there is no column 'prise', the target: expected one of x, y"),
        (TABLE, {"target": "prise"}, "no column 'prise', the target: expected one of price"),
        (NUMBERS, {"target": "y", "ignore": ["z"]}, "no column 'z', the column to ignore"),
        (NUMBERS, {"target": "y", "split": "part"}, "no column 'part', the column to split by"),
        (NUMBERS, {"target": "y", "split": "x"}, "column x, to split by, holds .* expected train in some rows"),
        (NUMBERS, {"target": "y", "test_fraction": 1.0}, "fraction to test with is 1.0: expected a number above 0"),
        (X | {"y": [1.0] * 19 + [float("nan")]}, {"target": "y"}, "y is not a number in 1 rows, first in row 20"),
        (X | {"y": [1.0] * 19 + [None]}, {"target": "y"}, "y is missing in 1 of 20 rows, first in row 20"),
        (X | {"y": [1.5] * 19 + [float("inf")]}, {"target": "y"}, "column y is inf in row 20"),
        ({"x": [1.0, float("-inf")] * 10, "y": X["x"]}, {"target": "y"}, "column x is -inf in row 2"),
        (X | {"y": [1.5] * 20}, {"target": "y"}, "y is 1.5 in every row: there is nothing to learn"),
        (X | {"y": ["a"] * 20}, {"target": "y"}, "y is 'a' in every row: there is nothing to learn"),
        (X | {"y": list("abcdefghijklmnopqrst")}, {"target": "y"}, "y has 20 classes in 20 rows"),
        (X | {"y": ["a", "b"] * 10}, {"target": "y", "task": "regression"}, "y is text: expected numbers"),
        ({"x": [], "y": []}, {"target": "y"}, "the table has 0 rows: expected 2 or more"),
        (NUMBERS, {"target": "y", "test": {"x": [], "y": []}}, "the table has no rows"),
        (NUMBERS, {"target": "y", "ignore": ["x"]}, "there is no column left to predict from"),
        (X | {"y": ["a", "b"] * 10}, {"target": "y", "test": {"x": [1], "y": ["c"]}}, "y is c in test rows, but in no"),
        (NUMBERS | {"d": ["2024-05-01"] * 20}, {"target": "y"}, "column d holds dates or times: put a number"),
        (NUMBERS | {"d": ["1/5/24"] * 20}, {"target": "y"}, "column d holds dates or times"),
        (NUMBERS | {"d": pa.array([0] * 20, pa.timestamp("s"))}, {"target": "y"}, "column d holds dates or times"),
        (NUMBERS | {"d": [[1, 2]] * 20}, {"target": "y"}, "column d is list.*: expected numbers, text"),
        (3, {"target": "y"}, "the table is of type int: expected a path, a data frame or a dict of columns"),
        ({"x": [1, 2], "y": [1, 2, 3]}, {"target": "y"}, "the table is no table that can be read"),
    ],
)
def test_what_cannot_be_learned_is_refused(table, how, message):
    with pytest.raises(ValueError, match=message):
        load_table(table, **how)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty: expected names of columns"),
        ("t.csv", b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "begins with '5.1,3.5,setosa': expected names of columns"),
        ("t.csv", b"a,a\n1,2\n3,4\n", "has several columns named a"),
        ("t.csv", b"a,b\n1,2\n3\n", "is no table that can be read"),
        ("t.csv", b"a,b\xe9\n1,2\n3,4\n", "is not UTF-8"),
        ("t.csv", b"y,b\n1,\xe9\n3,4\n", "b holds bytes that are not UTF-8"),
        ("t.csv", b"a,y\n", "has 0 rows"),
        ("t.csv.gz", b"no gzip", "cannot be read|no table"),
        ("t.parquet", b"no parquet", "is no table that can be read"),
        ("t.feather", b"no feather", "is no table that can be read"),
    ],
)
def test_files_that_hold_no_table_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"({re.escape(name)}|column) ?({message})"):
        load_table(tmp_path / name, "y")


def test_a_table_needs_a_target_and_other_data_take_none(tmp_path):
    write(tmp_path / "t.csv", TABLE)
    with pytest.raises(DatasetError, match=r"t\.csv is a table: say which column is to be predicted, the target"):
        load_dataset(tmp_path / "t.csv")
    with pytest.raises(DatasetError, match="mnist has training and test examples as it is: leave out test_fraction"):
        load_dataset("mnist", test_fraction=0.1)
    with pytest.raises(DatasetError, match=r"no\.csv cannot be read"):
        load_dataset(tmp_path / "no.csv", target="y")
