"""batch-angle: against gradients and averages worked out example by example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import AFTER, BEFORE, COUNT, DATA, IMAGES, LABELS, MODEL, dataset, one, subject

from mlp_jax import Layer, Model, fit, identity, loss, make_optimizer
from mlp_jax.experiments import batch_angle, claim_of
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import member


@pytest.fixture(scope="module")
def measured():
    return batch_angle.measure(subject(initial=BEFORE))


LAST = len(batch_angle.WAY)


@pytest.fixture(scope="module")
def gradients():
    """Of the first network before training and after, (examples, parameters), one by one and without backprop."""
    x, y = jnp.asarray(IMAGES, jnp.float32) / 255, jnp.eye(3)[LABELS]
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, None)))
    trees = [each(member(networks, 0), x, y, MODEL) for networks in (BEFORE, AFTER)]
    return [np.concatenate([np.reshape(leaf, (COUNT, -1)) for leaf in jax.tree.leaves(tree)], axis=1) for tree in trees]


def test_single_examples_and_the_noise_scale(measured, gradients):
    for when, gradients_then in zip((0, LAST), gradients, strict=True):
        mean = gradients_then.mean(axis=0)
        cosines = gradients_then @ mean / np.linalg.norm(gradients_then, axis=1) / np.linalg.norm(mean)
        # Of 600 draws from 30 examples: each percentile is near that of the examples themselves.
        found = measured.cosines[when, 0, measured.batch_sizes.index(1)]
        low, high = np.percentile(cosines, [(5, 40, 80), (20, 60, 95)])
        assert np.all((low - 1e-6 <= found) & (found <= high + 1e-6))
        variance = gradients_then.var(axis=0).sum()
        np.testing.assert_allclose(measured.noise_scales[when, 0], variance / (mean @ mean), rtol=1e-4)


@pytest.mark.parametrize(("size", "tolerance"), [(10, 0.1), (200, 0.01)])
def test_batches_are_as_near_as_those_drawn_in_numpy(measured, gradients, size, tolerance):
    draw = np.random.default_rng(1)
    for when, gradients_then in zip((0, LAST), gradients, strict=True):
        mean = gradients_then.mean(axis=0)
        batches = gradients_then[draw.integers(COUNT, size=(500, size))].mean(axis=1)
        cosines = batches @ mean / np.linalg.norm(batches, axis=1) / np.linalg.norm(mean)
        found = measured.cosines[when, 0, measured.batch_sizes.index(size), 1]
        np.testing.assert_allclose(found, np.median(cosines), atol=tolerance)


def test_sizes_and_what_is_expected(measured):
    assert measured.batch_sizes == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
    np.testing.assert_allclose(measured.expected[0, 0, 3], (1 + measured.noise_scales[0, 0] / 10) ** -0.5)


def test_batches_are_means_of_groups_that_follow_one_another():
    draw = np.random.default_rng(1)
    groups, full = draw.normal(size=(100, 7)), draw.normal(size=7)
    found = batch_angle._cosines_of_batches((groups @ full)[None, None], (groups @ groups.T)[None, None], 5)
    for number in range(20):
        batch = groups[5 * number : 5 * number + 5].mean(axis=0)
        np.testing.assert_allclose(found[0, 0, number], batch @ full / np.linalg.norm(batch))


def test_examples_that_all_say_the_same_need_no_batch():
    measured = batch_angle.measure(subject(initial=BEFORE, data=dataset(IMAGES[[3] * COUNT], LABELS[[3] * COUNT])))
    np.testing.assert_allclose(measured.cosines, 1, atol=1e-5)
    assert batch_angle.judge(measured).parts["a good approximation of the direction"]
    assert not batch_angle.judge(measured).parts["not the actual gradient"]


@pytest.mark.parametrize(
    ("cosine", "small", "parts"),
    [(0.8, 0.9, [True, True, True]), (0.95, 0.9, [False, True, True]), (0.7, 0.9, [True, False, True]),
     (0.8, 0.5, [True, True, False])],
)  # fmt: skip
def test_each_part_can_fail_and_the_end_is_not_judged(measured, cosine, small, parts):
    cosines, shares = np.full_like(measured.cosines, cosine), np.full_like(measured.small, small)
    cosines[-1], shares[-1] = 0.01, 0.4
    finding = batch_angle.judge(measured._replace(cosines=cosines, small=shares))
    assert list(finding.parts) == list(claim_of("batch-angle").criteria)
    assert list(finding.parts.values()) == parts
    assert finding.table["at the end, rate 0: angle, small steps that do"] == "89 degrees, 40%"
    assert f"{np.degrees(np.arccos(cosine)):.0f} degrees off, and at least {small:.0%} of small steps" in finding.text


def test_the_way_is_that_of_training(measured):
    initial, first, *_, final = batch_angle._way(subject(initial=BEFORE))
    optimizer = make_optimizer("sgd", 3.0, "cosine", 30)  # a step an epoch
    alone = fit(member(BEFORE, 1), DATA, MODEL, epochs=1, batch_size=30, optimizer=optimizer).params
    for found, expected in ((member(first, 1), alone), (initial, BEFORE), (final, AFTER)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    assert measured.small.shape == (LAST + 1, 2)


def test_steps_change_the_cost_by_as_much_as_the_cost_says():
    x, y = jnp.asarray(IMAGES, jnp.float32) / 255, jnp.eye(3)[LABELS]
    rows, rates = np.array([[0, 1, 2], [3, 3, 4]]), np.array([0.5, 0.1], np.float32)
    found = batch_angle._changes(BEFORE, rates, x, y, rows, MODEL)
    for number, rate in enumerate(rates):
        params = member(BEFORE, number)
        for batch, change in zip(rows, found[number], strict=True):
            slope = jax.grad(loss)(params, x[batch], y[batch], MODEL)
            after = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, slope)
            expected = loss(after, x, y, MODEL) - loss(params, x, y, MODEL)
            assert change == pytest.approx(float(expected), abs=1e-6)


def test_a_network_that_has_nothing_left_to_learn_is_refused():
    data = dataset(np.array([[255], [0]], np.uint8), [0, 1], shape=None, classes=2)
    perfect = one((Layer(jnp.array([[1.0], [-1.0]]), jnp.array([0.0, 1.0])),))
    with pytest.raises(SubjectError, match="gradients with a direction"):
        batch_angle.measure(subject(perfect, data=data, model=Model(identity, identity)))


def test_the_figure_names_its_axes(measured):
    angles, steps = batch_angle.draw(measured).axes
    assert angles.get_xlabel() == "batch size, examples"
    assert angles.get_ylabel() == "angle to the full gradient, degrees"
    assert (steps.get_xlabel(), steps.get_ylabel()) == ("after epoch", "steps that lower the cost of all, %")
