"""What a Dataset refuses, and the real MNIST inside the package."""

import hashlib
import struct

import numpy as np
import pytest

from mlp_jax import Dataset, DatasetError, load_dataset
from mlp_jax.data import load

# MD5 of the four uncompressed IDX files as their authors published them.
PUBLISHED = {
    "train_images": "6bbc9ace898e44ae57da46a324031adb",
    "train_labels": "a25bea736e30d166cdddb491f175f624",
    "test_images": "2646ac647ad5339dbf082846283269ea",
    "test_labels": "27ae3e4e09519cfbb04c329615203637",
}
GOOD = {
    "train_images": np.zeros((5, 4), np.uint8),
    "train_labels": np.arange(5),
    "test_images": np.zeros((3, 4), np.uint8),
    "test_labels": np.array([0, 9, 9]),
}


def test_mnist_is_the_published_one_bit_for_bit():
    mnist = load_dataset("mnist")
    assert mnist.train_images.shape == (60_000, 784)
    assert mnist.test_images.shape == (10_000, 784)
    assert mnist.classes == 10
    assert mnist.image_shape == (28, 28, 1)
    for name, md5 in PUBLISHED.items():
        array = getattr(mnist, name)
        shape = (len(array), 28, 28) if "images" in name else (len(array),)
        header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)  # the IDX format
        assert hashlib.md5(header + array.astype(np.uint8).tobytes()).hexdigest() == md5


def test_a_damaged_file_is_noticed(monkeypatch):
    monkeypatch.setattr(load, "MNIST_SHA256", "0" * 64)
    with pytest.raises(DatasetError, match="SHA-256 06af5dfe.*, expected 0000.*damaged; install the package again"):
        load_dataset("mnist")


BAD = {
    r"train_images is of type list: expected a NumPy array": {"train_images": [[0, 1]]},
    r"test_labels is of type list": {"test_labels": [1, 2, 3]},
    r"train_images are float64: expected uint8": {"train_images": np.zeros((5, 4))},
    r"test_images have shape \(3, 2, 2\): expected \(n, pixels\)": {"test_images": np.zeros((3, 2, 2), np.uint8)},
    r"train_labels are float64: expected an integer type": {"train_labels": np.zeros(5)},
    r"train_labels have shape \(4,\) for 5 images": {"train_labels": np.arange(4)},
    r"test_labels have shape \(3, 1\) for 3 images": {"test_labels": np.zeros((3, 1), int)},
    r"train_images have shape \(0, 4\): there is nothing": {
        "train_images": np.zeros((0, 4), np.uint8),
        "train_labels": np.zeros(0, int),
    },
    r"train_images have shape \(5, 0\): there is nothing": {"train_images": np.zeros((5, 0), np.uint8)},
    r"train_labels\[2\] is 10: expected 0 to 9 \(2 of 5 labels": {"train_labels": np.array([0, 1, 10, 2, -1])},
    r"test_labels\[1\] is -1: expected 0 to 9": {"test_labels": np.array([0, -1, 3])},
    r"train_images have 4 pixels, test_images 6": {"test_images": np.zeros((3, 6), np.uint8)},
    r"image_shape is \(2, 3, 1\) for images of 4 pixels: expected \(height, width, channels\)": {
        "image_shape": (2, 3, 1)
    },
    r"image_shape is \(2, 2\) for images of 4 pixels": {"image_shape": (2, 2)},
    r"image_shape is \(-2, -2, 1\) for images of 4 pixels": {"image_shape": (-2, -2, 1)},
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.usefixtures("as_installed")
def test_bad_data_is_refused_with_what_and_where(message):
    Dataset(**GOOD)
    with pytest.raises(DatasetError, match=message):
        Dataset(**(GOOD | BAD[message]))


def test_images_of_a_known_shape():
    assert Dataset(**GOOD).image_shape is None
    assert Dataset(**GOOD, image_shape=(1, 2, 2)).image_shape == (1, 2, 2)


def test_any_number_of_classes():
    assert Dataset(**(GOOD | {"train_labels": np.array([0, 1, 10, 25, 3])}), classes=26).classes == 26


def test_training_images_held_out_take_the_place_of_the_test_images():
    images = np.arange(20, dtype=np.uint8)[:, None]
    data = Dataset(images, images[:, 0] % 10, images[:3] + 100, np.arange(3))
    held = data.held_out(6)
    np.testing.assert_array_equal(np.sort(np.concatenate([held.train_images, held.test_images])[:, 0]), range(20))
    assert len(held.test_images) == 6
    for some, labels in ((held.train_images, held.train_labels), (held.test_images, held.test_labels)):
        np.testing.assert_array_equal(some[:, 0] % 10, labels)
    np.testing.assert_array_equal(held.test_images, data.held_out(6).test_images)
    for count in (0, 20, -1):
        with pytest.raises(DatasetError, match=f"{count} training images are to be held out: expected 1 to 19"):
            data.held_out(count)
