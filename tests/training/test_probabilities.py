"""Log loss and calibration, against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
from sklearn.calibration import calibration_curve

from mlp_jax.training import as_probabilities, calibration, calibration_error, log_loss

RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet([1, 1, 1], size=400)
CLASSES = RANDOM.integers(0, 3, size=400)


def test_log_loss_is_scikit_learns():
    assert log_loss(PROBABILITIES, CLASSES) == pytest.approx(sklearn.metrics.log_loss(CLASSES, PROBABILITIES))
    sure = np.array([[1.0, 0.0]], np.float32)
    assert log_loss(sure, np.array([1])) == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_calibration_is_scikit_learns():
    """Its curve of two classes has the bins from 0 to 1 for the second; ours are of the answer, 0.5 to 1."""
    highest, right = PROBABILITIES.max(axis=1), PROBABILITIES.argmax(axis=1) == CLASSES
    expected_right, expected_said = calibration_curve(right, highest, n_bins=10)
    said, correct, count = calibration(PROBABILITIES, CLASSES)
    full = count > 0
    np.testing.assert_allclose(said[full], expected_said)
    np.testing.assert_allclose(correct[full], expected_right)
    weighted = np.sum(count[full] * np.abs(expected_said - expected_right)) / 400
    assert calibration_error(PROBABILITIES, CLASSES) == pytest.approx(weighted)


def test_probabilities_that_are_true_are_calibrated_and_boasts_are_not():
    drawn = np.array([RANDOM.choice(3, p=row) for row in PROBABILITIES])
    boasts = np.eye(3)[PROBABILITIES.argmax(axis=1)]
    assert calibration_error(PROBABILITIES, drawn) < 0.1 < calibration_error(boasts, drawn)


def test_outputs_become_probabilities():
    outputs = as_probabilities(np.array([[0.2, 0.6], [0.0, 0.0]]))
    np.testing.assert_allclose(outputs, [[0.25, 0.75], [0.5, 0.5]])
