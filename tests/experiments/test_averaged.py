"""averaged: the table, its average and the steps along it, against gradients of single examples by jax.grad."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import AFTER, BEFORE, COUNT, IMAGES, LABELS, MODEL, dataset, subject

from mlp_jax import feedforward, loss
from mlp_jax.experiments import averaged, claim_of
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import member

INPUTS, TARGETS = np.float32(IMAGES / 255), np.eye(3, dtype=np.float32)[LABELS]
single_gradients = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, None)))
gradient = jax.jit(jax.grad(loss))


@pytest.fixture(scope="module")
def measured():
    return averaged.measure(subject(AFTER, BEFORE))


@pytest.fixture(scope="module")
def wanted():
    """Of each network, untrained and trained: the changes that each example wants, as params with an example axis."""
    networks = [member(part, number) for part in (BEFORE, AFTER) for number in range(2)]
    return [jax.tree.map(lambda g: -np.asarray(g), single_gradients(n, INPUTS, TARGETS, MODEL)) for n in networks]


def flat(tree):
    return np.concatenate([np.reshape(leaf, (COUNT, -1)) for leaf in jax.tree.leaves(tree)], axis=1)


def test_the_table_names_its_rows_and_shows_an_example_of_each_class(measured, wanted):
    assert measured.examples == COUNT
    assert measured.labels == (0, 1, 2)
    assert len(measured.rows) == len(set(measured.rows)) == 9
    for name, row, average in zip(measured.rows, measured.table, measured.average, strict=True):
        layer, kind, *place = re.fullmatch(r"params\[(\d)\]\.(weights|biases)\[(\d+)(?:, (\d+))?\]", name).groups()
        changes = getattr(wanted[0][int(layer)], kind)[:, *(int(number) for number in place if number)]
        np.testing.assert_allclose(row, changes[:3], atol=1e-6)
        np.testing.assert_allclose(average, changes.mean(), atol=1e-6)


def test_lengths_signs_and_cosines(measured, wanted):
    for number, tree in enumerate(wanted):
        changes, place = flat(tree), divmod(number, 2)
        mean = changes.mean(axis=0)
        lengths = np.linalg.norm(changes, axis=1)
        np.testing.assert_allclose(measured.lengths[place], lengths.mean() / np.linalg.norm(mean), rtol=1e-4)
        np.testing.assert_allclose(measured.cosines[place], changes @ mean / lengths / np.linalg.norm(mean), atol=1e-4)
        same = (changes * mean > 0)[changes != 0].mean()
        assert measured.agreeing[place] == pytest.approx(same, abs=1e-3)


def test_a_small_step_along_the_average(measured):
    """In 64 bits, and as far to first order as the cost is to fall: by a thousandth."""
    with jax.enable_x64(True):
        for place, networks in (((0, 1), BEFORE), ((1, 0), AFTER)):
            params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), member(networks, place[1]))
            slope = jax.grad(loss)(params, INPUTS, TARGETS, MODEL)
            squared = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(slope))
            rate = averaged.SMALL * float(loss(params, INPUTS, TARGETS, MODEL)) / squared
            after = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, slope)
            costs = [
                np.sum((np.asarray(feedforward(p, INPUTS, MODEL)) - TARGETS) ** 2, axis=1) for p in (params, after)
            ]
            assert measured.improved[place] == pytest.approx(np.mean(costs[1] < costs[0]), abs=1.01 / COUNT)


def test_steps_along_the_average_are_gradient_descent(measured):
    params = member(BEFORE, 1)
    for _ in range(3):
        params = jax.tree.map(lambda p, g: p - 3.0 * g, params, gradient(params, INPUTS, TARGETS, MODEL))
    answers = np.argmax(np.asarray(feedforward(params, INPUTS, MODEL)), axis=1)
    assert measured.steps[2] == 3
    assert measured.correct[1, 2] == pytest.approx(np.mean(answers == LABELS))
    assert measured.called[1, 2] == pytest.approx(np.bincount(answers).max() / COUNT)


@pytest.mark.parametrize(
    ("first", "end", "crowded", "fails"),
    [(0.95, 0.95, 1.2, []), (0.8, 0.95, 1.2, ["better on all samples"]),
     (0.95, 0.7, 1.2, ["better on all samples to the end"]), (0.95, 0.95, 2.5, ["not all a 2"])],
)  # fmt: skip
def test_each_part_can_fail(measured, first, end, crowded, fails):
    improved = np.array([[first] * 2, [end] * 2])
    finding = averaged.judge(measured._replace(improved=improved, crowded=np.full(2, crowded)))
    assert list(finding.parts) == list(claim_of("averaged").criteria)
    assert [name for name, holds in finding.parts.items() if not holds] == fails


def test_the_figure_shows_the_table(measured):
    table, *_ = averaged.draw(measured).axes
    assert [label.get_text() for label in table.get_yticklabels()] == list(measured.rows)
    written = [text.get_text() for text in table.texts]
    assert f"{measured.table[0, 0]:+.3f}" in written
    assert f"{measured.average[-1]:+.3f}" in written


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(SubjectError, match="images of one channel"):
        averaged.measure(subject(data=dataset(shape=None)))
