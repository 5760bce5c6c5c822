"""The data and the networks that tests of experiments share, so that programs for them are compiled once."""

import jax
import numpy as np

from mlp_jax import Model
from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments.subject import Subject
from mlp_jax.training import init_population

SIZES = (16, 5, 4, 3)
COUNT = 30
LABELS = np.arange(COUNT) % 3
RANDOM = np.random.default_rng(0)
MEANS = RANDOM.uniform(0, 1, (3, 16))
MEANS[:, 5] = 0
IMAGES = np.uint8(255 * np.clip(MEANS[LABELS] + RANDOM.normal(0, 0.2, (COUNT, 16)), 0, 1))
IMAGES[:, 5] = 0  # a pixel that is always dark: no cost answers to its weights
MODEL = Model()
BEFORE, AFTER = (init_population(seeds, SIZES) for seeds in ((0, 1), (10, 11)))


def dataset(images=IMAGES, labels=LABELS, shape=(4, 4, 1), classes=3):
    """The same examples to train and to test with."""
    examples = Examples(images, np.asarray(labels))
    return Dataset(examples, examples, shape, tuple(map(str, range(classes))))


DATA = dataset()
NUMBERS = Dataset(*[Examples(IMAGES, IMAGES[:, :3] / 255)] * 2, image_shape=(4, 4, 1))


def subject(networks=AFTER, initial=None, data=DATA, model=MODEL, image=None):
    """Networks as they are, or before training and after."""
    return Subject(networks, networks if initial is None else initial, model, data, image)


def one(params):
    """A population of one network."""
    return jax.tree.map(lambda leaf: leaf[None], params)
