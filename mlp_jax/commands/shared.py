"""Functions that several commands share."""

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlp_jax.build import data_options, model_of
from mlp_jax.data import Dataset, DataWarning, load_dataset
from mlp_jax.network import Model, Params, sizes_of
from mlp_jax.runs import Run, RunError
from mlp_jax.runs.params import one_of


def open_run(directory: Path, *, committee: bool = False) -> tuple[Run, Model, Params]:
    """A run, its model and its parameters. Raises RunError for a directory that does not hold them.

    committee: whether parameters may have a leading axis of members; if not, a committee's best member is taken.
    """
    run = Run.open(directory)
    try:
        data, *names = (run.config[name] for name in ("data", "hidden", "output", "cost"))
        if not isinstance(data, str):
            raise TypeError(f"data is {data!r}")
        model = model_of(*names)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{run.directory / 'config.json'} does not describe data and a model ({error!r})") from error
    params = run.load()
    if params[0].weights.ndim == 3 and not committee:
        print(f"mlp-jax: {run.directory} is a committee: this is about its best member", file=sys.stderr)
        params = one_of(params)
    return run, model, params


def as_committee(params: Params) -> Params:
    """The parameters with a leading axis of members: of one, if there was none."""
    return params if params[0].weights.ndim == 3 else jax.tree.map(lambda leaf: leaf[None], params)


def inputs_of(run: Run) -> str:
    """The dtype of the inputs that a run learned: "uint8", scaled from 0..255 to 0..1, or floats as they are."""
    return str(run.config.get("inputs", "uint8"))


def dataset_of(run: Run, params: Params) -> Dataset:
    """The data that a run learned. Raises RunError if its network does not fit them, DatasetError if they are gone."""
    options, kept = data_options(run.config), run.preprocessing()
    if kept is not None and kept.columns:
        options["preprocessing"] = kept  # what new rows would teach is not what the network learned from
    with notes_said():
        dataset = load_dataset(run.config["data"], **options)
    sizes = sizes_of(one_of(params))
    if (sizes[0], sizes[-1]) != (dataset.n_in, dataset.n_out):
        raise RunError(
            f"{run.directory} has a network {'-'.join(map(str, sizes))}, but its data have {dataset.n_in} inputs "
            f"and {dataset.n_out} outputs"
        )
    return dataset


@contextmanager
def notes_said() -> Iterator[None]:
    """Within it, what is unusual in data is said on stderr, each thing once, in a line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        yield
    for message in dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, DataWarning)):
        print(f"mlp-jax: {message}", file=sys.stderr)
    for one in caught:
        if not issubclass(one.category, DataWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def make_console(quiet: bool = False) -> Console:
    """A console that prints tables and lines as they are given, brackets in names of files and classes included."""
    return Console(markup=False, highlight=False, emoji=False, quiet=quiet)


def print_json(**values: object) -> None:
    """Print one line that a program can read."""
    print(json.dumps(values))


def heading(config: dict[str, Any], params: Params, examples: int) -> str:
    """The device, the network and the examples, for the first line that is printed."""
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    where = config["device"] if config["devices"] == 1 else f"{config['devices']} x {config['device']}"
    sizes, batch_size = "-".join(map(str, config["sizes"])), config["batch_size"]
    return f"{where}: {sizes}, {count:,} parameters, {examples:,} examples in batches of {batch_size}"


def progress_bar(console: Console, alone: bool = True) -> Progress:
    """A bar for the epochs, on a terminal. alone: whether no other process prints."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (alone and sys.stdout.isatty()))
