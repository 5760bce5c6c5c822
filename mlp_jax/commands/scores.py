"""Scores of a network on test examples, in the units of the target and beside the simplest answer there is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlp_jax.commands.resume import warn
from mlp_jax.commands.shared import print_json
from mlp_jax.data import Dataset
from mlp_jax.network import Model
from mlp_jax.training import Evaluation

ALMOST = 0.99
"""Networks that give nearly the same answer to all examples cost a little less than one that does."""


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


def cost_of_same_answer(dataset: Dataset, model: Model) -> float:
    """The lowest average cost that the training examples have if all get the same outputs; NaN for an unknown cost."""
    train = dataset.train
    if dataset.has_classes:
        counts = np.bincount(train.targets, train.weights, dataset.n_out)
        mean = square = counts / counts.sum()
    else:
        y = train.targets.astype(np.float64)
        mean, square = (np.average(power, axis=0, weights=train.weights) for power in (y, y**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        yes, no = (np.where(part > 0, -part * np.log(part), 0).sum() for part in (mean, 1 - mean))
    if model.cost.name == "cross_entropy":
        return float(yes if model.output.name == "softmax" else yes + no)
    return float((square - mean**2).sum()) if model.cost.name == "quadratic" else np.nan


def warn_unless_learned(
    dataset: Dataset, model: Model, epoch: int, costs: Sequence[Any], rates: Sequence[float]
) -> None:
    """Say on stderr if a training ended with costs that the same answer to all examples has too.

    costs: in the last epoch, of training and of test examples, of all networks; None and NaN if not finite.
    """
    found = np.array(costs, np.float64)  # None is NaN
    same = cost_of_same_answer(dataset, model)
    if np.isfinite(found).any() and np.nanmin(found) >= ALMOST * same:
        warn(
            f"nothing was learned: the cost in epoch {epoch} is {np.nanmin(found):.4g}, and always giving the same "
            f"answer costs {same:.4g}; try another --learning-rate than {' '.join(f'{rate:g}' for rate in rates)}, "
            "more --epochs, or --optimizer adam"
        )


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
