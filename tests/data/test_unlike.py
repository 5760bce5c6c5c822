"""Pictures that are unlike the training images, on MNIST and on what is no digit."""

import numpy as np
import pytest

from mlp_jax import Dataset, DatasetError, Examples, load_dataset
from mlp_jax.data.unlike import are_unlike

DATA = load_dataset()


def test_other_digits_are_like_and_shirts_noise_and_stripes_are_not():
    alike = are_unlike(DATA.test.inputs[2000:3000], DATA)
    assert 0.005 < alike.mean() < 0.04
    noise = np.random.default_rng(0).integers(0, 256, (20, 784), dtype=np.uint8)
    stripes = np.tile(np.array([0, 255, 255, 0], np.uint8), (1, 196))
    shirt = np.zeros((1, 28, 28), np.uint8)
    shirt[:, 2:26, 8:20] = shirt[:, 2:9, 1:27] = 180
    assert are_unlike(np.concatenate([noise, stripes, shirt.reshape(1, 784)]), DATA).all()


def test_small_sets_and_black_images():
    colours = np.random.default_rng(1).integers(0, 256, (30, 12), dtype=np.uint8)
    examples = Examples(colours, np.arange(30) % 2)
    small = Dataset(examples, examples, image_shape=(2, 2, 3))
    assert are_unlike(np.zeros((2, 12), np.uint8), small).tolist() == [True, True]
    assert not are_unlike(colours[:5], small).any()


def test_height_and_width_are_needed():
    with pytest.raises(DatasetError, match="no image_shape: expected images of a known height and width"):
        are_unlike(DATA.test.inputs[:1], Dataset(DATA.train.rows(slice(9)), DATA.test.rows(slice(9))))
