"""What several commands do alike."""

import json
import os
import shlex
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import platformdirs
from rich.console import Console

from mlp_jax import arguments
from mlp_jax.network import Model, Params
from mlp_jax.runs import Run, RunError
from mlp_jax.settings import model_of

PROGRAMS_BYTES = 2**28
"""How much is kept in the user's cache directory: each new setting of a small network takes 30 to 130 kB."""


def keep_programs(wanted: bool) -> None:
    """Let JAX keep compiled programs in the user's cache directory, for the next time, or compile everything anew.

    A directory that JAX has been told of already, in JAX_COMPILATION_CACHE_DIR for instance, is left to it. What
    cannot be read or written is compiled as if it were not wanted. Call this once the number of threads is settled.
    """
    complains = jax.__version_info__ < (0, 10, 2)  # at length, on some processors, about each program that it kept
    if complains or not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.values["jax_compilation_cache_dir"] is None:
        programs = platformdirs.user_cache_path("mlp_jax", appauthor=False) / "programs"
        delete_oldest(programs, PROGRAMS_BYTES)
        # A program is compiled for a number of threads, which is not part of what JAX finds it by.
        threads = os.environ.get("PJRT_NPROC", os.cpu_count())
        jax.config.update("jax_compilation_cache_dir", str(programs / f"threads-{threads}"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # else only what takes more than 1 s
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # else a GPU must be able to write there
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def delete_oldest(programs: Path, most: int) -> None:
    """Delete the programs kept first until the rest takes no more than `most` bytes.

    JAX can do it too, but stops keeping anything once it was interrupted between the two files it writes for each.
    """
    room = most
    with suppress(OSError):  # another process may be deleting them as well
        files = {file: file.stat() for file in programs.glob("*/*-cache")}
        for file, about in sorted(files.items(), key=lambda item: item[1].st_mtime, reverse=True):
            room -= about.st_size
            if room < 0:
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


def command_of(config: Mapping[str, Any]) -> str:
    """The command line that makes such a run again, of the settings that differ from those it would have anyway.

    One that went on with more epochs than it began with is not quite made again: its schedule was another at first.
    Empty for a run that `mlp-jax train` did not make, a member of a sweep for instance.
    """
    preset = config.get("preset", "lesson")
    made_by_train = {"checkpoint_every", "optimizer"} <= config.keys()
    if not made_by_train or not isinstance(preset, str) or preset not in arguments.PRESETS:
        return ""
    words = ["mlp-jax", "train"]
    usual = asdict(arguments.preset(arguments.Train, preset)) | {"preset": "lesson"}
    for name, value in config.items():
        plain = tuple(value) if isinstance(value, list) else value
        if name not in usual or plain == usual[name] or value is None:
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, *(str(each) for each in (value if isinstance(value, list) else [value]))]
    return shlex.join(words)


def make_console(quiet: bool = False) -> Console:
    """Where tables and lines are printed, as they are given."""
    return Console(highlight=False, emoji=False, quiet=quiet)


def print_json(**values: object) -> None:
    """One line that a program can read."""
    print(json.dumps(values))
