"""learning: curves from before training on, and costs of answers whose outputs are known."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from subjects import DATA

from mlp_jax import Model, evaluate, init_params
from mlp_jax.experiments import learning
from mlp_jax.experiments.subject import SubjectError

ONE_ON, TENTHS, HALVES = np.eye(10)[[3]], np.full((1, 10), 0.1), np.full((1, 10), 0.5)


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "EPOCHS", 3)
        patch.setattr(learning, "BATCH", 10)
        patch.setattr(learning, "kinds_of", lambda outputs, targets: np.arange(len(targets)) % 3 == KINDS)
        return learning.measure(DATA)


KINDS = np.arange(3)[:, None, None] + np.zeros((1, 4, 1), int)


def test_curves_begin_before_training(measured):
    assert measured.cost.shape == measured.accuracy.shape == (2, 4, 4)
    for seed in learning.SEEDS:
        before = evaluate(init_params(jax.random.key(seed), (16, 16, 16, 3)), DATA.train, Model())
        np.testing.assert_allclose(measured.cost[:, 0, seed], before.loss, rtol=1e-5)
        np.testing.assert_allclose(measured.accuracy[:, 0, seed], before.score)
    assert (measured.cost[:, -1] < measured.cost[:, 0]).all()
    assert measured.guessing == pytest.approx(1 / 3)
    outputs = [
        np.asarray(learning._outputs(learning.init_population([seed], (16, 16, 16, 3)), DATA.train))[0]
        for seed in learning.SEEDS
    ]
    np.testing.assert_allclose(measured.mess, [np.mean([sum(row > 0.5) != 1 for row in of]) for of in outputs])


def test_answers_are_told_apart_by_kind(measured):
    np.testing.assert_allclose(measured.share, 1 / 3)
    assert [len(costs) for costs in measured.sorted_costs] == [10, 10, 10]
    for costs, name in zip(measured.sorted_costs, range(1, 4), strict=True):
        assert (np.diff(costs) >= 0).all()
        wanted = np.eye(3)[measured.shown_labels[name]]
        assert np.sum((measured.shown_outputs[name] - wanted) ** 2) == pytest.approx(costs[5], rel=1e-5)
    np.testing.assert_array_equal(measured.shown[0], measured.shown[1])


@pytest.mark.parametrize(
    ("outputs", "wanted", "cost"),
    [(ONE_ON, 3, 0), (ONE_ON, 4, 2), (TENTHS, 3, 0.9), (HALVES, 3, 2.5), (0 * HALVES, 3, 1)],
)
def test_costs_are_those_of_the_closed_form(outputs, wanted, cost):
    np.testing.assert_allclose(learning.costs_of(outputs[None], np.array([wanted])), [[cost]])


def test_sure_is_twice_as_bright_as_the_second():
    outputs = np.array([[[0.1, 0.3, 0.0], [0.1, 0.3, 0.0], [0.2, 0.3, 0.0], [0.5, 0.5, 0.5]]])
    kinds = learning.kinds_of(outputs, np.array([1, 0, 1, 0]))
    np.testing.assert_array_equal(kinds[:, 0], [[1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]])


def example(**changes):
    numbers = {
        "cost": [[2.5, 0.1], [2.5, 0.2]],
        "accuracy": [[0.1, 0.97], [0.1, 0.95]],
        "mess": 0.9,
        "typical": [0.001, 0.6, 1.4],
        "dear": [0.04, 0.9, 1.0],
    } | changes
    numbers = {name: np.asarray(value)[..., None] + [0.0, 0.0, 0.01] for name, value in numbers.items()}
    return learning.Measurement(
        **numbers,
        guessing=0.11,
        share=np.full((3, 3), 1 / 3),
        sorted_costs=tuple(np.arange(4.0) for _ in range(3)),
        shown=np.zeros((4, 4, 4)),
        shown_outputs=np.full((4, 10), 0.1),
        shown_labels=(1, 1, 2, 3),
    )


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"accuracy": [[0.4, 0.97], [0.1, 0.95]]}, {"horrible at random"}),
        ({"cost": [[0.8, 0.1], [0.8, 0.2]]}, {"horrible at random"}),
        ({"mess": 0.4}, {"a mess at random"}),
        ({"cost": [[2.5, 1.5], [2.5, 0.2]]}, {"better on the training data"}),
        ({"accuracy": [[0.1, 0.85], [0.1, 0.85]]}, {"better on the training data"}),
        ({"accuracy": [[0.1, 0.97], [0.1, 0.8]]}, {"new images too"}),
        ({"dear": [0.2, 0.9, 1.0]}, {"small if confidently right"}),
        ({"typical": [0.001, 0.4, 1.4]}, {"large if it does not know"}),
    ],
)
def test_each_part_of_the_claim_can_fail(changes, failing):
    parts = learning.judge(example(**changes)).parts
    assert {name for name, holds in parts.items() if not holds} == failing


def test_the_figure_shows_four_answers_and_names_its_axes():
    cost, accuracy, *panels = learning.draw(example()).axes
    assert (cost.get_ylabel(), accuracy.get_ylabel()) == ("mean cost", "accuracy, %")
    assert sum(bool(panel.images) for panel in panels) == 4
    assert panels[-1].get_ylabel() == "cost of one image"


def test_what_it_cannot_show_is_refused(monkeypatch):
    with pytest.raises(SubjectError, match="images of one channel: the data have 16 inputs"):
        learning.measure(replace(DATA, image_shape=None))
    monkeypatch.setattr(learning, "EPOCHS", 3)
    monkeypatch.setattr(learning, "BATCH", 10)
    monkeypatch.setattr(learning, "kinds_of", lambda outputs, targets: np.zeros((3, 4, 30), bool))
    with pytest.raises(SubjectError, match="none is sure and right"):
        learning.measure(DATA)
