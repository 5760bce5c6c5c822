"""The command that shows how well a run does."""

from collections.abc import Iterable

import numpy as np
from rich.table import Table

from mlp_jax import training
from mlp_jax.commands.shared import dataset_of, keep_programs, make_console, open_run, print_json
from mlp_jax.config import Evaluate


def evaluate(settings: Evaluate) -> int:
    """Show score and cost of a run on the test examples and, for classes, the confusion matrix."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory)
    dataset = dataset_of(run, params)
    result = training.evaluate(params, dataset.test, model)
    known = {"of": len(dataset.test), "cost": round(result.loss, 6)}
    if result.confusion is None:
        print_json(test_r2=result.score, test_rmse=result.rmse, **known)
        return 0
    make_console().print(_table(result.confusion, dataset.class_names or range(dataset.n_out)))
    print_json(test_accuracy=result.score, wrong=result.wrong, **known)
    return 0


def _table(confusion: np.ndarray, names: Iterable[object]) -> Table:
    """The confusion matrix, and how many examples of each class are right."""
    table = Table(title="Examples of each class (rows) by the network's answer (columns)", padding=(0, 0, 0, 1))
    table.add_column("")
    for name in names:
        table.add_column(str(name), justify="right", no_wrap=True, min_width=4)
    table.add_column("right", justify="right")
    for label, (name, row) in enumerate(zip(names, confusion, strict=True)):
        counts = [str(count) if count else "·" for count in row]
        table.add_row(str(name), *counts, f"{row[label] / max(row.sum(), 1):.1%}")
    return table
