"""The command that shows a run's answers to pictures, or to the rows of a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.bar import Bar
from rich.table import Table

from mlp_jax.commands.shared import as_committee, inputs_of, make_console, notes_said, open_run, print_json
from mlp_jax.config import Predict
from mlp_jax.data import Preprocessing, encoded_rows, read_digit, read_picture
from mlp_jax.data.load import is_table
from mlp_jax.data.table import SUFFIXES
from mlp_jax.network import Model, Params, sizes_of
from mlp_jax.programs import keep_programs
from mlp_jax.runs import Run, RunError
from mlp_jax.runs.files import replace_file
from mlp_jax.runs.params import one_of
from mlp_jax.training import half_widths, outputs_of_members

SHOWN = 10
"""How many answers are printed if they are not written to a file."""


def predict(settings: Predict) -> int:
    """Show the answers of a run's network, or write them to a file."""
    keep_programs(settings.cache)
    run, model, params = open_run(settings.directory, committee=True)
    kept = run.preprocessing()
    if kept is not None and kept.columns:
        return _of_table(settings, run, kept, model, params)
    if settings.out is not None:
        raise ValueError("--out is for the rows of a table: leave it out for pictures")
    if settings.spread:
        raise ValueError("--spread is for the rows of a table: leave it out for pictures")
    return _of_pictures(settings.files, run, kept, model, params)


def _of_table(settings: Predict, run: Run, kept: Preprocessing, model: Model, params: Params) -> int:
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
    header, rows = _answers(outputs.mean(axis=0), kept, model)
    if settings.spread:
        names, spreads = _spreads(outputs, kept)
        header, rows = header + names, [row + more for row, more in zip(rows, spreads, strict=True)]
    if settings.out is None:
        table = Table()
        for name in header:
            table.add_column(name, justify="right")
        for row in rows[:SHOWN]:
            table.add_row(*row)
        make_console().print(table)
        if len(rows) > SHOWN:
            print(f"{SHOWN} of {len(rows)} rows; --out FILE writes all")
        return 0
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    if settings.out.is_dir() or not settings.out.absolute().parent.is_dir():
        raise ValueError(f"{settings.out} cannot be written: give --out a file in a directory that is there")
    replace_file(settings.out, text.getvalue().encode())
    print_json(path=str(settings.out), rows=len(rows))
    return 0


def _answers(outputs: np.ndarray, kept: Preprocessing, model: Model) -> tuple[list[str], list[list[str]]]:
    """A header, and for each row the answer and, of classes, the activation of each output."""
    if kept.class_names is None:
        return [str(kept.target)], [[f"{number:.7g}"] for number in kept.numbers(outputs)]
    what = "probability" if model.output.name == "softmax" else "activation"
    header = [str(kept.target), *(f"{what} {name}" for name in kept.class_names)]
    answers = outputs.argmax(axis=1)
    return header, [
        [kept.class_names[answer], *(f"{activation:.6f}" for activation in row)]
        for answer, row in zip(answers, outputs, strict=True)
    ]


def _spreads(outputs: np.ndarray, kept: Preprocessing) -> tuple[list[str], list[list[str]]]:
    """A header, and for each row how far the members' answers lie apart.

    Of numbers the standard deviation, and bounds that hold nine of ten true numbers, if there were examples to measure
    that with; of classes the standard deviation of the answer's activation.
    """
    if kept.class_names is not None:
        answers = outputs.mean(axis=0).argmax(axis=1)
        deviations = np.take_along_axis(outputs.std(axis=0), answers[:, None], axis=1)[:, 0]
        return ["spread"], [[f"{deviation:.6f}"] for deviation in deviations]
    middle, spread = kept.numbers(outputs.mean(axis=0)), outputs.std(axis=0)[:, 0] * kept.unit
    if kept.interval is None:
        return ["spread"], [[f"{deviation:.4g}"] for deviation in spread]
    names, half = ["spread", f"{kept.target} from", "to"], half_widths(outputs, kept.interval)[:, 0] * kept.unit
    return names, [
        [f"{deviation:.4g}", f"{low:.7g}", f"{high:.7g}"]
        for deviation, low, high in zip(spread, middle - half, middle + half, strict=True)
    ]


def _of_pictures(paths: Sequence[Path], run: Run, kept: Preprocessing | None, model: Model, params: Params) -> int:
    params = as_committee(params)
    if kept is not None and kept.image_shape is not None:
        pictures = [(read_picture(path, kept.image_shape), "") for path in paths]
    else:
        pictures = _digits(paths, run, params)
    console, names = make_console(), kept.class_names if kept is not None else None
    for path, (pixels, note) in zip(paths, pictures, strict=True):
        outputs = outputs_of_members(params, pixels[None], model).mean(axis=0)[0]
        console.print(f"{path}{note}", markup=False, soft_wrap=True)
        bars = Table.grid(padding=(0, 1))
        for answer, activation in enumerate(outputs):
            bar = Bar(size=max(1.0, outputs.max()), begin=0, end=max(0.0, activation), width=40)
            bars.add_row(names[answer] if names else str(answer), f"{activation:7.4f}", bar)
        console.print(bars)
        print(f"answer: {names[outputs.argmax()] if names else outputs.argmax()}")
    return 0


def _digits(paths: Sequence[Path], run: Run, params: Params) -> list[tuple[np.ndarray, str]]:
    """Pictures as MNIST's were made, and a note on what was done to each."""
    n_in = sizes_of(one_of(params))[0]
    if n_in != 784 or inputs_of(run) != "uint8":
        raise RunError(
            f"{run.directory} has a network of {n_in} {inputs_of(run)} inputs: expected 784 of uint8, "
            "because pictures become 28 x 28 pixels from 0 to 255"
        )
    if run.config.get("targets") == "numbers":
        raise RunError(f"{run.directory} learned numbers, not classes: there is no answer to a picture")
    digits = [read_digit(path) for path in paths]
    return [
        (digit.pixels, ", dark ink on light paper, inverted" * digit.inverted + ", scaled and centred" * digit.resized)
        for digit in digits
    ]
