"""Steps of one length, against gradients of JAX and costs in NumPy; the function of two variables, against calculus."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from subjects import AFTER, BEFORE, COUNT, DATA, LABELS, MODEL, dataset, subject

from mlp_jax import Layer, Model, identity, loss
from mlp_jax.experiments import fastest
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import member


@pytest.fixture(scope="module")
def measured():
    return fastest.measure(subject(initial=BEFORE))


def test_falls_are_those_of_the_steps(measured):
    inputs, targets = DATA.train.inputs / 255, np.eye(3)[DATA.train.targets]
    with jax.enable_x64(True):
        for when, networks in enumerate((BEFORE, AFTER)):
            for number in range(2):
                params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), member(networks, number))
                flat, unravel = ravel_pytree(params)
                cost = lambda numbers, unravel=unravel: loss(unravel(numbers), inputs, targets, MODEL)  # noqa: E731
                gradient = np.asarray(jax.grad(cost)(flat))
                slope = np.linalg.norm(gradient)
                assert measured.slopes[when, number] == pytest.approx(slope, rel=1e-6)
                largest = np.where(np.abs(gradient) == np.abs(gradient).max(), gradient, 0)
                for rival, direction in ((0, gradient), (1, np.sign(gradient)), (2, largest)):
                    unit = direction / np.linalg.norm(direction)
                    falls = [cost(flat) - cost(flat - length * unit) for length in measured.lengths]
                    np.testing.assert_allclose(measured.falls[when, number, rival], falls, rtol=1e-6, atol=1e-13)
    assert measured.directions >= fastest.RANDOM
    assert measured.parameters == 124


def test_the_function_has_the_gradient_of_the_lesson(measured):
    step = 1e-6
    slopes = [
        (fastest.hill(*ahead) - fastest.hill(*(-np.array(ahead)))) / (2 * step) for ahead in ((step, 0), (0, step))
    ]
    np.testing.assert_allclose(slopes, (3, 1), rtol=1e-9)
    np.testing.assert_allclose(measured.nudged, (3 * np.sin(0.1), np.sin(0.1)))
    assert len(measured.uphill) == 360


def test_each_part_is_judged(measured):
    finding = fastest.judge(measured)
    assert finding.verdict == "holds", finding.text
    won = measured.falls.copy()
    won[1, 0, 3, 0] = won[1, 0, 0, 0] + 1e-9
    assert not fastest.judge(measured._replace(falls=won)).parts["the most rapid decrease"]
    assert not fastest.judge(measured._replace(random=measured.falls[:, :, 0] * 2)).parts["the most rapid decrease"]
    assert not fastest.judge(measured._replace(slopes=measured.slopes * 1.01)).parts["its length is the slope"]
    turned = fastest.judge(measured._replace(uphill=np.roll(measured.uphill, 5)))
    assert not turned.parts["straight uphill"]
    assert not fastest.judge(measured._replace(nudged=(0.5, 0.1))).parts["three times the importance"]


def test_a_network_without_a_gradient_is_refused():
    data = dataset(np.zeros((COUNT, 16), np.uint8), np.zeros_like(LABELS))
    perfect = (Layer(np.zeros((2, 3, 16), np.float32), np.float32([[1, 0, 0]] * 2)),)
    with pytest.raises(SubjectError, match="needs gradients with a direction: their lengths are 0, 0"):
        fastest.measure(subject(perfect, perfect, data=data, model=Model(identity, identity)))


def test_the_figure_names_its_axes(measured):
    figure = fastest.draw(measured)
    assert all(panel.get_xlabel() for panel in figure.axes)
    assert [panel.get_title() for panel in figure.axes[:2]] == list(fastest.WHEN)
