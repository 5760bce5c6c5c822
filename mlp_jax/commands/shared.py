"""Functions that several commands share."""

import json
import os
import warnings
from contextlib import suppress
from pathlib import Path

import jax
import platformdirs
from rich.console import Console

from mlp_jax.build import model_of
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.network import Model, Params, sizes_of
from mlp_jax.runs import Run, RunError

PROGRAMS_BYTES = 2**28
"""Size limit of the cache of programs: each new setting of a small network takes 30 to 130 kB."""


def keep_programs(wanted: bool) -> None:
    """Let JAX keep compiled programs in the user's cache directory for later runs, if wanted.

    A directory that JAX was given before, for example in JAX_COMPILATION_CACHE_DIR, stays in use. A program that cannot
    be read or written is compiled again. Call this once the number of threads is settled.
    """
    warns = jax.__version_info__ < (0, 10, 2)  # at length, on some processors, for every program in the cache
    if warns or not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.values["jax_compilation_cache_dir"] is None:
        programs = platformdirs.user_cache_path("mlp_jax", appauthor=False) / "programs"
        delete_oldest(programs, PROGRAMS_BYTES)
        # A program is compiled for a number of threads, which is not part of JAX's cache key.
        threads = os.environ.get("PJRT_NPROC", os.cpu_count())
        jax.config.update("jax_compilation_cache_dir", str(programs / f"threads-{threads}"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # else only what takes more than 1 s
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # else a GPU must be able to write there
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def delete_oldest(programs: Path, most: int) -> None:
    """Delete the oldest programs until the rest takes no more than `most` bytes.

    JAX can do it too, but keeps nothing any more once it was interrupted between the two files of a program.
    """
    left = most
    with suppress(OSError):  # another process may be deleting them as well
        files = {file: file.stat() for file in programs.glob("*/*-cache")}
        for file, about in sorted(files.items(), key=lambda item: item[1].st_mtime, reverse=True):
            left -= about.st_size
            if left < 0:
                file.unlink()


def open_run(directory: Path) -> tuple[Run, Model, Params]:
    """A run, its model and its parameters. Raises RunError for a directory that does not hold them."""
    run = Run.open(directory)
    try:
        data, *names = (run.config[name] for name in ("data", "hidden", "output", "cost"))
        if not isinstance(data, str):
            raise TypeError(f"data is {data!r}")
        model = model_of(*names)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{run.directory / 'config.json'} does not describe data and a model ({error!r})") from error
    return run, model, run.load()


def inputs_of(run: Run) -> str:
    """The dtype of the inputs that a run learned: "uint8", scaled from 0..255 to 0..1, or floats as they are."""
    return str(run.config.get("inputs", "uint8"))


def dataset_of(run: Run, params: Params) -> Dataset:
    """The data that a run learned. Raises RunError if its network does not fit them, DatasetError if they are gone."""
    dataset, sizes = load_dataset(run.config["data"]), sizes_of(params)
    if (sizes[0], sizes[-1]) != (dataset.n_in, dataset.n_out):
        raise RunError(
            f"{run.directory} has a network {'-'.join(map(str, sizes))}, but its data have {dataset.n_in} inputs "
            f"and {dataset.n_out} outputs"
        )
    return dataset


def make_console(quiet: bool = False) -> Console:
    """A console that prints tables and lines as they are given."""
    return Console(highlight=False, emoji=False, quiet=quiet)


def print_json(**values: object) -> None:
    """Print one line that a program can read."""
    print(json.dumps(values))
