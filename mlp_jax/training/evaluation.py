"""How well a network does on labelled images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, UInt8

from mlp_jax.network import Model, Params, loss, predict
from mlp_jax.training.epoch import as_inputs


class Evaluation(NamedTuple):
    """What `evaluate` finds.

    loss: the mean cost.
    confusion: how often an image of each class (row) got each answer (column), (classes, classes) integers.
    """

    loss: float
    confusion: Integer[np.ndarray, "classes classes"]

    @property
    def wrong(self) -> int:
        """How many images got another answer than their label."""
        return int(self.confusion.sum() - np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """The fraction of images whose answer is their label, 0 to 1."""
        return int(np.trace(self.confusion)) / int(self.confusion.sum())


def evaluate(
    params: Params,
    images: UInt8[ArrayLike, "n pixels"],
    labels: Integer[ArrayLike, " n"],
    model: Model = Model(),
) -> Evaluation:
    """The mean cost and the confusion matrix of a network on labelled images.

    images: (n, pixels) uint8, 0 to 255. labels: (n,) from 0 to the number of outputs - 1. Raises ValueError for
    images that are not uint8, labels out of range, or shapes that do not fit.
    """
    labels, classes = np.asarray(labels), len(params[-1].biases)
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}: expected 0 to {classes - 1}")
    cost, answers = _cost_and_answers(params, jnp.asarray(images), jnp.asarray(labels), model)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, np.asarray(answers)), 1)
    return Evaluation(float(cost), confusion)


@jax.jit
def _cost_and_answers(
    params: Params, images: Array, labels: Array, model: Model
) -> tuple[Float[Array, ""], Integer[Array, " n"]]:
    inputs = as_inputs(images, params)
    targets = jax.nn.one_hot(labels, len(params[-1].biases), dtype=inputs.dtype)
    return loss(params, inputs, targets, model), predict(params, inputs, model)
