"""sensitivity: against derivatives by hand, and nudges made in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import COUNT, IMAGES, LABELS, dataset, one, subject

from mlp_jax import Layer, Model, identity, init_params
from mlp_jax.experiments import sensitivity
from mlp_jax.experiments.subject import SubjectError


@pytest.fixture(scope="module")
def measured():
    return sensitivity.measure(subject())


def cost(weights, biases):
    """The average cost of a network without hidden layers whose outputs are weighted sums."""
    outputs = IMAGES / 255 @ weights.T + biases
    return np.mean(np.sum((outputs - np.eye(3)[LABELS]) ** 2, axis=1))


def test_every_parameter_is_nudged_and_measured_as_in_numpy():
    network = init_params(jax.random.key(2), (16, 3))
    measured = sensitivity.measure(subject(one(network), model=Model(identity, identity)))
    weights, biases = (np.asarray(leaf, np.float64) for leaf in network[0])
    slopes = {}
    for index in np.ndindex(3, 16):
        nudge = np.zeros((3, 16))
        nudge[index] = 1e-4
        name = f"[0].weights[{index[0]}, {index[1]}]"
        slopes[name] = (cost(weights + nudge, biases) - cost(weights - nudge, biases)) / 2e-4
    for j, nudge in enumerate(1e-4 * np.eye(3)):
        slopes[f"[0].biases[{j}]"] = (cost(weights, biases + nudge) - cost(weights, biases - nudge)) / 2e-4
    ranked = sorted(slopes, key=lambda name: -abs(slopes[name]))
    expected = [slopes[name] for name in ranked[:48]]  # the last three are those of the dark pixel
    assert measured.parameters == 51
    np.testing.assert_allclose(np.unique(measured.predicted[0]), np.unique(expected), rtol=1e-6)
    np.testing.assert_allclose(np.sort(measured.measured[0]), np.sort(expected), rtol=1e-6)
    assert measured.most == ranked[0]
    np.testing.assert_allclose(measured.silent, 3 / 51)
    np.testing.assert_allclose(measured.ranking[0], np.abs([slopes[name] for name in ranked]), atol=1e-6)


def test_the_gradient_predicts_what_nudges_do(measured):
    np.testing.assert_allclose(measured.measured, measured.predicted, rtol=1e-5, atol=1e-11)
    np.testing.assert_allclose(measured.silent, 5 / 124)
    finding = sensitivity.judge(measured)
    assert finding.parts["nudges change the cost as the gradient says"]
    assert finding.text.startswith("The gradient predicts 100.0% of the measured changes to 1%")
    assert finding.table["the most sensitive parameter of the first network"] == measured.most


@pytest.mark.parametrize("wrong", [0.5, -1.0])
def test_the_claim_fails_where_the_cost_answers_otherwise(measured, wrong):
    changes = measured.measured.copy()
    changes[1, ::7] *= wrong
    for found in (changes, 2 * measured.measured):
        parts = sensitivity.judge(measured._replace(measured=found)).parts
        assert not parts["nudges change the cost as the gradient says"]


def test_ratios_and_the_most_sensitive_are_judged(measured):
    sizes = np.tile([32.0, 2.0, 1.0, 0.5, 0.25], (2, 1))
    made = measured._replace(predicted=sizes, measured=sizes)
    assert sensitivity.judge(made).verdict == "holds"
    other = sizes * [1, 1, 1.1, 1, 1]
    assert not sensitivity.judge(made._replace(measured=other)).parts["32 times the component, 32 times the change"]
    flat = np.tile([32.0, 30.0, 20.0, 10.0, 1.0], (2, 1))
    finding = sensitivity.judge(made._replace(predicted=flat, measured=flat))
    assert (finding.verdict, finding.parts["some matter much more"]) == ("holds in part", False)


def test_a_network_without_a_gradient_is_refused():
    data = dataset(np.zeros((COUNT, 16), np.uint8), np.zeros(COUNT, int))
    perfect = one((Layer(jnp.zeros((3, 16)), jnp.array([1.0, 0.0, 0.0])),))
    with pytest.raises(SubjectError, match="with a component above 1e-09"):
        sensitivity.measure(subject(perfect, data=data, model=Model(identity, identity)))


def test_the_figure_names_its_axes(measured):
    answers, ranking = sensitivity.draw(measured).axes
    assert answers.get_xlabel() == "size of the gradient's component"
    assert ranking.get_xlabel() == "place among 124 parameters, %"
