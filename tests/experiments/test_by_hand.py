"""The network set by hand is what its tables say, knows its own drawings, and is judged as the claim says."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from subjects import dataset

from mlp_jax import Model, predict
from mlp_jax.experiments import by_hand
from mlp_jax.experiments.by_hand import COMPONENTS, DIGITS, LINES, draw, hand_set_network, judge, measure
from mlp_jax.experiments.subject import SubjectError

LABELS = np.repeat(np.arange(10), 4)


def as_drawn(digit):
    """What a digit has, in ink: of a 4 the three lines."""
    paths = [by_hand._path(name) for name in DIGITS[digit][0].split(", ")]
    return np.max([by_hand.drawn(path) for path in paths], axis=0)


RANDOM = np.random.default_rng(0)
IMAGES = np.stack([as_drawn(digit) for digit in LABELS]) * RANDOM.uniform(0.8, 1, (40, 28, 28))
IMAGES[1::4] = RANDOM.uniform(0, 0.2, (10, 28, 28))  # a fourth of the images show nothing
PIXELS = np.uint8(255 * IMAGES).reshape(40, -1)
DATA = dataset(PIXELS, LABELS, (28, 28, 1), 10)


def test_the_tables_name_components_and_use_all_of_them():
    named = [names.split(", ") for both in DIGITS for names in both]
    assert {name for names in named for name in names} == set(COMPONENTS)
    assert not any(set(has) & set(has_not) for has, has_not in zip(named[::2], named[1::2], strict=True))


def test_a_loop_goes_through_its_four_points_and_is_closed():
    for name, points in by_hand.LOOPS.items():
        distances, _ = by_hand._distances(np.array(points, float), by_hand._path(name))
        assert (
            distances.min(axis=0).max() < 0.5 + np.abs(np.sum(np.array(points) * [[1], [-1], [1], [-1]], axis=0)).max()
        )
        np.testing.assert_allclose(by_hand._path(name)[0], by_hand._path(name)[-1])


def test_distances_are_those_to_the_nearest_of_many_points():
    path, points = np.array(LINES["lower hook"], float), RANDOM.uniform(0, 28, (50, 2))
    distances, angles = by_hand._distances(points, path)
    for k, (start, end) in enumerate(itertools.pairwise(path)):
        dense = start + np.linspace(0, 1, 2000)[:, None] * (end - start)
        nearest = np.linalg.norm(points[:, None] - dense, axis=-1).min(axis=1)
        np.testing.assert_allclose(distances[k], nearest, atol=0.01)
        step = end - start
        assert np.sin(angles[k, 0]) == pytest.approx(step[0] / np.hypot(*step))


def test_an_edge_is_a_bar_between_two_rims():
    flat, upright = by_hand.strokes(np.array([[10.0, 12, 0], [12.0, 10, np.pi / 2]]), 7)
    expected = np.zeros((28, 28))
    expected[9:12, 9:16] = 1
    expected[[7, 13], 9:16] = -1
    np.testing.assert_array_equal(flat, expected)
    np.testing.assert_array_equal(upright, expected.T)


@pytest.mark.parametrize(("edges", "length", "most"), [(by_hand.EVERYWHERE, 7, 400), (by_hand.SIXTEEN, 11, 16)])
def test_weights_say_what_the_tables_say(edges, length, most):
    first, second, third = (tuple(np.asarray(leaf) for leaf in layer) for layer in hand_set_network(edges, length))
    assert first[0].shape[0] <= most
    assert second[0].shape == (16, first[0].shape[0])
    assert third[0].shape == (10, 16)
    for digit, (has, has_not) in enumerate(DIGITS):
        for name, weight in zip(COMPONENTS, third[0][digit], strict=True):
            assert np.sign(weight) == (name in has.split(", ")) - int(name in has_not.split(", "))
    assert (second[0] >= 0).all()
    assert (second[0] > 0).any(axis=0).all()  # no edge that nothing adds up
    for name, weights in zip(COMPONENTS, second[0], strict=True):
        ink = by_hand.drawn(by_hand._path(name)).ravel()
        own = weights @ (1 / (1 + np.exp(-(first[0] @ ink + first[1]))))
        assert own == pytest.approx(6, rel=1e-4)  # a component that is drawn has all that it adds up
    assert len(hand_set_network(by_hand.SIXTEEN, 11)[0].biases) == 16


def test_it_knows_its_own_drawings():
    """All but the 5, whose cap and hook without a line between them it takes for a 3."""
    drawings = np.stack([as_drawn(digit) for digit in range(10)]).reshape(10, -1)
    answers = np.asarray(predict(hand_set_network(), np.float32(drawings), Model()))
    np.testing.assert_array_equal(answers, [0, 1, 2, 3, 4, 3, 6, 7, 8, 9])


def test_every_number_is_that_of_numpy():
    measured = measure(DATA)
    for number, network in enumerate((hand_set_network(), hand_set_network(by_hand.SIXTEEN, 11))):
        a, activations = PIXELS / 255, []
        for layer in network:
            a = 1 / (1 + np.exp(-(a @ np.asarray(layer.weights).T + np.asarray(layer.biases))))
            activations.append(a)
        right = activations[-1].argmax(axis=1) == LABELS
        assert measured.accuracy[number] == pytest.approx(right.mean())
        np.testing.assert_allclose(measured.right[number], right.reshape(10, 4).mean(axis=1))
        if number == 0:
            middle = activations[1]
            np.testing.assert_allclose(measured.activations.T, middle.reshape(10, 4, 16).mean(axis=1), atol=1e-4)
            for k in range(16):
                own = measured.has[k, LABELS] == 1
                assert measured.lit_with[k] == pytest.approx(np.mean(middle[own, k] > 0.5))
                assert measured.lit_without[k] == pytest.approx(np.mean(middle[~own, k] > 0.5))
            for label in range(10):
                found = np.bincount(activations[-1].argmax(axis=1)[label == LABELS], minlength=10)
                np.testing.assert_array_equal(measured.confusion[label], found)
    assert (measured.has.sum(axis=0) == [len(has.split(", ")) for has, _ in DIGITS]).all()


def test_judges_each_part():
    measured = measure(DATA)._replace(
        lit_with=np.full(16, 0.6),
        lit_without=np.full(16, 0.4),
        right=np.full((2, 10), 0.6),
        accuracy=np.array([0.6, 0.3]),
    )
    assert judge(measured).verdict == "holds"
    two_worse = np.where(np.arange(16) < 2, 0.4, 0.6)
    for change, part in (
        ({"lit_with": two_worse}, "loops and lines"),
        ({"lit_without": two_worse}, "loops and lines"),
        ({"accuracy": np.array([0.5, 0.3])}, "digits"),
        ({"right": np.where(np.arange(10) == 3, 0.19, 0.7) * np.ones((2, 1))}, "digits"),
        ({"accuracy": np.array([0.6, 0.19])}, "sixteen neurons a layer"),
    ):
        parts = judge(measured._replace(**change)).parts
        assert [name for name, held in parts.items() if not held] == [part]
    assert judge(measured._replace(lit_with=np.where(np.arange(16) < 1, 0.4, 0.6))).parts["loops and lines"]


def test_draws_every_component_and_edge():
    measured = measure(DATA)
    figure = draw(measured)
    titles = [panel.get_title() for panel in figure.axes]
    assert set(COMPONENTS) < set(titles)
    assert sum(title.startswith("neuron ") for title in titles) == 16
    assert [bar.get_height() for bar in figure.axes[-1].patches] == pytest.approx((100 * measured.right).ravel())


def test_needs_pictures_of_ten_digits():
    with pytest.raises(SubjectError, match="28 x 28 pixels and one channel"):
        measure(replace(DATA, image_shape=None))
    with pytest.raises(SubjectError, match="ten digits: the data have 10 classes, 9 to test"):
        measure(dataset(PIXELS[4:], LABELS[4:], (28, 28, 1), 10))
