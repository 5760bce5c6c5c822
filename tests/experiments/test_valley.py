"""Where descent ends, against minima that a fine grid finds; how it steps, on functions whose paths are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.experiments import claim_of, valley


@pytest.fixture(scope="module")
def measured():
    return valley.measure()


def test_the_minima_are_those_of_a_fine_grid(measured):
    """Points lower than all neighbours, without any derivative."""
    x = np.linspace(*valley.LINE_ENDS, 4801)
    costs = valley.cost_on_line(x)
    lower = (costs[1:-1] < costs[:-2]) & (costs[1:-1] < costs[2:])
    found = x[1:-1][lower]
    assert sorted(measured.line_minima) == pytest.approx(sorted(found), abs=1e-3)
    assert measured.line_minima[0] == pytest.approx(x[costs.argmin()], abs=1e-3)

    axis = np.linspace(*valley.PLANE_ENDS, 801)
    costs = valley.cost_on_plane(*np.meshgrid(axis, axis, indexing="ij"))
    inner = costs[1:-1, 1:-1]
    moves = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    lower = np.all([inner < costs[i : i + 799, j : j + 799] for i, j in moves], axis=0)
    found = axis[1:-1][np.argwhere(lower)]
    assert len(found) == len(measured.plane_minima)
    assert np.all(valley.nearest(found, measured.plane_minima)[1] < 0.02)
    assert measured.plane_costs == pytest.approx(valley.cost_on_plane(*measured.plane_minima.T))
    assert list(measured.plane_costs) == sorted(measured.plane_costs)


def test_on_a_line_no_path_leaves_the_valley_it_starts_in(measured):
    """Steps this short cannot cross a summit: starts between the same two summits end together."""
    slope = valley.LINE.deriv()
    summits = [root for root in slope.roots() if valley.LINE.deriv(2)(root) < 0]
    valleys = np.searchsorted(np.sort(summits), measured.line_paths[:, 0])
    assert np.array_equal(valleys, np.argsort(np.argsort(measured.line_minima))[measured.line_ends])
    first = measured.line_paths[:, 1] - measured.line_paths[:, 0]
    np.testing.assert_allclose(first, -valley.RATE * slope(measured.line_paths[:, 0]), rtol=1e-10)


def test_the_basins_are_those_of_the_paths(measured):
    """The grid and the random starts, descended from apart, agree wherever all corners around a start do."""
    starts, ends = measured.plane_paths[:, 0], measured.plane_ends[: valley.PATHS]
    cells = (
        (starts - valley.PLANE_ENDS[0]) / (valley.PLANE_ENDS[1] - valley.PLANE_ENDS[0]) * (valley.GRID - 1)
    ).astype(int)
    agreed = 0
    for (x, y), end in zip(cells, ends, strict=True):
        corners = measured.basins[y : y + 2, x : x + 2]
        if len(np.unique(corners)) == 1:
            assert corners[0, 0] == end
            agreed += 1
    assert agreed > valley.PATHS / 2


@pytest.mark.usefixtures("float64")
def test_descent_in_a_parabola_is_a_geometric_series():
    starts = np.array([[1.0, 2.0], [-3.0, 0.5]])
    paths = np.asarray(valley.descend(lambda x, y: x**2 + 3 * y**2, jnp.asarray(starts)))
    step = np.arange(valley.STEPS + 1)[:, None]
    factor = 1 - valley.RATE * np.array([2, 6])
    np.testing.assert_allclose(paths, starts[:, None] * factor**step, atol=1e-12)

    fixed = np.asarray(valley.descend(lambda x, y: x**2 + 3 * y**2, jnp.asarray(starts), length=0.1))
    np.testing.assert_allclose(np.linalg.norm(np.diff(fixed, axis=1), axis=-1), 0.1, rtol=1e-9)


def test_steps_are_held_against_the_last_one_near_a_minimum_only():
    path = np.array([[2.0], [1.0], [0.2], [0.1], [0.12], [0.12]])  # lengths 1, 0.8, 0.1, 0.02, 0
    assert valley.shortens(path[None], np.zeros((1, 1))).tolist() == [True, True]  # those from 0.2 and from 0.1
    path = np.array([[0.2], [0.15], [0.05], [0.04]])
    assert valley.shortens(path[None], np.zeros((1, 1))).tolist() == [False, True]


def test_the_finding(measured):
    found = valley.judge(measured)
    assert found.verdict == "holds"
    assert list(found.parts) == list(claim_of("valley").criteria)
    lost = measured.line_distances.copy()
    lost[3] = 0.1
    changes = (
        {"line_distances": lost},
        {"plane_ends": np.zeros_like(measured.plane_ends)},
        {"shortening": 0.99},
        {"crossed": 0.1},
    )
    for name, change in zip(found.parts, changes, strict=True):
        parts = valley.judge(measured._replace(**change)).parts
        assert [part for part, holds in parts.items() if not holds] == [name]
    assert "220 of 221" in valley.judge(measured._replace(line_distances=lost)).text


def test_thresholds_are_one_and_two_over_the_curvature(measured):
    """The curvature from differences of the cost, without any derivative."""
    for number, place in enumerate(measured.line_minima):
        left, here, right = valley.cost_on_line(place + np.array([-1e-4, 0, 1e-4]))
        curvature = (left - 2 * here + right) / 1e-8
        assert measured.curvatures[number] == pytest.approx(curvature, rel=1e-4)
        across = measured.rates[np.argmax(measured.crossing[:, number] > 0.5)]
        assert across == pytest.approx(1 / curvature, rel=0.1)
        assert (measured.arriving[measured.rates < 1.9 / curvature][3:, number] == 1).all()
        if (beyond := measured.rates > 2.1 / curvature).any():
            assert measured.arriving[beyond, number].max() < 0.1


def test_a_path_crosses_a_place_only_from_one_side_to_the_other():
    paths = np.array([[2.0, 1.5, 1.1], [2.0, 0.5, 0.9], [1.5, 1 - 1e-12, 1.0]])
    assert valley.crosses(paths, 1.0).tolist() == [False, True, False]


def test_the_figure_names_its_axes(measured):
    panels = valley.draw(measured).axes
    assert len(panels) == 4
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in panels)


def test_the_functions_are_the_same_for_jax():
    assert jax.grad(valley.cost_on_line)(0.5) == pytest.approx(valley.LINE.deriv()(0.5), rel=1e-5)
    assert valley.cost_on_plane(jnp.float32(0.5), jnp.float32(1.0)) == pytest.approx(valley.cost_on_plane(0.5, 1.0))
