"""What Examples and Dataset are, what they refuse, and the real MNIST inside the package."""

import copy
import hashlib
import pickle
import struct
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import memory

from mlp_jax import Dataset, DatasetError, Examples, load_dataset
from mlp_jax.data import load
from mlp_jax.data.dataset import check_examples

# MD5 of the four uncompressed IDX files as their authors published them.
PUBLISHED = {
    ("train", "inputs"): "6bbc9ace898e44ae57da46a324031adb",
    ("train", "targets"): "a25bea736e30d166cdddb491f175f624",
    ("test", "inputs"): "2646ac647ad5339dbf082846283269ea",
    ("test", "targets"): "27ae3e4e09519cfbb04c329615203637",
}


def test_mnist_is_the_published_one_bit_for_bit():
    mnist = load_dataset("mnist")
    assert mnist.train.inputs.shape == (60_000, 784)
    assert mnist.test.inputs.shape == (10_000, 784)
    assert (mnist.n_in, mnist.n_out, mnist.has_classes, mnist.class_names) == (784, 10, True, None)
    assert mnist.image_shape == (28, 28, 1)
    for (part, name), md5 in PUBLISHED.items():
        array = getattr(getattr(mnist, part), name)
        shape = (len(array), 28, 28) if name == "inputs" else (len(array),)
        header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)  # the IDX format
        assert hashlib.md5(header + array.astype(np.uint8).tobytes()).hexdigest() == md5


def test_a_damaged_file_is_noticed(monkeypatch):
    monkeypatch.setattr(load, "MNIST_SHA256", "0" * 64)
    with pytest.raises(DatasetError, match="SHA-256 06af5dfe.*, expected 0000.*damaged; install the package again"):
        load_dataset("mnist")


def test_examples_are_a_pytree_of_so_many_rows():
    examples = Examples(np.arange(10.0).reshape(5, 2), np.array([0, 3, 1, 0, 2]), np.ones(5))
    assert (len(examples), examples.has_classes, examples.n_out) == (5, True, 4)
    numbers = Examples(examples.inputs, examples.inputs[:, :1])
    assert (len(numbers), numbers.has_classes, numbers.n_out) == (5, False, 1)
    for rows in (slice(1, 4), np.array([4, 0])):
        some = examples.rows(rows)
        assert isinstance(some, Examples)
        for name in ("inputs", "targets", "weights"):
            np.testing.assert_array_equal(getattr(some, name), getattr(examples, name)[rows])
        assert numbers.rows(rows).weights is None
    for other in (
        jax.tree.map(lambda array: array, examples),
        pickle.loads(pickle.dumps(examples)),
        copy.deepcopy(examples),
        replace(examples, weights=np.zeros(5)),
    ):
        assert isinstance(other, Examples)
        assert len(other) == 5
        np.testing.assert_array_equal(other.inputs, examples.inputs)
    assert len(jax.tree.leaves(examples)) == 3
    assert len(jax.tree.leaves(numbers)) == 2


INPUTS, CLASSES = np.zeros((5, 4), np.uint8), np.arange(5)
WANTED, OTHERS = np.zeros((5, 2)), Examples(np.zeros((3, 4), np.float32), np.array([0, 4, 4], np.uint8))
NUMBERS = Examples(INPUTS[:3], np.ones((3, 2), np.float16))


def at(shape, index, value, dtype=np.float32):
    array = np.zeros(shape, dtype)
    array[index] = value
    return array


BAD = {  # train, test and what else there is
    r"^train is of type tuple: expected Examples\(inputs, targets\)$": ((INPUTS, CLASSES), OTHERS),
    r"^train.inputs are of type list: expected a NumPy array": (Examples([[0, 1]], CLASSES), OTHERS),
    r"^train.inputs are of type MaskedArray: ": (Examples(np.ma.masked_equal(WANTED, 0), CLASSES), OTHERS),
    r"^test.targets are of type list": (Examples(INPUTS, CLASSES), Examples(INPUTS[:3], [1, 2, 3])),
    r"^train.targets are of type NoneType": (Examples(INPUTS, None), OTHERS),
    r"^train.weights are of type list": (Examples(INPUTS, CLASSES, [1.0] * 5), OTHERS),
    r"^train.inputs are int64: expected uint8, .* or floats; convert them, as with .astype\(np.float32\)": (
        Examples(np.zeros((5, 4), int), CLASSES),
        OTHERS,
    ),
    r"^train.inputs are >f4: expected uint8": (Examples(INPUTS.astype(">f4"), CLASSES), OTHERS),
    r"^train.inputs are bool: expected uint8": (Examples(INPUTS > 0, CLASSES), OTHERS),
    r"^train.inputs have shape \(5, 2, 2\): expected \(n, n_in\)": (Examples(INPUTS.reshape(5, 2, 2), CLASSES), OTHERS),
    r"^train.inputs have shape \(0, 4\): there is nothing": (Examples(INPUTS[:0], CLASSES[:0]), OTHERS),
    r"^train.inputs have shape \(5, 0\): there is nothing": (Examples(INPUTS[:, :0], CLASSES), OTHERS),
    r"^train.inputs\[4, 1\] is nan: expected finite numbers of float.*; leave such rows out": (
        Examples(at((5, 4), (4, 1), np.nan), CLASSES),
        OTHERS,
    ),
    r"^train.inputs\[1, 2\] is 1e\+300: expected finite numbers of float32": (
        Examples(at((5, 4), (1, 2), 1e300, np.float64), CLASSES),
        OTHERS,
    ),
    r"^test.inputs\[0, 3\] is -inf": (
        Examples(INPUTS, CLASSES),
        replace(OTHERS, inputs=at((3, 4), (0, 3), -np.inf, np.float16)),
    ),
    r"^train.targets\[2, 1\] is inf": (Examples(INPUTS, at((5, 2), (2, 1), np.inf)), NUMBERS),
    r"^train.targets are bool of shape .*: expected integers \(5,\), the class of each, or floats \(5, n_out\)": (
        Examples(INPUTS, CLASSES > 1),
        OTHERS,
    ),
    r"^train.targets are int64 of shape \(4,\) for 5 examples: expected integers \(5,\), the class.* outputs$": (
        Examples(INPUTS, CLASSES[:4]),
        OTHERS,
    ),
    r"^test.targets are int64 of shape \(3, 1\) for 3 .*; targets\[:, 0\]$": (
        Examples(INPUTS, CLASSES),
        Examples(INPUTS[:3], np.zeros((3, 1), int)),
    ),
    r"^train.targets are int64 of shape \(5, 5\) .*; targets.argmax\(axis=1\) of one-hot rows$": (
        Examples(INPUTS, np.eye(5, dtype=int)),
        OTHERS,
    ),
    r"^train.targets are float64 of shape \(5,\) for 5 .*, or floats \(5, n_out\), the wanted outputs; .*None\]": (
        Examples(INPUTS, np.zeros(5)),
        NUMBERS,
    ),
    r"^train.targets are float64 of shape \(4, 2\) for 5 examples": (Examples(INPUTS, WANTED[:4]), NUMBERS),
    r"^train.targets are float64 of shape \(5, 0\) for 5 examples": (Examples(INPUTS, WANTED[:, :0]), NUMBERS),
    r"^train.targets\[2\] is -1: expected a class from 0 to 1048575 \(2 of 5 are": (
        Examples(INPUTS, np.array([0, 1, -1, 2, -9])),
        OTHERS,
    ),
    r"^test.targets\[1\] is 4: expected a class from 0 to 3": (
        Examples(INPUTS, CLASSES % 2),
        OTHERS,
        {"class_names": ("a", "b", "c", "d")},
    ),
    r"^train.targets\[4\] is 4: expected a class from 0 to 3": (Examples(INPUTS, CLASSES), OTHERS, {"n_out": 4}),
    r"^there are 2 class_names for 5 outputs": (
        Examples(INPUTS, CLASSES),
        OTHERS,
        {"n_out": 5, "class_names": ("a", "b")},
    ),
    r"^train.weights are float64 of shape \(4,\): expected \(5,\) floats$": (
        Examples(INPUTS, CLASSES, np.ones(4)),
        OTHERS,
    ),
    r"^train.weights are int64 of shape \(5,\)": (Examples(INPUTS, CLASSES, np.ones(5, int)), OTHERS),
    r"^train.weights\[1\] is -0.5: expected finite numbers of 0 or more": (
        Examples(INPUTS, CLASSES, at(5, 1, -0.5)),
        OTHERS,
    ),
    r"^test.weights\[2\] is nan": (Examples(INPUTS, CLASSES), replace(OTHERS, weights=at(3, 2, np.nan))),
    r"^train.weights are all 0: no example would count": (Examples(INPUTS, CLASSES, np.full(5, 1e-60)), OTHERS),
    r"^train.targets have shape \(5,\), test.targets \(3, 2\): expected classes": (Examples(INPUTS, CLASSES), NUMBERS),
    r"^n_out is 7 for 2 columns of targets": (Examples(INPUTS, WANTED), NUMBERS, {"n_out": 7}),
    r"^there are class_names, but the targets are wanted outputs": (
        Examples(INPUTS, WANTED),
        NUMBERS,
        {"class_names": ("a", "b")},
    ),
    r"^train.inputs have 4 columns, test.inputs 3: one": (
        Examples(INPUTS, CLASSES),
        replace(OTHERS, inputs=INPUTS[:3, :3]),
    ),
    r"^train.targets have 1 columns, test.targets 2: one": (Examples(INPUTS, WANTED[:, :1]), NUMBERS),
    r"^image_shape is \(2, 3, 1\) for inputs of 4 columns: expected \(height, width, channels\)": (
        Examples(INPUTS, CLASSES),
        OTHERS,
        {"image_shape": (2, 3, 1)},
    ),
    r"^image_shape is \(2, 2\) for": (Examples(INPUTS, CLASSES), OTHERS, {"image_shape": (2, 2)}),
    r"^image_shape is \(-2, -2, 1\)": (Examples(INPUTS, CLASSES), OTHERS, {"image_shape": (-2, -2, 1)}),
    r"^there are 3 feature_names for 4 columns": (Examples(INPUTS, WANTED), NUMBERS, {"feature_names": tuple("abc")}),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.usefixtures("as_installed")
def test_bad_data_is_refused_in_one_line_that_says_what_and_where(message):
    train, test, *options = BAD[message]
    with pytest.raises(DatasetError, match=message) as refused:
        Dataset(train, test, **(options[0] if options else {}))
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("as_installed")
def test_examples_are_held_against_a_network_of_so_many_outputs():
    check_examples(OTHERS, n_out=5)
    check_examples(NUMBERS, n_out=2)
    with pytest.raises(DatasetError, match=r"^evaluated.targets\[1\] is 4: expected a class from 0 to 3"):
        check_examples(OTHERS, "evaluated", 4)
    with pytest.raises(DatasetError, match="^examples.targets have 2 columns: expected 10, one for each output"):
        check_examples(NUMBERS, n_out=10)


def test_every_kind_of_data_and_how_many_outputs_it_has():
    classes = Dataset(Examples(INPUTS, CLASSES), OTHERS)
    assert (classes.has_classes, classes.n_in, classes.n_out, classes.image_shape) == (True, 4, 5, None)
    assert Dataset(Examples(INPUTS, CLASSES), OTHERS, class_names=tuple("abcdef")).n_out == 6
    assert Dataset(Examples(INPUTS, CLASSES), OTHERS, n_out=26).n_out == 26
    assert Dataset(Examples(INPUTS, CLASSES), OTHERS, image_shape=(1, 2, 2)).image_shape == (1, 2, 2)
    weighted = Examples(INPUTS - 3.5, WANTED - 9, at(5, 1, 2.0))
    numbers = Dataset(weighted, NUMBERS, feature_names=tuple("abcd"))
    assert (numbers.has_classes, numbers.n_in, numbers.n_out) == (False, 4, 2)
    assert numbers.train.inputs is weighted.inputs


def test_a_large_mapped_array_is_not_in_memory_as_a_whole(tmp_path):
    mapped = np.memmap(tmp_path / "inputs", np.float32, "w+", shape=(2**12, 2**11))  # 32 MB, of zeros
    examples = Examples(mapped, np.zeros(2**12, np.uint8))
    with memory() as most:
        check_examples(examples)
        mapped[-1, 7] = np.nan
        with pytest.raises(DatasetError, match=r"inputs\[4095, 7\] is nan"):
            check_examples(examples)
        assert most() < 2**22


SIZES = st.lists(st.integers(0, 40), min_size=2, max_size=8).filter(lambda sizes: sum(sizes) > 1)


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, part=st.floats(0, 1))
def test_each_class_is_held_out_in_its_proportion(sizes, part):
    """One example away from it at most, for classes of any sizes, missing ones too."""
    n = sum(sizes)
    count = 1 + round(part * (n - 2))
    targets = np.random.default_rng(n).permutation(np.repeat(np.arange(len(sizes)), sizes))
    inputs = np.arange(n, dtype=np.float32)[:, None]
    data = Dataset(Examples(inputs, targets, inputs[:, 0] + 1), Examples(inputs[:1], targets[:1]), n_out=9)
    held = data.held_out(count)
    assert (len(held.test), len(held.train), held.n_out) == (count, n - count, 9)
    found = np.bincount(held.test.targets, minlength=len(sizes))
    assert np.all(np.abs(found - count * np.array(sizes) / n) <= 1)
    both = np.concatenate([held.train.inputs, held.test.inputs])[:, 0]
    np.testing.assert_array_equal(np.sort(both), inputs[:, 0])
    for some in (held.train, held.test):
        np.testing.assert_array_equal(some.targets, targets[some.inputs[:, 0].astype(int)])
        np.testing.assert_array_equal(some.weights, some.inputs[:, 0] + 1)
    np.testing.assert_array_equal(held.test.inputs, data.held_out(count).test.inputs)


def test_one_large_class_and_many_small_ones_are_held_out_in_proportion():
    targets = np.concatenate([np.zeros(1000, int), np.arange(1, 101)])
    data = Dataset(Examples(np.zeros((1100, 1)), targets), Examples(np.zeros((1, 1)), targets[:1]))
    held = data.held_out(500).test.targets
    assert np.sum(held == 0) in (454, 455)  # of 454.5


def test_the_last_are_held_out_of_examples_in_order_of_time():
    examples = Examples(np.arange(10.0)[:, None], np.arange(10.0)[:, None])
    held = Dataset(examples, examples).held_out(0.3, last=True)
    assert held.train.inputs.ravel().tolist() == list(range(7))
    assert held.test.targets.ravel().tolist() == [7, 8, 9]


def test_wanted_outputs_are_held_out_at_random():
    rows = np.arange(1000.0)[:, None]
    data = Dataset(Examples(rows, rows), Examples(rows[:3], rows[:3]), feature_names=("a",))
    held = data.held_out(300)
    assert (len(held.train), held.n_out, held.feature_names) == (700, 1, ("a",))
    np.testing.assert_array_equal(held.test.inputs, held.test.targets)
    assert np.all(np.abs(np.histogram(held.test.inputs, 4)[0] - 75) < 30)  # 4 standard deviations are 25
    for count in (0, 1000, -1):
        with pytest.raises(DatasetError, match=f"{count} training examples are to be held out: expected 1 to 999"):
            data.held_out(count)


def test_the_first_examples_keep_weights_classes_and_the_rest():
    data = Dataset(Examples(INPUTS, CLASSES, np.arange(5.0)), OTHERS, class_names=tuple("abcde"))
    some = data.first(2)
    np.testing.assert_array_equal(some.train.targets, [0, 1])
    np.testing.assert_array_equal(some.train.weights, [0, 1])
    assert some.test is OTHERS
    assert some.class_names == tuple("abcde")
    assert replace(data, class_names=None).first(2).n_out == 5
    for count in (0, 6, -1):
        with pytest.raises(DatasetError, match=f"^{count} training examples are asked for: expected 1 to 5"):
            data.first(count)


def test_examples_and_data_sets_show_shapes():
    assert repr(Examples(INPUTS, CLASSES)) == "Examples(inputs=uint8[5, 4], targets=int64[5])"
    weighted = Examples(INPUTS, WANTED, np.ones(5))
    assert repr(weighted) == "Examples(inputs=uint8[5, 4], targets=float64[5, 2], weights=float64[5])"
    assert repr(jax.tree.map(lambda _: None, weighted)) == "Examples(inputs=None, targets=None)"
    names = tuple(map(str, range(12)))
    shown = repr(Dataset(Examples(INPUTS, CLASSES), OTHERS, (2, 2, 1), names))
    assert shown == (
        "Dataset(train=Examples(inputs=uint8[5, 4], targets=int64[5]), "
        "test=Examples(inputs=float32[3, 4], targets=uint8[3]), image_shape=(2, 2, 1), "
        "class_names=<12 names>, n_out=12)"
    )
