"""batch-angle: against gradients and averages worked out example by example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import AFTER, BEFORE, COUNT, IMAGES, LABELS, MODEL, dataset, one, subject

from mlp_jax import Layer, Model, identity, loss
from mlp_jax.experiments import batch_angle
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import member


@pytest.fixture(scope="module")
def measured():
    return batch_angle.measure(subject(initial=BEFORE))


@pytest.fixture(scope="module")
def gradients():
    """Of the first network before training and after, (examples, parameters), one by one and without backprop."""
    x, y = jnp.asarray(IMAGES, jnp.float32) / 255, jnp.eye(3)[LABELS]
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, None)))
    trees = [each(member(networks, 0), x, y, MODEL) for networks in (BEFORE, AFTER)]
    return [np.concatenate([np.reshape(leaf, (COUNT, -1)) for leaf in jax.tree.leaves(tree)], axis=1) for tree in trees]


def test_single_examples_and_the_noise_scale(measured, gradients):
    for when, gradients_then in enumerate(gradients):
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
    for when, gradients_then in enumerate(gradients):
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
    assert batch_angle.judge(measured).holds


def test_the_claim_fails_where_a_batch_of_a_hundred_is_mostly_noise(measured):
    cosines = measured.cosines.copy()
    cosines[1, :, measured.batch_sizes.index(100)] = 0.7
    finding = batch_angle.judge(measured._replace(cosines=cosines))
    assert not finding.holds
    assert "46 after training (0.70)" in finding.text


def test_a_network_that_has_nothing_left_to_learn_is_refused():
    data = dataset(np.array([[255], [0]], np.uint8), [0, 1], shape=None, classes=2)
    perfect = one((Layer(jnp.array([[1.0], [-1.0]]), jnp.array([0.0, 1.0])),))
    with pytest.raises(SubjectError, match="gradients with a direction"):
        batch_angle.measure(subject(perfect, data=data, model=Model(identity, identity)))


def test_the_figure_names_its_axes(measured):
    (panel,) = batch_angle.draw(measured).axes
    assert panel.get_xlabel() == "batch size, examples"
    assert panel.get_ylabel() == "cosine with the full gradient"
