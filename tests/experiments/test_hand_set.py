"""The neuron set by hand adds up what it should, and is lit by what it should."""

from dataclasses import replace

import numpy as np
import pytest
from subjects import dataset

from mlp_jax.experiments.hand_set import draw, edges, judge, measure
from mlp_jax.experiments.subject import SubjectError

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([1, 7], 20)
IMAGES = np.uint8(RANDOM.uniform(0, 60, (40, 28, 28)))
IMAGES[20:30, 7:10, 8:19] = 255  # half of the 7s have an upper stroke where the neuron looks for one
IMAGES[30:35, 7:10, 8:13] = 255  # and some a stroke of half the length
DATA = dataset(IMAGES.reshape(40, -1), LABELS, (28, 28, 1), 10)


def test_an_edge_is_a_bright_bar_in_a_dark_rim():
    flat, upright = edges((28, 28), *np.array([[8.0, 13.0], [13.0, 13.0], [0, np.pi / 2], [1.0, 1.0]]))
    expected = np.zeros((28, 28))
    expected[5:12, 6:21] = -1
    expected[7:10, 8:19] = 1
    np.testing.assert_array_equal(flat, expected)
    np.testing.assert_array_equal(upright[6:21, 10:17], expected[5:12, 6:21].T)
    assert np.abs(upright).sum() == np.abs(flat).sum()
    np.testing.assert_array_equal(measure(DATA).weights, expected)


def test_weighted_sums_and_what_lights_it():
    measured = measure(DATA)
    sums = (IMAGES / 255 * measured.weights).sum(axis=(1, 2))
    for row, digit in enumerate((1, 7)):
        of_digit = sums[digit == LABELS]
        np.testing.assert_allclose(measured.sums[row], np.percentile(of_digit, (5, 25, 50, 75, 95)), atol=1e-4)
        assert measured.lit_without[row] == np.mean(of_digit > 0)
        assert measured.lit[row] == np.mean(of_digit > 10)
    assert measured.all_lit == np.mean(sums > 10) > 0
    assert measured.all_lit_without == np.mean(sums > 0) > measured.all_lit
    np.testing.assert_allclose(measured.brightest_sums, np.sort(sums)[::-1][:8], atol=1e-4)
    np.testing.assert_array_equal(measured.brightest[0], IMAGES[sums.argmax()])


def test_the_edge_is_what_the_neuron_sums_up_most_of():
    measured = measure(DATA)
    assert measured.drawn_sums[0] == np.clip(measured.weights, 0, None).sum() == 33  # no image has a larger sum
    assert dict(zip(measured.drawn, measured.drawn_sums, strict=True))["all ink"] == measured.weights.sum()
    assert measured.drawn_lit.tolist() == [total > 10 for total in measured.drawn_sums]


def test_holds_only_where_the_bias_tells_and_no_other_picture_lights_it():
    measured = measure(DATA)._replace(all_lit=0.1, all_lit_without=0.3)
    assert judge(measured).verdict == "holds"
    for changes in ({"all_lit": 0.2}, {"all_lit": 0.0}):
        assert judge(measured._replace(**changes)).parts == {
            "it picks up the edge": True,
            "the bias keeps it quiet": False,
        }
    other = measured.drawn_sums * [0.5, 1, 1, 2, 1, 1]
    for changes in ({"drawn_lit": np.ones(6, bool)}, {"drawn_lit": np.zeros(6, bool)}, {"drawn_sums": other}):
        assert not judge(measured._replace(**changes)).parts["it picks up the edge"]


def test_draws_with_labelled_axes():
    figure = draw(measure(DATA))
    sums, lit = (panel for panel in figure.axes if panel.get_xlabel())
    assert (sums.get_ylabel(), lit.get_ylabel()) == (
        "weighted sum, without the bias",
        "share of its test images, %",
    )
    assert [bar.get_height() for bar in lit.patches][2:] == [0, 50]
    assert [label.get_text() for label in lit.get_xticklabels()] == ["1", "7"]


@pytest.mark.parametrize("shape", [None, (14, 56, 1), (14, 14, 4)])
def test_needs_images_of_the_size_it_was_made_for(shape):
    with pytest.raises(SubjectError, match="28 x 28 pixels and one channel"):
        measure(replace(DATA, image_shape=shape))
