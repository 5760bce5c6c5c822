"""The recursion as the article tells it, in NumPy, against what the experiment measures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import AFTER, IMAGES, LABELS, MODEL, subject

import mlp_jax
from mlp_jax import Model, loss
from mlp_jax.experiments import suggested
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import init_population


@pytest.fixture(scope="module")
def measured():
    return suggested.measure(subject())


def in_proportion(step):
    """Suggestions of a step times the negative slope, and what is left of them is squared."""
    return lambda off: 2 * off, lambda delta, weights: step * delta @ weights


def of_one_length(length):
    """Each neuron suggests a nudge of this length along its weights."""
    unit = lambda weights: weights / np.linalg.norm(weights, axis=1, keepdims=True)  # noqa: E731
    return lambda off: 2 * off, lambda delta, weights: length * np.sign(delta) @ unit(weights)


DISTANCES = np.sign, lambda delta, weights: delta @ weights  # the error of a neuron is |y - a|


def by_the_article(params, inputs, targets, error, suggest):
    """One layer after the other the last: it gets its targets, and suggests the activations before it."""
    activations = [inputs]
    for weights, biases in params:
        activations.append(1 / (1 + np.exp(-(activations[-1] @ weights.T + biases))))
    gradient = []
    for (weights, _), before, a in zip(params[::-1], activations[-2::-1], activations[:0:-1], strict=True):
        delta = error(a - targets) * a * (1 - a)
        gradient.insert(0, np.concatenate([(delta.T @ before).ravel(), delta.sum(axis=0)]) / len(inputs))
        targets = before - suggest(delta, weights)
    return gradient


def angle(one, other):
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.usefixtures("float64")
def test_each_reading_against_the_automatic_gradient(measured):
    inputs, targets = IMAGES / 255, np.eye(3)[LABELS]
    second = jax.tree.map(lambda leaf: np.asarray(leaf[1], np.float64), AFTER)
    exact = jax.jit(jax.grad(loss))(second, jnp.asarray(inputs), jnp.asarray(targets), MODEL)
    exact = [np.concatenate([np.ravel(leaf) for leaf in layer]) for layer in exact]
    for number, step in enumerate(measured.steps):
        found = by_the_article(second, inputs, targets, *in_proportion(step))
        ratios = [np.linalg.norm(f) / np.linalg.norm(e) for f, e in zip(found, exact, strict=True)]
        np.testing.assert_allclose(measured.ratios[1, 1, number, :-1], ratios, rtol=1e-6)
        whole = angle(np.concatenate(found), np.concatenate(exact))
        assert measured.angles[1, 1, number, -1] == pytest.approx(whole, abs=1e-4)
    readings = [(measured.of_one_length[1, 1, n], of_one_length(length)) for n, length in enumerate(measured.lengths)]
    for angles, reading in (*readings, (measured.of_distances[1, 1], DISTANCES)):
        found = by_the_article(second, inputs, targets, *reading)
        expected = [angle(f, e) for f, e in zip(found, exact, strict=True)]
        expected.append(angle(np.concatenate(found), np.concatenate(exact)))
        np.testing.assert_allclose(angles, expected, atol=1e-4)
        assert expected[-1] > 1


@pytest.mark.parametrize(
    ("sizes", "model"),
    [
        ((16, 4, 3), Model(mlp_jax.tanh, mlp_jax.softmax, mlp_jax.cross_entropy)),
        pytest.param((16, 4, 3, 3), Model(mlp_jax.softmax, mlp_jax.identity), marks=pytest.mark.slow),
        pytest.param((16, 5, 4, 3, 3), Model(mlp_jax.relu), marks=pytest.mark.slow),
    ],
)
def test_other_networks(sizes, model):
    measured = suggested.measure(subject(init_population([0], sizes), model=model))
    found = suggested.judge(measured)
    assert found.parts["steps of half the slope"]
    ratios = measured.ratios[0, 0, :, :-1]
    below = np.arange(len(sizes) - 1)[::-1]
    expected = (2 * np.array(measured.steps)[:, None]) ** below
    np.testing.assert_allclose(ratios, np.where(np.isnan(ratios), np.nan, expected), rtol=1e-9)
    assert not np.isnan(ratios).any() or model.hidden == mlp_jax.relu  # neurons that no image lights have no gradient
    assert len(suggested.draw(measured).axes) == 3


def test_without_a_hidden_layer_nothing_is_suggested():
    with pytest.raises(SubjectError, match=r"needs a hidden layer.*the network is 16-3"):
        suggested.measure(subject(init_population([0], (16, 3))))


def test_each_part_is_judged(measured):
    finding = suggested.judge(measured)
    assert finding.parts == dict.fromkeys(finding.parts, False) | {"steps of half the slope": True}
    turned, longer = measured.angles.copy(), measured.ratios.copy()
    turned[:, :, suggested.HALF, 0] = 1
    longer[1, 0, suggested.HALF, 1] = 1.01
    for refuted in ({"angles": turned}, {"ratios": longer}):
        assert suggested.judge(measured._replace(**refuted)).verdict == "does not hold"
    same = {name: np.zeros_like(getattr(measured, name)) for name in ("angles", "of_one_length", "of_distances")}
    assert suggested.judge(measured._replace(**same)).verdict == "holds"


def test_the_figure_names_its_axes(measured):
    panels = suggested.draw(measured).axes
    assert len(panels) == 3
    assert all(panel.get_xlabel() for panel in panels)
