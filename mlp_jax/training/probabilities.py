"""How good the probabilities are that a network gives to classes."""

import numpy as np
from jaxtyping import Float, Integer

BINS = 10


def as_probabilities(outputs: Float[np.ndarray, "n n_out"]) -> Float[np.ndarray, "n n_out"]:
    """Outputs of 0 or more as probabilities: divided by their sum, if that is not 1 already.

    >>> from mlp_jax.training import as_probabilities
    >>> as_probabilities(np.array([[0.2, 0.6]])).round(2).tolist()
    [[0.25, 0.75]]
    """
    outputs = np.asarray(outputs, np.float64)
    total = outputs.sum(axis=1, keepdims=True)
    return np.where(total > 0, outputs / np.where(total > 0, total, 1), 1 / outputs.shape[1])


def log_loss(probabilities: Float[np.ndarray, "n n_out"], classes: Integer[np.ndarray, " n"]) -> float:
    """Minus the logarithm of the probability of the true class, averaged: 0 is perfect.

    Probabilities below the smallest step of float32, 1e-7, count as that.

    >>> from mlp_jax.training import log_loss
    >>> round(log_loss(np.array([[0.5, 0.5]]), np.array([1])), 4)
    0.6931
    """
    true = np.take_along_axis(np.asarray(probabilities, np.float64), classes[:, None], axis=1)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).eps)).mean())


def calibration(
    probabilities: Float[np.ndarray, "n n_out"], classes: Integer[np.ndarray, " n"], bins: int = BINS
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Integer[np.ndarray, " bins"]]:
    """Whether answers with a probability of 0.8 are right in 8 of 10 cases.

    Answers, the classes of the highest probability, are sorted into `bins` equal bins by that probability.

    Returns for each bin the mean probability, the fraction that is right, both NaN if it is empty, and the count.

    >>> from mlp_jax.training import calibration
    >>> said, right, count = calibration(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 0]), bins=1)
    >>> said.tolist(), right.tolist(), count.tolist()
    ([0.75], [0.5], [2])
    """
    highest, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    place = np.clip((highest * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        said, correct = (np.bincount(place, values, bins) / count for values in (highest, right.astype(float)))
    return said, correct, count


def calibration_error(probabilities: Float[np.ndarray, "n n_out"], classes: Integer[np.ndarray, " n"]) -> float:
    """The mean distance of the probability of an answer from how often such answers are right, over 10 bins.

    0 is perfect. Known as the expected calibration error (Guo et al. 2017, "On calibration of modern neural networks").

    >>> from mlp_jax.training import calibration_error
    >>> round(calibration_error(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 1])), 2)
    0.25
    """
    said, right, count = calibration(probabilities, classes)
    return float(np.nansum(count * np.abs(said - right)) / count.sum())
