"""The command that shows how well a run does."""

from rich.table import Table

from mlp_jax import arguments, training
from mlp_jax.commands.shared import keep_programs, make_console, open_run, print_json
from mlp_jax.data import load_dataset
from mlp_jax.network import sizes_of
from mlp_jax.runs import RunError


def evaluate(settings: arguments.Evaluate) -> int:
    """Show accuracy, cost and confusion matrix of a run on the test images."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory)
    dataset = load_dataset(run.config["data"])
    if sizes_of(params)[-1] != dataset.classes:
        raise RunError(
            f"{run.directory} has {sizes_of(params)[-1]} outputs, but the data have {dataset.classes} classes"
        )
    result = training.evaluate(params, dataset.test_images, dataset.test_labels, model)
    table = Table(title="Images of each class (rows) by the network's answer (columns)")
    table.add_column("")
    for answer in range(dataset.classes):
        table.add_column(str(answer), justify="right", no_wrap=True, min_width=4)
    table.add_column("right", justify="right")
    for label, row in enumerate(result.confusion):
        counts = [str(count) if count else "·" for count in row]
        table.add_row(str(label), *counts, f"{row[label] / max(row.sum(), 1):.1%}")
    make_console().print(table)
    print_json(
        test_accuracy=result.accuracy, wrong=result.wrong, of=len(dataset.test_labels), cost=round(result.loss, 6)
    )
    return 0
