"""What is probably a mistake in a file is said when it is loaded."""

import numpy as np
import pytest

from mlp_jax import Dataset, DatasetError, Examples, load_dataset
from mlp_jax.data import DataWarning

DIGITS = load_dataset().train.rows(slice(200))
PIXELS = DIGITS.inputs.reshape(-1, 28, 28)


def saved(path, inputs=PIXELS, targets=DIGITS.targets, **more):
    np.savez(path / "data.npz", x_train=inputs, y_train=targets, x_test=inputs, y_test=targets, **more)
    return path / "data.npz"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda x: (x > 127).astype(np.uint8),
            r"brightest of all pixels is 1 of 255.*: save images \* 255, or images / 1",
        ),
        (lambda x: x // 16, r"brightest of all pixels is 15 of 255, .*: save images \* 17, or images / 15 as float32"),
        (lambda x: np.float32(x) / 255 / 255, r"largest input is 0.003922: .*were the inputs divided twice\?"),
        (lambda x: np.float32(x), "largest input is 255: .*divide the images by 255"),
    ],
)
def test_inputs_on_another_scale(tmp_path, change, said):
    with pytest.warns(DataWarning, match=f"data.npz: the {said}"):
        load_dataset(saved(tmp_path, change(PIXELS)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y + 1, "no training example has class 0, the others are 1 to 10: subtract 1 from the labels"),
        (lambda y: np.full_like(y, 3), "all training examples have the class 3: there is nothing to learn"),
        (lambda y: np.where(y == 4, 5, y), "no training example has the class 4"),
    ],
)
def test_labels_that_leave_classes_out(tmp_path, change, said):
    with pytest.warns(DataWarning, match=said):
        load_dataset(saved(tmp_path, targets=change(DIGITS.targets)))


def test_what_is_as_it_should_be_is_not_warned_of(tmp_path):
    load_dataset(saved(tmp_path))
    load_dataset(saved(tmp_path, PIXELS / np.float32(255)))
    load_dataset(saved(tmp_path, np.random.default_rng(0).normal(size=(200, 3))))


@pytest.mark.parametrize("stray", [np.arange(200) % 10 + 90_210, np.r_[DIGITS.targets[:-1], 30_000]])
def test_labels_with_large_gaps_are_refused(tmp_path, stray):
    """A network would have tens of thousands of outputs."""
    said = r"1\d different labels occur, from \d+ to \d+: .*np.unique\(labels, return_inverse=True\).* as class_names"
    with pytest.raises(DatasetError, match=said):
        load_dataset(saved(tmp_path, targets=stray))
    with pytest.raises(DatasetError, match="different labels occur"):
        Dataset(Examples(DIGITS.inputs, stray), DIGITS)


def test_labels_may_be_names_or_have_names(tmp_path):
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    by_name = load_dataset(saved(tmp_path, targets=names[DIGITS.targets]))
    assert by_name.class_names == tuple(sorted(names))
    assert [by_name.class_names[label] for label in by_name.train.targets[:3]] == ["five", "zero", "four"]
    named = load_dataset(saved(tmp_path, class_names=names))
    assert (named.class_names, named.preprocessing.class_names) == (tuple(names), tuple(names))


def test_the_keys_of_medmnist(tmp_path):
    labels = DIGITS.targets[:, None].astype(np.uint8)
    made = {f"{part}_images": PIXELS for part in ("train", "val", "test")}
    np.savez(tmp_path / "a.npz", **made, **{f"{part}_labels": labels for part in ("train", "val", "test")})
    with pytest.warns(DataWarning, match="val_images are left out; --validation holds some of train_images out"):
        dataset = load_dataset(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.train.inputs, DIGITS.inputs)
    np.testing.assert_array_equal(dataset.test.targets, DIGITS.targets)


def test_a_pickle_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "mnist.pkl.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(
        DatasetError, match=r"is a pickle, .* np.savez\('data.npz', .*\); MNIST itself is inside, as mnist"
    ):
        load_dataset(tmp_path / "mnist.pkl.gz")
