"""Neurons made to stand for loops and lines are found, others are not, and pairs are counted as a loop counts them."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subjects import dataset, subject

from mlp_jax import Layer, Model
from mlp_jax.activations import relu
from mlp_jax.experiments import layer_three
from mlp_jax.experiments.layer_three import PATTERNS, best_told, brighter, draw, judge, measure
from mlp_jax.experiments.subject import SubjectError
from mlp_jax.training import init_population

RANDOM = np.random.default_rng(0)
LABELS = np.arange(60) % 10
IMAGES = np.uint8(np.clip(200 * np.eye(10)[LABELS] + RANDOM.uniform(0, 20, (60, 10)), 0, 255))
DATA = dataset(IMAGES, LABELS, (2, 5, 1), 10)
SIZES = (10, 6, 4, 10)


def hoped_for(data=DATA):
    """Two networks: the third layer of one stands for the four patterns, that of the other is as it was drawn."""
    sets = np.array([np.isin(range(10), pattern) for pattern in PATTERNS.values()])
    drawn = init_population((0, 1), SIZES)
    copies = Layer(10 * jnp.eye(6, 10).at[:4].set(sets), jnp.full(6, -5.0))
    standing = Layer(10 * jnp.eye(4, 6), jnp.full(4, -5.0))
    networks = tuple(
        jax.tree.map(lambda leaf, own: leaf.at[0].set(own), layer, own)
        for layer, own in zip(drawn[:2], (copies, standing), strict=True)
    )
    return subject((*networks, drawn[2]), data=data)


def test_neurons_that_stand_for_a_pattern_are_found():
    measured = measure(hoped_for())
    assert measured.exactly[0].tolist() == [1, 1, 1, 1]
    assert measured.layer == 2
    np.testing.assert_array_equal(measured.told[0], 1)
    np.testing.assert_allclose(measured.rank[0], [1, 208 / 209, 1, 208 / 209])  # sets of four: each beside the other


def test_every_number_is_that_of_a_loop():
    networks = hoped_for()
    measured = measure(networks)
    sizes = []
    for number in range(2):
        a = IMAGES / 255
        for layer in networks.networks[:2]:
            a = 1 / (1 + np.exp(-(a @ np.asarray(layer.weights[number]).T + np.asarray(layer.biases[number]))))
        a = np.float32(a)
        for k, neuron in enumerate(a.T):
            lit = {digit for digit in range(10) if np.mean(neuron[digit == LABELS] > 0.5) > 0.5}
            assert set(np.flatnonzero(measured.lit[number, k])) == lit
            sizes.append(len(lit))
            if number == 0:
                means = [neuron[digit == LABELS].mean() for digit in range(10)]
                np.testing.assert_allclose(measured.activations[k], means, atol=1e-5)
        for column, pattern in enumerate(PATTERNS.values()):

            def told(these, a=a):
                pairs = [
                    [np.mean([(p > q) + (p == q) / 2 for p in neuron[i == LABELS] for q in neuron[j == LABELS]])]
                    for neuron in a.T
                    for i in these
                    for j in set(range(10)) - set(these)
                ]
                chance = np.reshape(pairs, (len(a.T), -1)).mean(axis=1)
                return np.maximum(chance, 1 - chance).max()

            assert measured.told[number, column] == pytest.approx(told(pattern), abs=1e-3)
    for column, pattern in enumerate(PATTERNS.values()):
        alike = sizes.count(len(pattern)) / len(list(combinations(range(10), len(pattern))))
        assert measured.by_chance[column] == pytest.approx(alike)


def test_ranks_are_among_all_other_sets_of_as_many():
    wins = brighter(RANDOM.normal(size=60), [digit == LABELS for digit in range(10)])
    np.testing.assert_allclose(wins + wins.T, 1)
    pairs = list(combinations(range(10), 2))
    best = best_told(wins[None, None], np.array([np.isin(range(10), pair) for pair in pairs]))
    for pair, told in zip(pairs, best[0], strict=True):
        rest = np.setdiff1d(range(10), pair)
        assert told == pytest.approx(max(wins[np.ix_(pair, rest)].mean(), wins[np.ix_(rest, pair)].mean()))


def test_judges_each_part_by_the_median_network():
    measured = measure(hoped_for())
    none = measured._replace(exactly=np.zeros((3, 4), int), rank=np.full((3, 4), 0.5))
    assert judge(none).verdict == "holds"
    for column, part in enumerate(("loops", "loops", "long lines", "long lines")):
        one, two = (np.zeros((3, 4), int) for _ in range(2))
        one[0, column] = two[:2, column] = 1
        assert judge(none._replace(exactly=one)).verdict == "holds"
        parts = judge(none._replace(exactly=two)).parts
        assert [name for name, held in parts.items() if not held] == [part]
    special = np.full((3, 4), 0.5)
    special[:2, 1] = 0.9
    assert not judge(none._replace(rank=special)).parts["like any digits"]
    assert "best told from the others: 0, 6, 8 and 9" in judge(none._replace(rank=special)).table


def test_draws_a_frame_for_each_digit_that_lights_a_neuron():
    measured = measure(hoped_for())
    hoped, seen, told = draw(measured).axes
    assert sum(patch.get_visible() for patch in hoped.patches) == sum(map(len, PATTERNS.values()))
    assert sum(patch.get_visible() for patch in seen.patches) == measured.lit[0].sum()
    assert seen.get_title().startswith("third layer (params[1])")
    assert told.get_ylabel()
    assert layer_three._listed((1, 4, 7)) == "1, 4 and 7"


def test_needs_ten_digits_and_hidden_sigmoids():
    with pytest.raises(SubjectError, match="10 classes, 9 to test"):
        measure(hoped_for(dataset(IMAGES, np.minimum(LABELS, 8), (2, 5, 1), 10)))
    with pytest.raises(SubjectError, match="hidden layer of sigmoids"):
        measure(hoped_for()._replace(model=Model(hidden=relu)))
    with pytest.raises(SubjectError, match="hidden layer of sigmoids"):
        measure(subject(init_population((0, 1), (10, 10)), data=DATA))
