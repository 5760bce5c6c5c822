"""Figures show the numbers they are given."""

import numpy as np

from mlp_jax import figures
from mlp_jax.figures import scores_by_setting

ACCURACIES = np.array([0.9, 0.8, 0.95, np.nan])
SETTINGS = {"learning_rate": [1, 1, 8, 8], "scale": [1, 1, 1, 1], "seed": [0, 1, 0, 1]}


def lines_of(panel):
    return {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}


def test_a_panel_for_each_setting_that_differs():
    rates, seeds = scores_by_setting(SETTINGS, 100 * ACCURACIES, "test accuracy, %").axes
    assert (rates.get_xlabel(), seeds.get_xlabel()) == ("learning rate", "seed")
    assert (rates.get_ylabel(), seeds.get_ylabel()) == ("test accuracy, %", "")
    assert (rates.get_xscale(), seeds.get_xscale()) == ("log", "linear")
    shown = lines_of(rates)
    np.testing.assert_allclose(shown["a network"], [(1, 90), (1, 80), (8, 95)])
    np.testing.assert_allclose(shown["median"], [(1, 85), (8, 95)])
    assert [x for x, _ in shown["diverged"]] == [8]
    np.testing.assert_allclose(lines_of(seeds)["median"], [(0, 92.5), (1, 80)])


def test_one_panel_if_nothing_differs():
    (panel,) = scores_by_setting({"learning_rate": [2], "seed": [0]}, np.array([0.9]), "test R²").axes
    assert "diverged" not in lines_of(panel)
    np.testing.assert_allclose(lines_of(panel)["a network"], [(2, 0.9)])


def test_a_band_reaches_from_the_lowest_member_to_the_highest():
    _, ((panel,),) = figures.page()
    y = np.array([[1.0, 5.0], [2.0, 3.0], [9.0, 4.0]])
    figures.band(panel, [10, 20], y, "-", figures.RED, "cost")
    assert lines_of(panel)["cost"] == [[10, 2], [20, 4]]
    (shade,) = panel.collections
    assert {tuple(corner) for corner in shade.get_paths()[0].vertices} == {(10, 1), (20, 3), (20, 5), (10, 9)}


def test_the_first_member_is_red_and_above_the_others():
    _, ((panel,),) = figures.page()
    figures.members(panel, [0, 1], np.array([[1.0, 2.0], [3.0, 4.0]]), "o")
    below, above = panel.get_lines()
    assert (below.get_color(), above.get_color()) == (figures.BLUE, figures.RED)
    assert above.get_ydata().tolist() == [1, 2]
