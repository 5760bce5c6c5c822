"""binary: activations and costs against NumPy, and each verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import DATA, IMAGES, LABELS

from mlp_jax import backprop, init_params
from mlp_jax.experiments import binary, claim_of
from mlp_jax.experiments.subject import SIZES

INPUTS, TARGETS = np.float32(IMAGES / 255), np.eye(3, dtype=np.float32)[LABELS]


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"NUDGES": 2, "ALONG": 3, "STEEPNESS": (1, 4), "EPOCHS": 1, "BATCH": 10}.items():
            patch.setattr(binary, name, value)
        return binary.measure(DATA)


def test_a_step_network_is_on_or_off_and_has_no_slope(measured):
    params = init_params(jax.random.key(0), (16, *SIZES[1:-1], 3))
    a = INPUTS
    for layer in params:
        a = np.float32(a @ layer.weights.T + layer.biases > 0)
    shown = np.mean(np.sum((a - TARGETS) ** 2, axis=1))
    assert measured.line[0, 1] == pytest.approx(float(shown))  # in the middle of the line is the start
    gradient = backprop(params, INPUTS, TARGETS, binary.MODELS[0])
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))
    a = INPUTS
    for layer in params:
        a = 1 / (1 + np.exp(-(a @ layer.weights.T + layer.biases)))
    assert measured.line[1, 1] == pytest.approx(float(np.mean(np.sum((a - TARGETS) ** 2, axis=1))), rel=1e-5)
    assert measured.changed[0] < measured.changed[1]
    assert measured.accuracy.shape == (2, len(binary.SEEDS))


def test_a_steep_sigmoid_has_its_own_slope():
    z = jnp.linspace(-1, 1, 7)
    for k in (1, 16):
        steep = binary.steep(k)
        np.testing.assert_allclose(steep.value(z), 1 / (1 + np.exp(-k * z)), rtol=1e-5)
        np.testing.assert_allclose(steep.derivative(z), jax.vmap(jax.grad(steep.value))(z), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "steepest", "parts"),
    [
        ((0.01, 1.0), 0.1, [True, True]),
        ((0.6, 1.0), 0.1, [False, True]),
        ((0.01, 0.8), 0.1, [False, True]),
        ((0.01, 1.0), 0.85, [True, False]),
    ],
)
def test_each_part_can_fail(measured, changed, steepest, parts):
    accuracy = np.array([[0.9], [steepest]])
    finding = binary.judge(measured._replace(changed=np.array(changed), accuracy=accuracy))
    assert list(finding.parts) == list(claim_of("binary").criteria)
    assert list(finding.parts.values()) == parts


def test_the_figure_names_its_axes(measured):
    far, near, learned = binary.draw(measured).axes
    assert far.get_ylabel() == "cost of all images"
    assert far.get_xlabel() == near.get_xlabel() == "distance a parameter"
    assert learned.get_ylabel() == "training accuracy, %"
