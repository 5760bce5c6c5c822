"""Figures show the numbers they are given."""

import numpy as np

from mlp_jax.figures import accuracy_by_setting

ACCURACIES = np.array([0.9, 0.8, 0.95, np.nan])
SETTINGS = {"learning_rate": [1, 1, 8, 8], "scale": [1, 1, 1, 1], "seed": [0, 1, 0, 1]}


def lines_of(panel):
    return {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}


def test_a_panel_for_each_setting_that_differs():
    rates, seeds = accuracy_by_setting(SETTINGS, ACCURACIES).axes
    assert (rates.get_xlabel(), seeds.get_xlabel()) == ("learning rate", "seed")
    assert (rates.get_xscale(), seeds.get_xscale()) == ("log", "linear")
    shown = lines_of(rates)
    np.testing.assert_allclose(shown["a network"], [(1, 90), (1, 80), (8, 95)])
    np.testing.assert_allclose(shown["median"], [(1, 85), (8, 95)])
    assert [x for x, _ in shown["diverged"]] == [8]
    np.testing.assert_allclose(lines_of(seeds)["median"], [(0, 92.5), (1, 80)])


def test_one_panel_where_nothing_differs():
    (panel,) = accuracy_by_setting({"learning_rate": [2], "seed": [0]}, np.array([0.9])).axes
    assert "diverged" not in lines_of(panel)
    np.testing.assert_allclose(lines_of(panel)["a network"], [(2, 90)])
