"""descent: steps against the gradient that JAX takes, the plane against a singular value decomposition."""

from itertools import count

import jax
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from subjects import IMAGES, LABELS, MODEL, dataset

from mlp_jax import init_params, loss
from mlp_jax.experiments import claim_of, descent
from mlp_jax.experiments.subject import SIZES
from mlp_jax.training import epoch_order

DRAW = np.random.default_rng(0)
DATA = dataset(IMAGES[:23], LABELS[:23])
INPUTS, TARGETS = np.float32(DATA.train.inputs / 255), np.eye(3, dtype=np.float32)[LABELS[:23]]
gradient, cost = jax.jit(jax.grad(loss)), jax.jit(loss)
SETTINGS = {"BATCH": 5, "EPOCHS": 4, "FULL_STEPS": 12, "ZOOM": (3, 4), "GRID": 5, "SEEDS": (0, 1), "RATES": (0.5, 1.0)}


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
        np.testing.assert_allclose(walk.cost, costs, rtol=1e-5)
        assert walk.examples == size
        np.testing.assert_allclose(walk.step_seconds, 1 / len(batches))  # all steps lie between two ticks of the clock
        ends = [np.mean([walked(rate, batches, seed)[-1] for seed in (0, 1)]) for rate in SETTINGS["RATES"]]
        assert walk.rate == SETTINGS["RATES"][np.argmin(ends)]
        needed = np.argmax(walk.cost <= measured.level)
        assert walk.needed[0] == needed
        assert walk.lowering[0] == np.mean(np.diff(walk.cost[: needed + 1]) < 0)
    assert measured.level == pytest.approx(max(measured.mini.cost.min(), measured.full.cost.min()))


def test_the_plane_holds_the_way_and_where_steps_differ():
    ahead, aside, other = np.eye(5)[[3, 1, 4]]
    steps = 2 * ahead + np.outer([1, -1, 1, -1], aside) + np.outer([0.1, 0.1, -0.1, -0.1], other)
    axes, held = descent.plane_of_steps(np.concatenate([np.zeros((1, 5)), np.cumsum(steps, axis=0)]))
    np.testing.assert_allclose(abs(axes), [ahead, aside], atol=1e-12)
    assert held == pytest.approx((4 + 1) / (4 + 1 + 0.01))


def test_the_surface_is_as_high_as_the_point_where_both_begin(measured):
    between = RegularGridInterpolator((measured.up, measured.across), measured.surface)
    np.testing.assert_array_equal(measured.mini.zoomed[0], 0)
    np.testing.assert_array_equal(measured.full.zoomed[0], 0)
    assert between([[0.0, 0.0]])[0] == pytest.approx(measured.mini.cost[3], abs=0.1 * float(np.ptp(measured.surface)))


def test_turns_are_angles_between_steps():
    np.testing.assert_allclose(descent.turns(np.array([[0.0, 0], [3, 0], [3, 4], [3, 5], [3, 3]])), [90, 0, 180])
    assert descent.turns(np.array([[0.0, 0], [3, 0]])) == [0]


def test_a_detour_is_the_length_over_the_distance():
    assert descent.detour(np.array([[0.0, 0], [3, 0], [3, 4]])) == pytest.approx(7 / 5)
    assert descent.detour(np.array([[0.0, 0], [1, 1], [2, 2]])) == pytest.approx(1)
    assert descent.detour(np.zeros((1, 2))) == 1


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, set()),
        ({"turn": 30.0}, {"stumbling"}),
        ({"detour": 1.9}, {"stumbling"}),
        ({"step_seconds": 0.6}, {"quick steps"}),
        ({"lowering": 0.95}, {"exactly downhill with all examples"}),
        ({"needed": 60}, {"sooner down"}),
    ],
)
def test_each_part_of_the_claim_can_fail(measured, change, fails):
    def walk(**numbers):
        return measured.mini._replace(**{name: np.array([number]) for name, number in numbers.items()})

    good = {"turn": 90.0, "detour": 4.0, "step_seconds": 0.1, "lowering": 0.8, "needed": 5}
    full = walk(turn=1.0, detour=1.5, step_seconds=1.0, lowering=0.93, needed=10)
    mini = walk(**good | change)._replace(examples=100)
    finding = descent.judge(measured._replace(mini=mini, full=full._replace(examples=1000)))
    assert list(finding.parts) == list(claim_of("descent").criteria)
    assert {name for name, holds in finding.parts.items() if not holds} == fails


def test_the_figure_names_its_axes(measured):
    panels = {panel.get_xlabel(): panel for panel in descent.draw(measured).axes}
    assert panels["examples seen"].get_ylabel() == panels["seconds of steps"].get_ylabel() == "cost of all examples"
    assert panels["the way the mini-batches went, units of a parameter"].get_ylabel() == "where their steps differ"
