"""noise: against networks whose answer to noise is known."""

import numpy as np
import pytest
from subjects import COUNT, LABELS, dataset, subject

from mlp_jax import Layer
from mlp_jax.experiments import noise

DATA = dataset(np.zeros((COUNT, 16), np.uint8), LABELS % 2, classes=2)


def networks(weights, biases):
    """Each has two outputs: one that sees all pixels alike, one that is off."""
    weights, biases = np.float32(weights), np.float32(biases)
    off = np.zeros_like(biases)
    return (Layer(np.stack([weights, off], axis=1)[..., None].repeat(16, 2), np.stack([biases, off - 50], axis=1)),)


def measure(weights, biases):
    return noise.measure(subject(networks(weights, biases), data=DATA))


def test_the_brightest_outputs_are_counted():
    measured = measure([10, 0], [0, -50])
    np.testing.assert_array_equal(measured.sure_of_noise, [1, 0])  # 16 pixels, never all near 0
    np.testing.assert_array_equal(measured.sure_of_digits, [0, 0])  # sigmoid(0) is not above one half
    np.testing.assert_allclose(measured.noise[:, -1], [1, 0])
    np.testing.assert_allclose(measured.noise[:, 0], [0, 1])
    np.testing.assert_allclose(measured.called[0], [1, 0])
    np.testing.assert_allclose(measured.noise.sum(axis=1), 1)


@pytest.mark.parametrize(("weight", "holds"), [(10.0, True), (-10.0, False)])
def test_the_claim_holds_for_networks_that_are_sure_of_noise(weight, holds):
    measured = measure([weight] * 2, [0, 0])
    finding = noise.judge(measured)
    assert finding.holds is holds
    assert finding.text.startswith("100%" if holds else "0%")


def test_the_figure_names_its_axes():
    brightness, called = noise.draw(measure([1, 1], [0, 0])).axes
    assert brightness.get_xlabel() == "brightest output"
    assert called.get_ylabel() == "share of random images, %"
