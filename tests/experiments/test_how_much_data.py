"""how-much-data: equal steps on more and more images, and what judge makes of their mistakes."""

import numpy as np
import pytest
from subjects import DATA

from mlp_jax import evaluate
from mlp_jax.experiments import how_much_data
from mlp_jax.training import member


@pytest.fixture(scope="module")
def measured():
    """What is measured on 30 images, and what each training saw."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"EPOCHS": 4, "BATCH": 10, "ONE_IN": (60, 15, 5, 3, 2, 1)}.items():
            patch.setattr(how_much_data, name, value)
        fit = how_much_data.fit_population

        def watched(params, dataset, model, **settings):
            state, metrics = fit(params, dataset, model, **settings)
            seen.append((dataset.train, state.params))
            return state, metrics

        patch.setattr(how_much_data, "fit_population", watched)
        return how_much_data.measure(DATA), seen


def test_all_trainings_are_as_long_and_see_as_many_images_as_said(measured):
    found, seen = measured
    assert found.counts == (1, 2, 6, 10, 15, 30)
    assert found.steps == 4 * 3
    assert len(seen) == 2 * len(found.counts)
    for number, (train, _) in enumerate(seen):
        rows, times = np.unique(train.inputs, axis=0, return_counts=True)
        assert len(train) == 30
        assert len(rows) == found.counts[number // 2]
        assert set(times) == {30 // len(rows)}


def test_more_images_are_those_before_and_others(measured):
    _, seen = measured
    for fewer, more in zip(seen, seen[2:], strict=False):
        assert {row.tobytes() for row in fewer[0].inputs} <= {row.tobytes() for row in more[0].inputs}
    assert seen[0][0].inputs[0].tolist() != seen[1][0].inputs[0].tolist()  # another order


def test_accuracies_are_those_that_evaluate_finds(measured):
    found, seen = measured
    for row in (0, 3, 5):
        for order in (0, 1):
            train, networks = seen[2 * row + order]
            for seed in (0, 1):
                network, place = member(networks, seed), 2 * order + seed
                on_train, on_test = (evaluate(network, part, how_much_data.Model()) for part in (train, DATA.test))
                assert found.train_accuracy[row, place] == pytest.approx(on_train.score)
                assert found.test_accuracy[row, place] == pytest.approx(on_test.score)


def example(*mistakes):
    test = 1 - np.array(mistakes)[:, None] + [0, 0, 0.3]
    return how_much_data.Measurement((100, 300, 1000, 3000, 10_000, 30_000, 60_000), 9000, test + 0.1, test)


@pytest.mark.parametrize(
    ("mistakes", "parts"),
    [
        ((0.32, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05), [True, True]),
        ((0.32, 0.2, 0.09, 0.08, 0.07, 0.06, 0.05), [False, True]),
        ((0.32, 0.2, 0.15, 0.1, 0.08, 0.05, 0.05), [True, False]),
        ((0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4), [False, False]),
    ],
)
def test_each_part_of_the_claim_can_fail(mistakes, parts):
    assert list(how_much_data.judge(example(*mistakes)).parts.values()) == parts


def test_what_a_doubling_takes_away():
    # From 100 to 300 images mistakes halve: log2(3) doublings. From 30,000 to 60,000 it is a single one.
    table = how_much_data.judge(example(0.4, 0.2, 0.15, 0.1, 0.08, 0.06, 0.045)).table
    removed = "mistakes removed by twice as many images, from {} on"
    assert table[removed.format("100")] == f"{1 - 0.5 ** (1 / np.log2(3)):.0%}"
    assert table[removed.format("30,000")] == "25%"
    assert how_much_data.judge(example(0, 0, 0, 0, 0, 0, 0)).table[removed.format("100")] == "0%"


def test_the_figure_names_its_axes():
    accuracy, mistakes = how_much_data.draw(example(0.32, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05)).axes
    assert accuracy.get_ylabel() == "accuracy, %"
    assert mistakes.get_ylabel() == "mistakes on test images, %"
