"""noise: against networks whose answer to noise is known."""

import numpy as np
import pytest
from subjects import COUNT, LABELS, dataset, subject

from mlp_jax import Layer
from mlp_jax.experiments import noise

DATA = dataset(np.zeros((COUNT, 16), np.uint8), LABELS % 2, classes=2)


def networks(weights, biases, others):
    """Each has two outputs: one that sees all pixels alike, one that sees none and has these biases."""
    weights, biases, others = map(np.float32, (weights, biases, others))
    seen = np.stack([weights, np.zeros_like(weights)], axis=1)[..., None].repeat(16, 2)
    return (Layer(seen, np.stack([biases, others], axis=1)),)


def measure(weights, biases, others=(-50, -50)):
    return noise.measure(subject(networks(weights, biases, others), data=DATA))


def test_the_brightest_outputs_are_counted():
    measured = measure([10, 0], [0, -50])
    np.testing.assert_array_equal(measured.on, [[1, 0], [0, 0]])  # 16 pixels, never all near 0; sigmoid(0) is not on
    np.testing.assert_array_equal(measured.sure, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(measured.alone, [[1, 0], [0, 0]])
    np.testing.assert_allclose(measured.median, [[1, 0], [0.5, 0]], atol=1e-6)
    np.testing.assert_allclose(measured.shares[0, :, -1], [1, 0])
    np.testing.assert_allclose(measured.shares[0, :, 0], [0, 1])
    np.testing.assert_allclose(measured.called[0], [1, 0])
    np.testing.assert_allclose(measured.shares.sum(axis=2), 1)


def test_two_outputs_that_light_up_are_no_answer():
    np.testing.assert_array_equal(measure([10] * 2, [0, 0], [50, 50]).alone, 0)


@pytest.mark.parametrize(
    ("weight", "bias", "verdict"),
    [
        (10.0, 0.0, "holds"),  # sure of noise, and not of the blank images that stand for digits
        (-10.0, 0.0, "does not hold"),
        (-0.45, 5.0, "holds in part"),  # sure of both, but less of noise
    ],
)
def test_what_networks_make_of_noise_is_judged(weight, bias, verdict):
    finding = noise.judge(measure([weight] * 2, [bias] * 2))
    assert finding.verdict == verdict
    assert finding.parts["an answer instead of doubt"] is (verdict != "does not hold")
    assert finding.text.startswith("0%" if verdict == "does not hold" else "100%")


def test_the_figure_names_its_axes():
    brightness, called = noise.draw(measure([1, 1], [0, 0])).axes
    assert brightness.get_xlabel() == "brightest output"
    assert called.get_ylabel() == "share of random images, %"
