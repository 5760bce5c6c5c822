"""minima: against networks trained one by one, and against statistics of Python's own."""

import statistics

import jax
import numpy as np
import pytest
from subjects import DATA, MODEL, RANDOM, dataset

from mlp_jax import evaluate, fit, init_params
from mlp_jax.experiments import claim_of, minima

WIDTHS, SEEDS, EPOCHS, BATCH = (1, 3), (0, 1, 2, 3), 2, 10


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WIDTHS": WIDTHS, "SEEDS": SEEDS, "EPOCHS": EPOCHS, "BATCH": BATCH}.items():
            patch.setattr(minima, name, value)
        return minima.measure(DATA)


def test_costs_are_those_of_networks_trained_alone(measured):
    small = minima.smaller(DATA)
    assert (measured.pixels, measured.images) == (4, 30)
    assert measured.cost.shape == measured.test_cost.shape == (len(WIDTHS), len(SEEDS))
    for seed in (0, 2):
        params = init_params(jax.random.key(seed), (4, 3, 3))
        params = fit(params, small, MODEL, epochs=EPOCHS, batch_size=BATCH).params
        cost = evaluate(params, small.train, MODEL).loss
        np.testing.assert_allclose(measured.cost[1, seed], cost, rtol=1e-5)
        np.testing.assert_allclose(measured.test_cost[1, seed], cost, rtol=1e-5)  # the same examples here


def test_four_pixels_become_their_mean():
    images = minima.smaller(DATA).train.inputs.reshape(-1, 2, 2)
    before = DATA.train.inputs.reshape(-1, 4, 4).astype(float)
    for number, row, column in ((0, 0, 0), (3, 0, 1), (5, 1, 0), (29, 1, 1)):
        square = [before[number, 2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
        assert images[number, row, column] == round(sum(square) / 4)


def test_colours_stay_apart():
    coloured = dataset(np.tile(np.array([10, 20, 30], np.uint8), 4)[None], [0], (2, 2, 3), 1)
    np.testing.assert_array_equal(minima.smaller(coloured).train.inputs, [[10, 20, 30]])
    assert minima.smaller(coloured).image_shape == (1, 1, 3)


@pytest.mark.parametrize("shape", [None, (1, 16, 1)])
def test_images_that_cannot_be_halved_stay_as_they_are(shape):
    whole = dataset(shape=shape)
    assert minima.smaller(whole) is whole


def test_the_spread_is_the_deviation_over_the_mean():
    rows = RANDOM.uniform(1, 2, (3, 7))
    expected = [statistics.stdev(row) / statistics.mean(row) for row in rows.tolist()]
    np.testing.assert_allclose(minima.relative_spread(rows), expected)


@pytest.mark.parametrize(
    ("narrow", "wide", "test", "parts"),
    [
        (0.05, 0.0005, 0.0005, [True, True, True]),
        (0.4, 0.05, 0.05, [False, True, False]),
        (0.05, 0.0005, 0.3, [True, False, False]),
        (0.05, 0.05, 0.0005, [True, True, False]),
    ],
)
def test_each_part_can_fail(narrow, wide, test, parts):
    away = np.array([-1, 0, 1])
    cost = np.stack([1 + narrow * away, 0.5 * (1 + wide * away)])
    finding = minima.judge(minima.Measurement((2, 32), 196, 5000, cost, np.stack([1 + test * away] * 2)))
    assert list(finding.parts) == list(claim_of("minima").criteria)
    assert list(finding.parts.values()) == parts
    ends = f"{0.5 * (1 - wide):.3f} (seed 0), {0.5 * (1 + wide):.3f} (seed 2)"
    assert finding.table["lowest and highest cost with 32 neurons"] == ends


def test_the_figure_names_its_axes(measured):
    costs, spreads = minima.draw(measured).axes
    assert costs.get_xlabel() == spreads.get_xlabel() == "hidden neurons"
    assert costs.get_ylabel() == "cost after training, mean of images"
    assert spreads.get_ylabel() == "standard deviation, % of the mean"
