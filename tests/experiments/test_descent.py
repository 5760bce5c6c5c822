"""descent: steps against the gradient that JAX takes, the plane against a singular value decomposition."""

from itertools import count

import jax
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from subjects import IMAGES, LABELS, MODEL, dataset

from mlp_jax import init_params, loss
from mlp_jax.experiments import descent
from mlp_jax.experiments.subject import SIZES
from mlp_jax.training import epoch_order

DRAW = np.random.default_rng(0)
DATA = dataset(IMAGES[:23], LABELS[:23])
INPUTS, TARGETS = np.float32(DATA.train.inputs / 255), np.eye(3, dtype=np.float32)[LABELS[:23]]
gradient, cost = jax.jit(jax.grad(loss)), jax.jit(loss)
SETTINGS = {"BATCH": 5, "EPOCHS": 4, "FULL_STEPS": 12, "LOOKS": 4, "GRID": 5, "SEEDS": (0, 1), "RATES": (0.5, 1.0)}


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setattr(descent, name, value)
        ticks = count()
        return descent.measure(DATA, clock=lambda: float(next(ticks)))


def walked(rate, batches, seed=0):
    """The cost of all examples before each step and after the last, in plain JAX."""
    params = init_params(jax.random.key(seed), (16, *SIZES[1:-1], 3))
    costs = [cost(params, INPUTS, TARGETS, MODEL)]
    for batch in batches:
        slope = gradient(params, INPUTS[batch], TARGETS[batch], MODEL)
        params = jax.tree.map(lambda p, g: p - rate * g, params, slope)
        costs.append(cost(params, INPUTS, TARGETS, MODEL))
    return np.array(costs)


def test_the_walks_are_gradient_descent(measured):
    mini = [rows for epoch in range(4) for rows in epoch_order(0, epoch, 23)[:20].reshape(4, 5)]
    for walk, batches, size in ((measured.mini, mini, 5), (measured.full, [np.arange(23)] * 12, 23)):
        costs = walked(walk.rate, batches)
        looks = np.linspace(0, len(batches), 5).astype(int)
        np.testing.assert_allclose(walk.cost, costs[looks], rtol=1e-5)
        np.testing.assert_array_equal(walk.examples, looks * size)
        np.testing.assert_allclose(walk.seconds[-1], 1)  # all steps lie between two ticks of the clock
        ends = [np.mean([walked(rate, batches, seed)[-1] for seed in (0, 1)]) for rate in SETTINGS["RATES"]]
        assert walk.rate == SETTINGS["RATES"][np.argmin(ends)]
        arrived = looks[np.argmax(walk.cost <= measured.level)]
        assert walk.examples_needed[0] == arrived * size
        assert walk.seconds_needed[0] == pytest.approx(arrived / len(batches))
    assert measured.level == pytest.approx(max(measured.mini.cost.min(), measured.full.cost.min()))


def test_the_plane_is_that_of_the_singular_values():
    points = (DRAW.normal(size=(9, 40)) * np.geomspace(5, 0.1, 9)[:, None]).astype(np.float32)
    middle, axes, held = descent.plane_through(points)
    _, values, right = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(middle, points.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(abs(axes @ right[:2].T), np.eye(2), atol=1e-4)
    assert held == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-5)


def test_the_surface_is_as_high_as_the_paths_that_lie_in_it(monkeypatch):
    """Of steps from the same start with all examples there are two here: three points, which a plane holds."""
    settings = {"BATCH": 23, "EPOCHS": 1, "FULL_STEPS": 2, "LOOKS": 2, "GRID": 41, "SEEDS": (0,), "RATES": (1.0,)}
    for name, value in settings.items():
        monkeypatch.setattr(descent, name, value)
    numbers = descent.measure(DATA)
    assert numbers.held == pytest.approx(1, abs=1e-6)
    between = RegularGridInterpolator((numbers.up, numbers.across), numbers.surface)
    heights = between(numbers.full.plane[:, ::-1])
    np.testing.assert_allclose(heights, numbers.full.cost, atol=0.001 * np.ptp(numbers.surface))


def test_a_detour_is_the_length_over_the_distance():
    assert descent.detour(np.array([[0.0, 0], [3, 0], [3, 4]])) == pytest.approx(7 / 5)
    assert descent.detour(np.array([[0.0, 0], [1, 1], [2, 2]])) == pytest.approx(1)
    assert descent.detour(np.zeros((1, 2))) == 1


@pytest.mark.parametrize(
    ("examples", "seconds", "detour", "holds"),
    [(9, 9.0, 1.1, True), (1, 9.0, 1.1, False), (9, 0.5, 1.1, False), (9, 9.0, 3.0, False)],
    ids=["all as claimed", "as many examples", "quicker", "as crooked"],
)
def test_each_part_of_the_claim_can_fail(measured, examples, seconds, detour, holds):
    def walk(examples, seconds, detour):
        return measured.mini._replace(
            examples_needed=np.array([examples]), seconds_needed=np.array([seconds]), detour=np.array([detour])
        )

    numbers = measured._replace(mini=walk(1, 1.0, 2.0), full=walk(examples, seconds, detour))
    finding = descent.judge(numbers)
    assert finding.holds is holds
    assert f"2.0 and {detour:.1f} times as long" in finding.text


def test_the_figure_names_its_axes(measured):
    panels = {panel.get_xlabel(): panel for panel in descent.draw(measured).axes}
    assert panels["examples seen"].get_ylabel() == panels["seconds of steps"].get_ylabel() == "cost"
    assert panels["first direction, units of a parameter"].get_ylabel() == "second direction"
