"""one-example: what an image wants, against automatic differentiation, and where listening to it alone leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import BEFORE, IMAGES, MODEL, dataset, subject

from mlp_jax import Model, loss, relu
from mlp_jax.experiments import one_example
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import init_population, member

EXAMPLE = jnp.asarray(IMAGES[2], jnp.float32) / 255, jnp.eye(3)[2]
PARAMS = member(BEFORE, 0)
cost_and_gradient = jax.jit(jax.value_and_grad(loss))


@pytest.fixture(scope="module")
def measured():
    return one_example.measure(subject(initial=BEFORE))


def test_wanted_changes_are_negative_derivatives_of_the_first_untrained_network(measured):
    _, gradient = cost_and_gradient(PARAMS, *EXAMPLE, MODEL)
    assert (measured.image, measured.label) == (2, 2)
    np.testing.assert_allclose(measured.pixels.ravel(), IMAGES[2] / 255, rtol=1e-6)
    np.testing.assert_allclose(measured.wanted_outputs, 2 * (np.eye(3)[2] - measured.outputs), rtol=1e-5)
    assert [layer.layer for layer in measured.behind] == [2, 1]
    for layer in measured.behind:
        np.testing.assert_allclose(layer.weights, -gradient[layer.layer].weights, atol=1e-6)
        by_hand = layer.weights / layer.activations[None]  # of the weights' biases, in each column
        wanted = by_hand[:, 0] @ np.asarray(PARAMS[layer.layer].weights)
        np.testing.assert_allclose(layer.wanted, wanted, atol=1e-5)
    np.testing.assert_allclose(measured.first_weights.reshape(5, 16), -gradient[0].weights, atol=1e-6)


def test_correlations_are_those_of_numpy(measured):
    np.testing.assert_allclose(measured.bright, 1, atol=1e-5)
    expected = np.corrcoef(measured.behind[0].wanted, PARAMS[2].weights[2])[0, 1]
    np.testing.assert_allclose(measured.strong[0], expected, rtol=1e-4)
    draw = np.random.default_rng(1)
    rows, others = draw.normal(size=(2, 4, 6)), draw.normal(size=(2, 6))
    rows[1, 2] = 3.0
    found = one_example._correlations(rows, others)
    np.testing.assert_allclose(found[0, 3], np.corrcoef(rows[0, 3], others[0])[0, 1])
    assert np.isnan(found[1, 2])


def test_steps_do_what_they_promise_and_lead_to_one_answer_for_all(measured):
    np.testing.assert_allclose(measured.fall, 1, atol=0.01)
    assert measured.called.shape == (2, 2, 8)
    np.testing.assert_array_equal(measured.called[:, :, -1], 1)  # neither kind had learned anything here
    params = PARAMS
    for _ in range(2):
        cost, gradient = cost_and_gradient(params, *EXAMPLE, MODEL)
        squared = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient))
        rate = min(3.0, 0.1 * float(cost) / squared)
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient)
    two_steps = one_example._trained_on(BEFORE, *EXAMPLE, 2, MODEL)
    for ours, theirs in zip(jax.tree.leaves(two_steps), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"), [("bright", [1.0, 0.9]), ("fall", [1.0, 0.9]), ("fall", [np.nan, 1.0]), ("called", 0.8)]
)
def test_the_claim_fails_where_a_part_of_it_does(measured, field, value):
    measured = measured._replace(called=np.ones((2, 2, 8)))
    assert one_example.judge(measured).holds
    wrong = np.full((2, 2, 8), value) if field == "called" else np.array(value)
    assert not one_example.judge(measured._replace(**{field: wrong})).holds


@pytest.mark.parametrize("sizes", [pytest.param((16, 3), marks=pytest.mark.slow), (16, 20, 3)])
def test_any_image_and_any_sizes(sizes):
    networks = init_population([0, 1], sizes)
    measured = one_example.measure(subject(networks, image=4, model=Model(hidden=relu)))
    assert (measured.image, measured.label) == (4, 1)
    assert len(measured.behind) == len(sizes) - 2
    assert len(measured.first_neurons) == min(16, sizes[1])
    outputs, called, *others = one_example.draw(measured).axes[1:]
    assert outputs.get_ylabel() == "activation"
    assert called.get_ylabel() == "test images called 1, %"
    assert len(others) == 2 * (len(sizes) - 2) + 8 * (-(-len(measured.first_neurons) // 8))


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(SubjectError, match="images of one channel"):
        one_example.measure(subject(data=dataset(shape=None)))
