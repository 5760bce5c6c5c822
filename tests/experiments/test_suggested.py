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


def by_the_article(params, inputs, targets, step):
    """One layer after the other the last: it gets its targets, and suggests the activations before it."""
    activations = [inputs]
    for weights, biases in params:
        activations.append(1 / (1 + np.exp(-(activations[-1] @ weights.T + biases))))
    gradient = []
    for (weights, _), before, a in zip(params[::-1], activations[-2::-1], activations[:0:-1], strict=True):
        delta = 2 * (a - targets) * a * (1 - a)
        gradient.insert(0, np.concatenate([(delta.T @ before).ravel(), delta.sum(axis=0)]) / len(inputs))
        targets = before - step * delta @ weights
    return gradient


@pytest.mark.usefixtures("float64")
def test_it_is_the_articles_recursion_against_the_automatic_gradient(measured):
    inputs, targets = IMAGES / 255, np.eye(3)[LABELS]
    second = jax.tree.map(lambda leaf: np.asarray(leaf[1], np.float64), AFTER)
    exact = jax.jit(jax.grad(loss))(second, jnp.asarray(inputs), jnp.asarray(targets), MODEL)
    exact = [np.concatenate([np.ravel(leaf) for leaf in layer]) for layer in exact]
    for number, step in enumerate(measured.steps):
        found = by_the_article(second, inputs, targets, step)
        ratios = [np.linalg.norm(f) / np.linalg.norm(e) for f, e in zip(found, exact, strict=True)]
        np.testing.assert_allclose(measured.ratios[1, number], ratios, rtol=1e-6)
        f, e = np.concatenate(found), np.concatenate(exact)
        cosine = np.clip(f @ e / np.linalg.norm(f) / np.linalg.norm(e), -1, 1)
        assert measured.whole[1, number] == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-4)
    assert measured.whole[1, -1] > 1


def test_float32_rounds_and_float64_less(measured):
    below_the_last = measured.angles_in_float32[..., :-1]
    assert np.all(below_the_last > 1e-6)
    assert np.all(below_the_last < 0.1)
    assert np.all(measured.angles < 1e-9)
    np.testing.assert_allclose(measured.expected[:, -1], 1)
    np.testing.assert_allclose(measured.expected[0], [1 / 16, 1 / 4, 1])


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
    assert found.holds
    assert "1 network;" in found.text
    dead = np.isnan(measured.ratios[0])
    np.testing.assert_allclose(measured.ratios[0], np.where(dead, np.nan, measured.expected), rtol=1e-9)
    assert not dead.any() or model.hidden == mlp_jax.relu  # neurons that no image lights have no gradient
    assert len(suggested.draw(measured).axes) == 2


def test_without_a_hidden_layer_nothing_is_suggested():
    with pytest.raises(SubjectError, match=r"needs a hidden layer.*the network is 16-3"):
        suggested.measure(subject(init_population([0], (16, 3))))


def test_the_finding(measured):
    found = suggested.judge(measured)
    assert found.holds
    assert f"by {np.median(measured.whole[:, 0]):.0f} degrees with step 1/8" in found.text
    turned, longer, lost = measured.angles.copy(), measured.ratios.copy(), measured.angles.copy()
    turned[1, 0, 0] = 1  # with another step a layer of one network points elsewhere
    longer[1, suggested.HALF, 1] = 1.01
    lost[0, 2, 2] = np.nan
    for refuted in ({"angles": turned}, {"ratios": longer}, {"angles": lost}):
        assert not suggested.judge(measured._replace(**refuted)).holds


def test_the_figure_names_its_axes(measured):
    panels = suggested.draw(measured).axes
    assert len(panels) == 2
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in panels)
