"""Products and measured ratios, against the lesson's formulas written out for one neuron after the other."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import Layer, Model, identity, loss
from mlp_jax.experiments import chain


@pytest.fixture(scope="module")
def measured():
    return chain.measure()


def test_the_factors_of_the_first_network(measured):
    """Each layer's, from those of the layer before and after: activations, slopes of sigmoids, weights."""
    assert len(measured.links) == 3
    for link, after in itertools.pairwise(measured.links):
        assert link["dc_da"] == pytest.approx(after["dz_da"] * after["da_dz"] * after["dc_da"], rel=1e-12)
    for link, after in itertools.pairwise(measured.links):
        a = after["dz_dw"]
        assert link["da_dz"] == pytest.approx(a * (1 - a), rel=1e-12)
    for link in measured.links:
        assert link["dc_dw"] == pytest.approx(link["dz_dw"] * link["da_dz"] * link["dc_da"], rel=1e-12)
        assert link["measured_dw"] == pytest.approx(link["dc_dw"], rel=0.02)
    json.dumps(measured.links)


def cost(numbers, a, y):
    """Of a chain of sigmoids, its weights and biases in turn."""
    for weight, bias in zip(numbers[::2], numbers[1::2], strict=True):
        a = 1 / (1 + np.exp(-(weight * a + bias)))
    return (a - y) ** 2


def product(numbers, a, y):
    """The derivative with respect to each weight and bias, by the lesson's three factors."""
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    activations = [a]
    for weight, bias in pairs:
        activations.append(1 / (1 + np.exp(-(weight * activations[-1] + bias))))
    dc_da, found = 2 * (activations[-1] - y), []
    for (weight, _), before, after in zip(pairs[::-1], activations[-2::-1], activations[:0:-1], strict=True):
        dc_dz = after * (1 - after) * dc_da
        found[:0] = [before * dc_dz, dc_dz]
        dc_da = weight * dc_dz
    return np.array(found)


@pytest.mark.usefixtures("float64")
def test_differences_are_those_of_the_formulas():
    draw = np.random.default_rng(5)
    numbers, inputs, targets = draw.normal(size=(4, 6)), draw.random((4, 1)), np.array([[0.0], [1], [1], [0]])
    params = tuple(Layer(jnp.asarray(numbers[:, [n]])[..., None], jnp.asarray(numbers[:, [n + 1]])) for n in (0, 2, 4))
    nudges = np.array([0.3, 0.01])
    found = chain.differences(params, jnp.asarray(inputs), jnp.asarray(targets), jnp.asarray(nudges))
    expected = np.empty((2, 4, 6))
    for (i, nudge), (j, row) in itertools.product(enumerate(nudges), enumerate(numbers)):
        a, y = inputs[j, 0], targets[j, 0]
        for k in range(6):
            ratio = (cost(row + nudge * np.eye(6)[k], a, y) - cost(row, a, y)) / nudge
            expected[i, j, k] = abs(ratio / product(row, a, y)[k] - 1)
    assert np.all(expected > 1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_finding(measured):
    found = chain.judge(measured)
    assert found.parts["the product is the ratio"]
    assert found.parts["paths add up"]
    assert measured.slope == pytest.approx(1, abs=0.01)
    assert found.table["the same, measured by a nudge of 0.01"] == f"{measured.links[-1]['measured_dw']:.4f}"
    wrong = np.maximum(measured.largest, 0.2)  # one product in a thousand networks that no nudge comes near
    for changes in ({"slope": 0.5}, {"slope": 2.0}, {"largest": wrong}):
        assert not chain.judge(measured._replace(**changes)).parts["the product is the ratio"]
    assert not chain.judge(measured._replace(largest=wrong)).parts["a nudge of 0.01 shows it"]
    one_path = np.stack([measured.measured_sum, 0 * measured.measured_sum], axis=1)  # the other does nothing
    for paths in (measured.paths * [1, -1], one_path):
        assert not chain.judge(measured._replace(paths=paths)).parts["paths add up"]


def test_each_path_is_the_product_of_its_factors():
    draw = np.random.default_rng(7)
    w1, b1, w2, b2, a, y = (draw.normal(size=(3, *shape)) for shape in ((2, 1), (2,), (1, 2), (1,), (1,), (1,)))
    with jax.enable_x64(True):
        params = Layer(jnp.asarray(w1), jnp.asarray(b1)), Layer(jnp.asarray(w2), jnp.asarray(b2))
        paths, measured = chain.two_paths(params, jnp.asarray(a), jnp.asarray(y))
    sigma = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    middle = sigma(w1[:, :, 0] * a + b1)
    last = sigma(np.sum(w2[:, 0] * middle, axis=1, keepdims=True) + b2)
    expected = w1[:, :, 0] * middle * (1 - middle) * w2[:, 0] * last * (1 - last) * 2 * (last - y)
    np.testing.assert_allclose(paths, expected, rtol=1e-10)
    np.testing.assert_allclose(measured, expected.sum(axis=1), rtol=1e-6)


def test_the_tree_has_the_numbers_of_the_last_layer(measured):
    tree, nudged = measured.tree, measured.nudged
    z = tree["w"] * tree["a before"] + tree["b"]
    assert tree["z"] == pytest.approx(z)
    assert tree["a"] == pytest.approx(1 / (1 + np.exp(-z)))
    assert tree["C"] == pytest.approx((tree["a"] - tree["y"]) ** 2)
    assert nudged["w"] - tree["w"] == pytest.approx(chain.NUDGE)
    assert nudged["z"] - tree["z"] == pytest.approx(chain.NUDGE * tree["a before"])
    assert (nudged["C"] - tree["C"]) / chain.NUDGE == pytest.approx(measured.links[-1]["measured_dw"])


def test_a_product_that_is_wrong_is_found_out(monkeypatch):
    """A backward pass that forgets the slope of the last sigmoid."""
    linear, differences = Model(output=identity), chain.differences.__wrapped__
    monkeypatch.setattr(chain, "backprop", lambda params, a, y, _: jax.grad(loss)(params, a, y, linear))
    monkeypatch.setattr(chain, "differences", jax.jit(lambda *arguments: differences(*arguments)))  # traced anew
    wrong = chain.measure()
    assert not chain.judge(wrong).parts["the product is the ratio"]
    assert wrong.slope == pytest.approx(0, abs=0.2)


def test_the_figure_names_its_axes(measured):
    figure = chain.draw(measured)
    tree, factors, *others = figure.axes
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in (factors, *others))
    assert f"w = {measured.tree['w']:.3f}  +0.0100" in {text.get_text() for text in tree.texts}
    cells = {text.get_text() for text in factors.texts}
    assert f"{measured.links[0]['dc_dw']:.2g}" in cells
    assert len(factors.texts) == 9 * 5
