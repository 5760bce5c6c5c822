"""Weights are called what they are: noise, edges or digits."""

import jax
import numpy as np
import pytest
import subjects
from subjects import one

from mlp_jax import Layer, Model, init_params, loss
from mlp_jax.experiments import first_layer
from mlp_jax.experiments.first_layer import draw, judge, measure
from mlp_jax.experiments.hand_set import edges
from mlp_jax.experiments.subject import SubjectError

SIDE = 28
RANDOM = np.random.default_rng(0)
ROWS, COLUMNS = np.indices((SIDE, SIDE))
RINGS = [np.abs(np.hypot(ROWS - 14, COLUMNS - 14) - radius) < 2 for radius in (3, 4, 5, 6, 7, 8)]
DIGITS = np.uint8(255 * np.stack(RINGS).reshape(6, -1))
LABELS = np.zeros(6, int)
NOISE = RANDOM.normal(size=(20, SIDE * SIDE))


NORMAL = {}
"""What training from standard normal weights gives, by the size of its batches."""


@pytest.fixture(autouse=True)
def trained(request, monkeypatch):
    if "really_train" not in request.fixturenames:
        NORMAL.update({100: NOISE[None], 10: NOISE[None]})
        monkeypatch.setattr(first_layer, "_from_standard_normal", lambda subject, batch, **_: NORMAL[batch])


@pytest.fixture
def really_train(monkeypatch):
    monkeypatch.setattr(first_layer, "EPOCHS", 1)
    monkeypatch.setattr(first_layer, "NIELSENS_BATCH", 60)  # of 30 examples: a single step


def subject(weights, shape=(SIDE, SIDE, 1)):
    def networks(rows):
        return one((Layer(np.float32(rows), np.zeros(len(rows), np.float32)),))

    return subjects.subject(networks(weights), networks(NOISE), subjects.dataset(DIGITS, LABELS, shape, 1))


def some_edges():
    down, across, angle = RANDOM.uniform(8, 20, 20), RANDOM.uniform(8, 20, 20), RANDOM.uniform(0, np.pi, 20)
    return edges((SIDE, SIDE), down, across, angle, np.ones(20)).reshape(20, -1)


def smooth(noise):
    """The mean of each pixel and its eight neighbours, around the border from the other side."""
    images = noise.reshape(-1, SIDE, SIDE)
    return sum(np.roll(images, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)).reshape(noise.shape) / 9


def test_neighbours_are_as_alike_as_numpy_says():
    measured = measure(subject(smooth(NOISE)))
    expected = []
    for image in smooth(NOISE).reshape(-1, SIDE, SIDE):
        x = image - image.mean()
        pairs = [x[i, j] * x[i + 1, j] for i in range(SIDE - 1) for j in range(SIDE)]
        pairs += [x[i, j] * x[i, j + 1] for i in range(SIDE) for j in range(SIDE - 1)]
        expected.append(np.mean(pairs) / x.var())
    np.testing.assert_allclose(measured.alike[1], np.percentile(expected, (5, 50, 95)), rtol=1e-5)
    assert abs(measured.alike[0, 1]) < 0.05
    assert measured.neurons == (20, 20, 20, 20)


def test_the_share_in_the_middle():
    inside = np.zeros((SIDE, SIDE))
    inside[7:21, 7:21] = 1
    measured = measure(subject(np.stack([1 + inside] * 3 + [inside]).reshape(4, -1)))
    np.testing.assert_allclose(measured.middle[1], np.percentile([4 / 7, 4 / 7, 4 / 7, 1], (5, 50, 95)), rtol=1e-6)
    assert abs(measured.middle[0, 1] - 0.25) < 0.03


def test_edges_are_found_and_noise_is_none():
    tried = edges((SIDE, SIDE), *np.array([[14.0, 13.0], [12.0, 11.0], [0, np.pi / 2], [1.0, 1.4]])).reshape(2, -1)
    np.testing.assert_allclose(measure(subject(3 - tried)).edge[1], 1, atol=1e-5)  # dark in bright is an edge as well
    measured = measure(subject(some_edges()))
    assert measured.edge[1, 1] > 0.5
    assert measured.edge[-1, 1] > 0.5
    assert measured.edge[0, 1] < 0.05
    assert not judge(measured).parts["no edges"]


def test_no_edge_explains_more_than_the_best_that_a_loop_finds():
    blob = np.exp(-(((ROWS - 14) / 3) ** 2) - ((COLUMNS - 12) / 5) ** 2)
    found = 0
    for angle in np.arange(16) * np.pi / 16:
        for size in (0.7, 1, 1.4):
            numbers = (np.array([number]) for number in (14.0, 14.0, float(angle), float(size)))
            centred = edges((SIDE, SIDE), *numbers)[0]
            for down, across in np.ndindex(7, 7):
                shift = (down - 3, across - 5)
                found = max(found, np.corrcoef(np.roll(centred, shift, (0, 1)).ravel(), blob.ravel())[0, 1] ** 2)
    assert measure(subject(blob.reshape(1, -1))).edge[1, 1] == pytest.approx(found, rel=1e-4)


IN_THE_MIDDLE = np.exp(-(((ROWS - 14) / 8) ** 2) - ((COLUMNS - 14) / 8) ** 2).ravel()
FAINT = (0.7 * NOISE + smooth(NOISE[::-1])) * (0.3 + IN_THE_MIDDLE)


def test_the_claim_holds_for_faint_patterns_in_the_middle_alone():
    NORMAL.update({100: FAINT[None], 10: FAINT[None]})
    assert judge(measure(subject(FAINT))).verdict == "holds"


@pytest.mark.parametrize(
    ("weights", "random", "patterns"),
    [
        (FAINT, True, True),
        (NOISE[::-1], True, False),
        (smooth(smooth(NOISE)), False, False),
        (smooth(NOISE) * IN_THE_MIDDLE, False, True),
    ],
    ids=["faint", "noise", "smooth", "smooth in the middle"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_training_is_judged_for_itself(weights, random, patterns, place):
    NORMAL.update({100: weights[None] if place == 1 else FAINT[None], 10: weights[None] if place == 2 else FAINT[None]})
    parts = judge(measure(subject(FAINT if place else weights))).parts
    names = ("from small weights", "from standard normal weights", "in Nielsen's training")
    for number, name in enumerate(names):
        assert parts[f"almost random, {name}"] is (random if number == place else True)
        assert parts[f"patterns in the middle, {name}"] is (patterns if number == place else True)
    assert parts["no edges"] is True


def test_edges_after_any_training_are_edges():
    NORMAL[10] = some_edges()[None]
    assert judge(measure(subject(FAINT))).parts["no edges"] is False


def test_standard_normal_weights_are_trained_by_the_same_gradient(really_train):
    small = subjects.subject()
    measured = measure(small)
    assert measured.neurons == (10, 10, 10, 10)
    inputs, targets = subjects.IMAGES / 255, np.eye(3)[subjects.LABELS]
    start = init_params(jax.random.key(0), subjects.SIZES, standard_normal=True)
    slope = jax.grad(loss)(start, inputs, targets, Model())[0].weights
    for rate, shown in ((3.0, measured.shown[2]), (1.5, measured.shown[3])):
        np.testing.assert_allclose(shown.reshape(-1, 16)[:5], start[0].weights - rate * slope, atol=1e-4)


def test_draws_the_same_neurons_of_each_training_and_names_its_axes():
    measured = measure(subject(NOISE[::-1]))
    assert measured.shown.shape == (4, 8, SIDE, SIDE)
    np.testing.assert_allclose(measured.shown[1, 3], NOISE[-4].reshape(SIDE, SIDE), atol=1e-4)
    figure = draw(measured)
    assert sum(bool(panel.images) for panel in figure.axes) == 32
    assert all(panel.get_xlabel() for panel in figure.axes if not panel.images)
    draw(measured._replace(shown=measured.shown[:, :3]))


def test_needs_images_of_one_channel():
    with pytest.raises(SubjectError, match="images of one channel: the data have 784 inputs"):
        measure(subject(NOISE, shape=None))
    with pytest.raises(SubjectError, match="4 channels"):
        measure(subject(NOISE, shape=(14, 14, 4)))
