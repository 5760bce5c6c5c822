"""What is probably a mistake in data that were read from files."""

import warnings
from typing import Any

import numpy as np

from mlp_jax.data.dataset import Dataset, DataWarning
from mlp_jax.data.preprocessing import listed

LOOKED_AT = 2_000  # training examples whose inputs are looked at, evenly spaced
DARK = 16  # of 255: no picture is as dark as this all over
LITTLE, MUCH = 0.02, 20.0  # the largest of all floats: a network hardly sees less, and cannot tell more apart


def said_if_odd(dataset: Dataset, source: Any) -> Dataset:
    """The same data set, after a DataWarning for each thing that is probably a mistake in it.

    >>> from mlp_jax import Examples
    >>> from mlp_jax.data.oddities import said_if_odd
    >>> examples = Examples(np.array([[0.0, 0.002], [0.001, 0.0039]]), np.array([1, 2]))
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     dataset = said_if_odd(Dataset(examples, examples), "data.npz")
    >>> for each in caught:
    ...     print(each.message)
    data.npz: the largest input is 0.0039: a network hardly sees so little; were the inputs divided twice?
    data.npz: no training example has class 0, the others are 1 to 2: subtract 1 from the labels
    """
    for oddity in (_of_inputs(dataset), _of_classes(dataset) if dataset.has_classes else ""):
        if oddity:
            warnings.warn(f"{source}: {oddity}", DataWarning, stacklevel=3)
    return dataset


def _of_inputs(dataset: Dataset) -> str:
    inputs = dataset.train.inputs
    some = inputs[:: max(1, len(inputs) // LOOKED_AT)]
    largest = float(np.abs(some).max()) if some.dtype != np.uint8 else int(some.max())
    if some.dtype == np.uint8:
        if largest > DARK or largest == 0:
            return ""
        return (
            f"the brightest of all pixels is {largest} of 255, so a network sees almost nothing: save "
            f"images * {255 // largest}, or images / {largest} as float32"
        )
    if 0 < largest < LITTLE:
        return f"the largest input is {largest:.4g}: a network hardly sees so little; were the inputs divided twice?"
    if largest > MUCH and dataset.image_shape is not None:
        return f"the largest input is {largest:.4g}: sigmoids cannot tell so large ones apart; divide the images by 255"
    return ""


def _of_classes(dataset: Dataset) -> str:
    counts = np.bincount(dataset.train.targets, minlength=dataset.n_out)
    there, missing = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    names = dataset.class_names or tuple(map(str, range(dataset.n_out)))
    if len(there) == 1:
        return f"all training examples have the class {names[there[0]]}: there is nothing to learn"
    if not len(missing):
        return ""
    if list(missing) == [0] and dataset.class_names is None:
        return f"no training example has class 0, the others are 1 to {there[-1]}: subtract 1 from the labels"
    return f"no training example has the class {listed([names[label] for label in missing])}"
