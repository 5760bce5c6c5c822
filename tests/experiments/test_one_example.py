"""one-example: what an image wants, against automatic differentiation, and where listening to it alone leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import BEFORE, IMAGES, LABELS, MODEL, dataset, subject

from mlp_jax import Model, forward_pass, loss, relu
from mlp_jax.experiments import claim_of, one_example
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
    np.testing.assert_allclose(measured.wanted_weights, -gradient[2].weights, atol=1e-6)
    slopes = measured.outputs * (1 - measured.outputs)
    by_hand = np.outer(measured.wanted_outputs * slopes, measured.activations)
    np.testing.assert_allclose(measured.wanted_weights, by_hand, atol=1e-6)
    np.testing.assert_allclose(measured.first_weights.reshape(5, 16), -gradient[0].weights, atol=1e-6)


def test_correlations_are_those_of_numpy():
    draw = np.random.default_rng(1)
    rows, others = draw.normal(size=(2, 4, 6)), draw.normal(size=(2, 1, 6))
    rows[1, 2] = 3.0
    found = one_example.correlations(rows, others)
    np.testing.assert_allclose(found[0, 3], np.corrcoef(rows[0, 3], others[0, 0])[0, 1])
    assert np.isnan(found[1, 2])


def test_the_last_layer_alone_says_what_raising_a_weight_does(measured):
    """Raise each weight by 1, run the whole network, and correlate the changes with the activations."""
    images, target = np.float32(IMAGES[LABELS == 2] / 255), np.eye(3, dtype=np.float32)[2]
    cost, medians = jax.jit(loss), []
    for pixels in images:
        here = float(cost(PARAMS, pixels, target, MODEL))
        before = np.asarray(forward_pass(PARAMS, pixels, MODEL)[1][-2])
        for output in range(3):
            changes = [
                abs(float(cost(_raised(PARAMS, output, neuron), pixels, target, MODEL)) - here)
                for neuron in range(len(before))
            ]
            medians.append(np.corrcoef(changes, before)[0, 1])
    np.testing.assert_allclose(measured.stronger[0], np.median(medians), atol=0.01)


def _raised(params, output, neuron):
    *others, last = params
    return (*others, last._replace(weights=last.weights.at[output, neuron].add(1.0)))


def test_averaged_brightness_is_that_of_gradients_one_by_one(measured):
    """For one example it is an identity; over all of them, a mean of gradients beside a mean of activations."""
    np.testing.assert_allclose(measured.bright[:, :, 0], 1, atol=1e-4)
    inputs, targets = np.float32(IMAGES / 255), np.eye(3, dtype=np.float32)[LABELS]
    gradient = cost_and_gradient(PARAMS, inputs, targets, MODEL)[1]
    before = np.abs(forward_pass(PARAMS, inputs, MODEL)[1][-2]).mean(axis=0)
    rows = [np.corrcoef(np.abs(row), before)[0, 1] for row in gradient[-1].weights]
    np.testing.assert_allclose(measured.bright[0, 0, -1, -1], np.median(rows), atol=1e-3)


def test_steps_do_what_they_promise_and_lead_to_one_answer_for_all(measured):
    assert measured.steps == (0, 1, 3, 10, 30, 100, 300)
    assert measured.called.shape == (2, 2, 7)
    np.testing.assert_array_equal(measured.called[:, :, -1], 1)  # neither kind had learned anything here
    params, costs = PARAMS, []
    for _ in range(2):
        cost, gradient = cost_and_gradient(params, *EXAMPLE, MODEL)
        costs.append(float(cost))
        squared = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient))
        rate = min(3.0, 0.1 * float(cost) / squared)
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient)
    if rate < 3.0:
        fall = (costs[0] - costs[1]) / (0.1 * costs[0])
        np.testing.assert_allclose(measured.fall[0, 0], fall, rtol=1e-3)
    two_steps = one_example._trained_on(BEFORE, *EXAMPLE, 2, MODEL)
    for ours, theirs in zip(jax.tree.leaves(two_steps), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "fails"),
    [("stronger", 0.8, "a stronger influence"), ("fall", 0.85, "the most bang for your buck"),
     ("fall", np.nan, "the most bang for your buck"), ("called", 0.8, "every image a 2")],
)  # fmt: skip
def test_each_part_can_fail(measured, field, value, fails):
    ones = measured._replace(
        stronger=np.ones(2), fall=np.ones_like(measured.fall), called=np.ones_like(measured.called)
    )
    assert one_example.judge(ones).verdict == "holds"
    finding = one_example.judge(ones._replace(**{field: np.full_like(getattr(ones, field), value)}))
    assert list(finding.parts) == list(claim_of("one-example").criteria)
    assert [name for name, holds in finding.parts.items() if not holds] == [fails]


@pytest.mark.parametrize("sizes", [pytest.param((16, 3), marks=pytest.mark.slow), (16, 20, 3)])
def test_any_image_and_any_sizes(sizes):
    networks = init_population([0, 1], sizes)
    measured = one_example.measure(subject(networks, image=4, model=Model(hidden=relu)))
    assert (measured.image, measured.label) == (4, 1)
    assert measured.bright.shape == (2, 2, 4, len(sizes) - 1)
    assert len(measured.first_neurons) == min(8, sizes[1])
    axes = one_example.draw(measured).axes
    assert axes[1].get_ylabel() == "activation"
    assert axes[2].get_ylabel() == "test images called 1, %"


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(SubjectError, match="images of one channel"):
        one_example.measure(subject(data=dataset(shape=None)))
