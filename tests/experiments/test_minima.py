"""minima: against networks trained one by one, and against statistics of Python's own."""

import statistics

import jax
import numpy as np
import pytest

from mlp_jax import Dataset, evaluate, fit, init_params, make_optimizer
from mlp_jax.experiments import minima

DRAW = np.random.default_rng(0)
DATA = Dataset(
    DRAW.integers(0, 256, (30, 16), np.uint8),
    DRAW.integers(0, 3, 30),
    DRAW.integers(0, 256, (12, 16), np.uint8),
    DRAW.integers(0, 3, 12),
    classes=3,
    image_shape=(4, 4, 1),
)
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
    for row, width, seed in ((0, 1, 2), (1, 3, 0)):
        params = init_params(jax.random.key(seed), (4, width, 3))
        optimizer = make_optimizer(schedule="cosine", steps=EPOCHS * 3)
        params = fit(params, small, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer).params
        train = evaluate(params, small.train_images, small.train_labels)
        test = evaluate(params, small.test_images, small.test_labels)
        np.testing.assert_allclose(measured.cost[row, seed], train.loss, rtol=1e-5)
        np.testing.assert_allclose(measured.test_cost[row, seed], test.loss, rtol=1e-5)


def test_four_pixels_become_their_mean():
    images = minima.smaller(DATA).train_images.reshape(-1, 2, 2)
    before = DATA.train_images.reshape(-1, 4, 4).astype(float)
    for number, row, column in ((0, 0, 0), (3, 0, 1), (5, 1, 0), (29, 1, 1)):
        square = [before[number, 2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
        assert images[number, row, column] == round(sum(square) / 4)


def test_colours_stay_apart():
    pixels = np.tile(np.array([10, 20, 30], np.uint8), 4)[None]
    coloured = Dataset(pixels, np.array([0]), pixels, np.array([0]), image_shape=(2, 2, 3))
    np.testing.assert_array_equal(minima.smaller(coloured).train_images, [[10, 20, 30]])
    assert minima.smaller(coloured).image_shape == (1, 1, 3)


@pytest.mark.parametrize("shape", [None, (1, 16, 1)])
def test_images_that_cannot_be_halved_stay_as_they_are(shape):
    whole = Dataset(DATA.train_images, DATA.train_labels, DATA.test_images, DATA.test_labels, 3, shape)
    assert minima.smaller(whole) is whole


def test_the_spread_is_the_deviation_over_the_mean():
    rows = DRAW.uniform(1, 2, (3, 7))
    expected = [statistics.stdev(row) / statistics.mean(row) for row in rows.tolist()]
    np.testing.assert_allclose(minima.relative_spread(rows), expected)


@pytest.mark.parametrize(("narrow", "wide", "holds"), [(0.4, 0.05, True), (0.6, 0.3, False), (0.01, 0.05, False)])
def test_the_claim_holds_where_wide_networks_end_alike(narrow, wide, holds):
    away = np.array([-1, 0, 1])
    cost = np.stack([1 + narrow * away, 0.5 * (1 + wide * away)])
    finding = minima.judge(minima.Measurement((2, 32), 196, 5000, cost, cost))
    assert finding.holds is holds
    assert f"{0.5 * (1 - wide):.3f} (seed 0) to {0.5 * (1 + wide):.3f} (seed 2)" in finding.text
    assert f"is {wide:.1%} of the mean" in finding.text


def test_the_figure_names_its_axes(measured):
    costs, spreads = minima.draw(measured).axes
    assert costs.get_xlabel() == spreads.get_xlabel() == "hidden neurons"
    assert costs.get_ylabel() == "cost after training, mean of images"
    assert spreads.get_ylabel() == "standard deviation, % of the mean"
