"""The command that shows a run's answers to pictures, or to the rows of a table."""

import csv
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.bar import Bar
from rich.table import Table

from mlp_jax.commands.pictures import Picture, outputs_for, read_pictures, save_seen
from mlp_jax.commands.shared import as_committee, make_console, notes_said, open_run, print_json
from mlp_jax.config import Predict
from mlp_jax.data import Preprocessing, encoded_rows
from mlp_jax.data.load import is_table
from mlp_jax.data.table import SUFFIXES
from mlp_jax.network import Model, Params
from mlp_jax.programs import keep_programs
from mlp_jax.runs import Run
from mlp_jax.runs.files import replace_file
from mlp_jax.training import half_widths, outputs_of_members

SHOWN = 10
"""How many answers to rows of a table are printed if they are not written to a file."""
Row = dict[str, Any]
"""An answer, and what is known of it, by the names of the columns."""


def predict(settings: Predict) -> int:
    """Show the answers of a run's network, or write them to a file. The exit status is 1 if a picture has none."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory, committee=True)
    kept, out = run.preprocessing(), settings.out
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ValueError(f"{out} cannot be written: give --out a file in a directory that is there")
    if kept is not None and kept.columns:
        rows, status = _of_table(settings, run, kept, model, params), 0
    else:
        rows, status = _of_pictures(settings, run, kept, model, params)
    if settings.json:
        for row in rows:
            print_json(**row)
    if out is not None:
        text = io.StringIO()
        header = list(rows[0]) if rows else []
        csv.writer(text, lineterminator="\n").writerows([header, *(row.values() for row in rows)])
        replace_file(out, text.getvalue().encode())
        print_json(path=str(out), rows=len(rows))
    return status


def _of_table(settings: Predict, run: Run, kept: Preprocessing, model: Model, params: Params) -> list[Row]:
    if settings.seen is not None:
        raise ValueError("--seen is for pictures: leave it out for the rows of a table")
    if len(settings.files) != 1:
        raise ValueError(f"{len(settings.files)} files are given: expected one table for {run.directory}")
    if not is_table(settings.files[0]):
        raise ValueError(
            f"{settings.files[0]} is no table, which {run.directory} learned: expected a {', '.join(SUFFIXES)} file"
        )
    with notes_said():
        _, inputs = encoded_rows(kept, settings.files[0])
    if settings.spread and params[0].weights.ndim == 2:
        raise ValueError(f"{settings.directory} is one network: --spread is for a committee, of train --members 8, say")
    outputs = outputs_of_members(as_committee(params), inputs, model)
    rows = _answers(outputs.mean(axis=0), str(kept.target), kept, model)
    if settings.spread:
        rows = [row | more for row, more in zip(rows, _spreads(outputs, kept), strict=True)]
    if settings.out is None and not settings.json:
        table = Table()
        for name in rows[0] if rows else ():
            table.add_column(name, justify="right")
        for row in rows[:SHOWN]:
            table.add_row(*map(str, row.values()))
        make_console().print(table)
        if len(rows) > SHOWN:
            print(f"{SHOWN} of {len(rows)} rows; --out FILE writes all")
    return rows


def _answers(outputs: np.ndarray, title: str, kept: Preprocessing | None, model: Model) -> list[Row]:
    """For each row the answer and, of classes, the activation of each output."""
    if kept is not None and kept.target is not None and kept.class_names is None:
        return [{title: float(f"{number:.7g}")} for number in kept.numbers(outputs)]
    what = "probability" if model.output.name == "softmax" else "activation"
    names = kept.class_names if kept is not None and kept.class_names else tuple(map(str, range(outputs.shape[1])))
    return [
        {title: names[row.argmax()]}
        | {f"{what} {name}": round(float(number), 6) for name, number in zip(names, row, strict=True)}
        for row in outputs
    ]


def _spreads(outputs: np.ndarray, kept: Preprocessing) -> list[Row]:
    """For each row how far the members' answers lie apart.

    Of numbers the standard deviation, and bounds that hold nine of ten true numbers, if there were examples to measure
    that with; of classes the standard deviation of the answer's activation.
    """
    if kept.class_names is not None:
        answers = outputs.mean(axis=0).argmax(axis=1)
        deviations = np.take_along_axis(outputs.std(axis=0), answers[:, None], axis=1)[:, 0]
        return [{"spread": round(float(deviation), 6)} for deviation in deviations]
    middle, spread = kept.numbers(outputs.mean(axis=0)), outputs.std(axis=0)[:, 0] * kept.unit
    rows = [{"spread": float(f"{deviation:.4g}")} for deviation in spread]
    if kept.interval is None:
        return rows
    half = half_widths(outputs, kept.interval)[:, 0] * kept.unit
    return [
        row | {f"{kept.target} from": float(f"{low:.7g}"), "to": float(f"{high:.7g}")}
        for row, low, high in zip(rows, middle - half, middle + half, strict=True)
    ]


def _of_pictures(
    settings: Predict, run: Run, kept: Preprocessing | None, model: Model, params: Params
) -> tuple[list[Row], int]:
    """The answers to the pictures that can be read, and the exit status: 1 if others cannot, 2 if none can."""
    if settings.spread:
        raise ValueError("--spread is for the rows of a table: leave it out for pictures")
    pictures, failed = read_pictures(settings.files, run, kept, params)
    if not pictures:
        return [], 2
    outputs = outputs_for(pictures, model, params)
    answers = _answers(outputs, "answer", kept, model)
    for picture in pictures:
        if picture.doubt:
            print(f"mlp-jax: {picture.path}: {picture.doubt}", file=sys.stderr)
    if settings.seen is not None:
        save_seen(pictures, settings.seen)
    if settings.out is None and not settings.json:
        _print_bars(pictures, outputs, answers)
    rows = [
        {"file": str(picture.path)} | answer | {"doubt": picture.doubt}
        for picture, answer in zip(pictures, answers, strict=True)
    ]
    return rows, int(failed > 0)


def _print_bars(pictures: Sequence[Picture], outputs: np.ndarray, answers: Sequence[Row]) -> None:
    console = make_console()
    for picture, row, answer in zip(pictures, outputs, answers, strict=True):
        console.print(f"{picture.path}{picture.note}", markup=False, soft_wrap=True)
        bars = Table.grid(padding=(0, 1))
        for name, activation in zip(list(answer)[1:], row, strict=True):
            bar = Bar(size=max(1.0, row.max()), begin=0, end=max(0.0, activation), width=40)
            bars.add_row(name.partition(" ")[2], f"{activation:7.4f}", bar)
        console.print(bars)
        print(f"answer: {answer['answer']}")
