"""The recursion as the article tells it, in NumPy, against what the experiment measures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax import Model, loss
from mlp_jax.experiments import suggested
from mlp_jax.experiments.subject import Subject, SubjectError
from mlp_jax.training import init_population


@pytest.fixture(scope="module")
def dataset():
    mnist = mlp_jax.load_dataset()
    return replace(mnist, train_images=mnist.train_images[:120], train_labels=mnist.train_labels[:120])


def subject_of(dataset, sizes, members=1, model=Model()):
    networks = init_population(range(members), sizes)
    return Subject(networks, networks, model, dataset)


@pytest.fixture(scope="module")
def measured(dataset):
    return suggested.measure(subject_of(dataset, (784, 6, 5, 10), 2))


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
def test_it_is_the_articles_recursion_against_the_automatic_gradient(dataset, measured):
    inputs = dataset.train_images[: suggested.EXAMPLES].astype(np.float32) / 255
    targets = np.eye(10)[dataset.train_labels[: suggested.EXAMPLES]]
    subject = subject_of(dataset, (784, 6, 5, 10), 2)
    second = jax.tree.map(lambda leaf: np.asarray(leaf[1], np.float64), subject.networks)
    exact = jax.grad(loss)(jax.tree.map(jnp.asarray, second), jnp.asarray(inputs, jnp.float64), jnp.asarray(targets))
    exact = [np.concatenate([np.ravel(leaf) for leaf in layer]) for layer in exact]
    for number, step in enumerate(measured.steps):
        found = by_the_article(second, inputs.astype(np.float64), targets, step)
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
        ((784, 4, 3, 10), Model(mlp_jax.tanh, mlp_jax.softmax, mlp_jax.cross_entropy)),
        pytest.param((784, 4, 3, 10), Model(mlp_jax.softmax, mlp_jax.identity), marks=pytest.mark.slow),
        pytest.param((784, 5, 4, 3, 10), Model(mlp_jax.relu), marks=pytest.mark.slow),
    ],
)
def test_other_networks(dataset, sizes, model):
    measured = suggested.measure(subject_of(dataset, sizes, model=model))
    found = suggested.judge(measured)
    assert found.holds
    assert "1 network;" in found.text
    dead = np.isnan(measured.ratios[0])
    np.testing.assert_allclose(measured.ratios[0], np.where(dead, np.nan, measured.expected), rtol=1e-9)
    assert dead.any() == (model.hidden == mlp_jax.relu)  # neurons that no image lights have no gradient
    assert len(suggested.draw(measured).axes) == 2


def test_without_a_hidden_layer_nothing_is_suggested(dataset):
    with pytest.raises(SubjectError, match=r"needs a hidden layer.*the network is 784-10"):
        suggested.measure(subject_of(dataset, (784, 10)))


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
