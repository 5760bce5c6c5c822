"""Scores of a network on test examples, in the units of the target and beside the simplest answer there is."""

from typing import Any

import numpy as np

from mlp_jax.commands.shared import print_json
from mlp_jax.data import Dataset
from mlp_jax.training import Evaluation


def unit_of(dataset: Dataset) -> float:
    """What 1 in the data's targets is in the unit of the column that is predicted."""
    return 1.0 if dataset.preprocessing is None else dataset.preprocessing.unit


def scores_of(found: Evaluation, unit: float) -> dict[str, float]:
    """The scores as they are logged: test_accuracy of classes, test_r2 and test_rmse of numbers, in their unit."""
    if found.rmse is None:
        return {"test_accuracy": found.score}
    return {"test_r2": found.score, "test_rmse": found.rmse * unit}


def same_answer(dataset: Dataset) -> Evaluation:
    """The scores, on test examples, of always answering the commonest class or the mean of the training examples."""
    train, test = dataset.train.targets, dataset.test.targets
    if dataset.has_classes:
        right = np.mean(test == np.bincount(train).argmax())
        return Evaluation(loss=None, score=float(right))
    errors, mean = test.astype(np.float64) - train.mean(axis=0), test.mean(axis=0, dtype=np.float64)
    squares, variance = (errors**2).mean(axis=0), ((test - mean) ** 2).mean(axis=0)
    r2 = np.where(variance > 0, 1 - squares / np.where(variance > 0, variance, 1), 0.0)
    return Evaluation(loss=None, score=float(r2.mean()), rmse=float(np.sqrt(squares).mean()))


def print_result(found: dict[str, Any], dataset: Dataset, **more: Any) -> None:
    """Print scores, beside those of always the same answer if the data say what their columns are; a line of JSON last.

    more: what else the line says.
    """
    if dataset.preprocessing is not None:
        always = scores_of(same_answer(dataset), unit_of(dataset))
        found = found | {name.replace("test", "baseline"): number for name, number in always.items()}
        print(scores_in_words(found, dataset))
    print_json(**found, **more)


def scores_in_words(found: dict[str, Any], dataset: Dataset) -> str:
    """The test scores beside those of a committee's median member, if there is one, and of always the same answer."""
    name = "accuracy" if dataset.has_classes else "rmse"
    mine, alone, always = (found.get(f"{who}_{name}") for who in ("test", "member", "baseline"))

    def text(score: float | None) -> str:
        return "-" if score is None else f"{score:.2%}" if dataset.has_classes else f"{score:.4g}"

    if dataset.has_classes:
        common = np.bincount(dataset.train.targets).argmax()
        said = f"test accuracy {text(mine)}"
        same = f"always {dataset.class_names[common] if dataset.class_names else common}: {text(always)}"
    else:
        r2 = found.get("test_r2")
        said = f"test R^2 {'-' if r2 is None else f'{r2:.3f}'}, RMSE {text(mine)}"
        same = f"always the mean: RMSE {text(always)}"
    of_member = (
        f"; the median member: {'' if dataset.has_classes else 'RMSE '}{text(alone)}" if alone is not None else ""
    )
    return f"{said}{of_member}; {same}"
