"""How far training is: one line in a terminal or a notebook, nothing in a pipe."""

import builtins
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:  # rich is imported when there is something to show
    from rich.console import Console
    from rich.progress import Progress

    from mlp_jax.training.loop import EpochMetrics, Reached

PER_SECOND = 4
"""How often the line changes at most."""
WIDTH = 100
"""Characters of the line in a notebook."""


def with_progress(
    running: "Iterator[tuple[Reached, EpochMetrics]]", done: int, until: int, progress: bool | None
) -> "Iterator[tuple[Reached, EpochMetrics]]":
    """The same epochs, with a line that shows the number of the epoch, the cost, the score and the time left.

    done: epochs before the first of these. until: how many there are in all.
    progress: whether to show the line; if None, the first process shows it in a terminal and in a notebook.
    """
    notebook = "ipykernel" in sys.modules and hasattr(builtins, "display")
    if progress is None:
        progress = (notebook or sys.stdout.isatty()) and jax.process_index() == 0
    if not progress:
        yield from running
        return
    line = _line(_console())
    task = line.add_task("", total=until, completed=done)
    show_in_cell = _cell(line) if notebook else lambda last=False: None
    with nullcontext() if notebook else line:  # rich would need ipywidgets in a notebook
        try:
            for reached, metrics in running:
                line.update(task, completed=metrics.epoch, description=_description(metrics))
                show_in_cell()
                yield reached, metrics
        finally:
            show_in_cell(last=True)


def _description(metrics: "EpochMetrics") -> str:
    """The cost and the score after an epoch; of a population, those of its best member."""
    cost, score, who = metrics.loss, metrics.score, ""
    if np.ndim(score):
        cost, score, who = cost[metrics.best], score[metrics.best], f"best of {len(score)}: "
    named = f"accuracy {100 * score:.2f} %" if metrics.rmse is None else f"R² {score:.4f}"
    return f"{who}cost {cost:.4f}   {named}"


def _line(console: "Console") -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.completed:.0f} of {task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=console, refresh_per_second=PER_SECOND)


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _cell(line: "Progress") -> Callable[..., None]:
    """A function that writes the line into the output of the notebook's cell, in place of what it wrote before."""
    from rich.console import Console

    def text() -> dict[str, str]:
        page = io.StringIO()
        Console(file=page, force_jupyter=False, width=WIDTH).print(line.get_renderable())
        return {"text/plain": page.getvalue().rstrip()}

    display: Any = vars(builtins)["display"]  # IPython puts it there
    cell = display(text(), raw=True, display_id=True)
    due = 0.0

    def show(last: bool = False) -> None:
        nonlocal due
        if last or time.monotonic() >= due:
            due = time.monotonic() + 1 / PER_SECOND
            cell.update(text(), raw=True)

    return show
