"""noise: against networks whose answer to noise is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import Dataset, Layer, Model
from mlp_jax.experiments import noise
from mlp_jax.experiments.subject import Subject

IMAGES = np.zeros((4, 9), np.uint8)
DATA = Dataset(IMAGES, np.arange(4) % 2, IMAGES, np.arange(4) % 2, classes=2, image_shape=(3, 3, 1))


def network(weight, bias):
    """Two outputs: one that sees all pixels alike, one that is off."""
    weights = jnp.stack([jnp.full(9, weight), jnp.zeros(9)])
    return (Layer(weights, jnp.array([bias, -50.0])),)


def subject(*networks):
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    return Subject(params, params, Model(), DATA)


def test_the_brightest_outputs_are_counted():
    measured = noise.measure(subject(network(10.0, 0.0), network(0.0, -50.0)))
    np.testing.assert_array_equal(measured.sure_of_noise, [1, 0])  # 9 pixels, never all near 0
    np.testing.assert_array_equal(measured.sure_of_digits, [0, 0])  # sigmoid(0) is not above one half
    np.testing.assert_allclose(measured.noise[:, -1], [1, 0])
    np.testing.assert_allclose(measured.noise[:, 0], [0, 1])
    np.testing.assert_allclose(measured.called[0], [1, 0])
    np.testing.assert_allclose(measured.noise.sum(axis=1), 1)


@pytest.mark.parametrize(("weight", "holds"), [(10.0, True), (-10.0, False)])
def test_the_claim_holds_for_networks_that_are_sure_of_noise(weight, holds):
    measured = noise.measure(subject(network(weight, 0.0)))
    finding = noise.judge(measured)
    assert finding.holds is holds
    assert finding.text.startswith("100%" if holds else "0%")


def test_the_figure_names_its_axes():
    brightness, called = noise.draw(noise.measure(subject(network(1.0, 0.0)))).axes
    assert brightness.get_xlabel() == "brightest output"
    assert called.get_ylabel() == "share of random images, %"
