"""The command that shows how well a run does."""

import sys
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from mlp_jax import training
from mlp_jax.commands.scores import same_answer, scores_in_words, scores_of, unit_of
from mlp_jax.commands.shared import as_committee, dataset_of, make_console, open_run, print_json
from mlp_jax.config import Evaluate
from mlp_jax.data import Dataset
from mlp_jax.network import Model
from mlp_jax.programs import keep_programs
from mlp_jax.runs import Run
from mlp_jax.training import evaluate_committee, half_widths, outputs_of_members

FIGURE = "predictions.png"
CONFUSIONS = 10
"""How many of the most frequent confusions are listed."""


def evaluate(settings: Evaluate) -> int:
    """Show scores and cost of a run on the test examples, and draw the numbers that it predicts."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory, committee=True)
    dataset = dataset_of(run, params)
    members = outputs_of_members(as_committee(params), dataset.test.inputs, model)
    outputs, several = members.mean(axis=0), params[0].weights.ndim == 3
    result = (evaluate_committee if several else training.evaluate)(params, dataset.test, model)
    known = {"of": len(dataset.test), "cost": round(result.loss, 6)} | ({"members": len(members)} if several else {})
    scores = scores_of(result, unit_of(dataset))
    if dataset.preprocessing is not None:
        baseline = scores_of(same_answer(dataset), unit_of(dataset))
        known |= {name.replace("test", "baseline"): number for name, number in baseline.items()}
    if result.confusion is None:
        known |= _numbers(run, dataset, outputs) | _coverage(dataset, members)
    else:
        names = dataset.class_names or tuple(map(str, range(dataset.n_out)))
        _print_confusion(result.confusion, names)
        known |= {"wrong": result.wrong} | _probabilities(model, dataset, outputs)
    if dataset.preprocessing is not None:
        print(scores_in_words(scores | known, dataset))
    print_json(**scores, **known)
    return 0


def _numbers(run: Run, dataset: Dataset, outputs: np.ndarray) -> dict[str, float | str]:
    """The mean absolute error, and the picture of predicted against true numbers of the first output."""
    true = dataset.test.targets.astype(np.float64)
    error = float(np.abs(outputs - true).mean() * unit_of(dataset))
    kept = dataset.preprocessing
    if kept is not None:
        outputs, true = kept.numbers(outputs)[:, None], kept.numbers(true)[:, None]
    from mlp_jax import plots  # here, because it imports Matplotlib

    path = run.directory / FIGURE
    name = kept.target if kept is not None and kept.target else "target"
    plots.predicted_against_true(outputs[:, 0], true[:, 0], name).savefig(path, dpi=150)
    return {"test_mae": error, "figure": str(path)}


def _coverage(dataset: Dataset, members: np.ndarray) -> dict[str, float]:
    """Of a committee, how many test examples lie within the bounds that predict --spread gives, which are to be 0.9."""
    margin = None if dataset.preprocessing is None else dataset.preprocessing.interval
    if margin is None:
        return {}
    errors = np.abs(members.mean(axis=0) - dataset.test.targets)
    return {"interval_coverage": round(float(np.mean(errors <= half_widths(members, margin))), 4)}


def _probabilities(model: Model, dataset: Dataset, outputs: np.ndarray) -> dict[str, float]:
    """Log loss and calibration, if the outputs can be probabilities."""
    if model.output.range[0] < 0:
        return {}
    probabilities, classes = training.as_probabilities(outputs), dataset.test.targets
    return {
        "log_loss": round(training.log_loss(probabilities, classes), 6),
        "calibration_error": round(training.calibration_error(probabilities, classes), 6),
    }


def _print_confusion(confusion: np.ndarray, names: Sequence[str]) -> None:
    """The confusion matrix if it fits, or else each class in a line and the most frequent confusions."""
    console, right = make_console(), np.diag(confusion)
    recalls, precisions = (  # of a class that no example is of, or no answer, there is none
        [f"{fine / of:.1%}" if of else "-" for fine, of in zip(right, confusion.sum(axis=axis), strict=True)]
        for axis in (1, 0)
    )
    matrix = _matrix(confusion, names, recalls, precisions)
    anywhere = console.options.update(max_width=sys.maxsize)
    if console.measure(matrix, options=anywhere).maximum <= console.width:
        console.print(matrix)
        return
    table = Table(box=SIMPLE, padding=(0, 0, 0, 1))
    table.add_column("class", overflow="fold")
    for name in ("examples", "recall", "precision"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, count, recall, precision in zip(names, confusion.sum(axis=1), recalls, precisions, strict=True):
        table.add_row(name, str(count), recall, precision)
    console.print(table)
    wrong = confusion - np.diag(right)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    for is_of, answer in zip(*np.unravel_index(worst, wrong.shape), strict=True):
        if count := wrong[is_of, answer]:
            console.print(f"{names[is_of]} answered as {names[answer]}: {count} times", soft_wrap=True)


def _matrix(confusion: np.ndarray, names: Sequence[str], recalls: list[str], precisions: list[str]) -> Table:
    """The confusion matrix, with the recall of each class at the end of its row and the precision below its column."""
    table = Table(title="Examples of each class (rows) by the network's answer (columns)", box=SIMPLE, show_footer=True)
    table.padding = (0, 0, 0, 1)
    table.add_column("", "precision", no_wrap=True)
    for name, precision in zip(names, precisions, strict=True):
        table.add_column(name, precision.removesuffix("%"), justify="right", no_wrap=True)
    table.add_column("recall", "%", justify="right", no_wrap=True)
    for name, row, recall in zip(names, confusion, recalls, strict=True):
        table.add_row(name, *(str(count) if count else "·" for count in row), recall)
    return table
