"""What training says if it learned nothing, against scikit-learn and NumPy."""

import numpy as np
import pytest
import sklearn.metrics
from processes import call
from scipy import stats

from mlp_jax import Dataset, Examples, Model, cross_entropy, identity, load_dataset, softmax
from mlp_jax.commands.scores import cost_of_same_answer

LEARN = ["--sizes", 0, 12, 0, "--epochs", 1, "--batch-size", 60]


def test_the_cost_of_always_the_same_answer():
    labels, weights = np.array([0, 0, 1, 3]), np.array([1, 2, 1, 4], np.float32)
    classes = Examples(np.zeros((4, 2), np.float32), labels, weights)
    rates = np.array([3, 1, 0, 4]) / 8
    dataset, one_hot = Dataset(classes, classes), np.eye(4)[labels]
    quadratic = np.average(((rates - one_hot) ** 2).sum(axis=1), weights=weights)
    assert cost_of_same_answer(dataset, Model()) == pytest.approx(quadratic)
    assert cost_of_same_answer(dataset, Model(output=softmax, cost=cross_entropy)) == pytest.approx(
        stats.entropy(rates)
    )
    each = [sklearn.metrics.log_loss(one_hot[:, j], np.full(4, rates[j]), sample_weight=weights) for j in (0, 1, 3)]
    assert cost_of_same_answer(dataset, Model(cost=cross_entropy)) == pytest.approx(sum(each))
    numbers = Examples(np.zeros((5, 2), np.float32), np.random.default_rng(0).normal(size=(5, 3)))
    variance = numbers.targets.var(axis=0).sum()
    assert cost_of_same_answer(Dataset(numbers, numbers), Model(output=identity)) == pytest.approx(variance)


def test_a_training_that_learned_nothing_says_so(digits_file, tmp_path, capsys):
    train = ["train", "--data", digits_file, *LEARN, "--out"]
    assert call(*train, tmp_path / "far", "--learning-rate", 1e9) == 0
    always = cost_of_same_answer(load_dataset(digits_file), Model())
    said = capsys.readouterr().err
    assert (
        f"nothing was learned: the cost in epoch 1 is 1.8, and always giving the same answer costs {always:.4g}" in said
    )
    assert "another --learning-rate than 1e+09, more --epochs" in said
    assert call(*train, tmp_path / "well", "--learning-rate", 10, "--epochs", 9) == 0
    assert capsys.readouterr().err == ""


def test_a_sweep_that_learned_nothing_says_so(digits_file, tmp_path, capsys):
    sweep = ["sweep", "--data", digits_file, *LEARN, "--seeds", 1, "--out"]
    assert call(*sweep, tmp_path / "far", "--learning-rate", 1e9, 1e8) == 0
    assert "nothing was learned: the cost in epoch 1 is 1.8," in capsys.readouterr().err
