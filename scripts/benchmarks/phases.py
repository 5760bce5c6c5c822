"""One `mlp-jax train` with a stopwatch around each part of it: python phases.py FILE train --epochs 1 ...

FILE gets JSON: `begin` and `end` of what Python is given to do, and `parts`, each with its name, start and end, all in
seconds since 1970. A part may lie within another. This is a program of its own, which imports as little as it can
before the command does.
"""

import time

BEGIN = time.time()

import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

WATCHED = {
    "read the data": ("commands.train.data_of",),
    "make the optimizer": ("commands.train.optimizer_of",),
    "init_params": ("commands.train.init_params",),
    "first epoch": ("training.loop.train_epoch", "training.loop.still_finite"),
    "evaluate": ("training.loop.evaluator",),
    "write the run": (
        *("runs.Run.create", "runs.Run.save", "runs.Run.log", "commands.train.keep_snapshot"),
        *("runs.Checkpoints.save", "runs.Checkpoints.finish"),
    ),
}
"""The parts of a run, and the functions of mlp_jax that each of them is spent in."""

parts: list[tuple[str, float, float]] = []
running: list[str] = []


@contextmanager
def stopwatch(name: str) -> Iterator[None]:
    """Note when what it is around begins and ends."""
    running.append(name)
    start = time.time()
    try:
        yield
    finally:
        parts.append((running.pop(), start, time.time()))


def watched(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, which notes when it runs, and when a function that it returns does."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with stopwatch(name):
            result = function(*args, **kwargs)
        return watched(result, name) if callable(result) else result

    return call


def watch(place: str, name: str) -> None:
    """From now on, note when the function at this place in mlp_jax runs. Raises AttributeError if there is none."""
    owner, _, function = place.rpartition(".")
    within = importlib.import_module("mlp_jax")
    for part in owner.split("."):
        within = getattr(within, part)
    setattr(within, function, watched(getattr(within, function), name))


def compiled(event: str, duration_secs: float, **_: Any) -> None:
    """Note what JAX says of tracing, lowering and compiling a program, or of finding it compiled."""
    if event.startswith("/jax/core/compile/"):
        end = time.time()
        parts.append((f"{running[-1]}, compiling" if running else "elsewhere, compiling", end - duration_secs, end))


def import_command(name: str) -> Any:
    """What the command line calls to import a command, and then what the command calls."""
    for package in ("numpy", "jax", "optax"):
        with stopwatch(f"import {package}"):
            importlib.import_module(package)
    with stopwatch("import the rest"):
        module: Any = importlib.import_module(name)

    import jax

    jax.monitoring.register_event_duration_secs_listener(compiled)
    use_one_thread_if_small = module.use_one_thread_if_small

    def settle_threads_and_start_backend(*args: Any) -> None:
        use_one_thread_if_small(*args)
        with stopwatch("start the backend"):
            jax.devices()

    module.use_one_thread_if_small = settle_threads_and_start_backend
    for part, places in WATCHED.items():
        for place in places:
            watch(place, part)
    return module


def main(file: Path, arguments: list[str]) -> int:
    """Run the command line on the arguments, and write the file. Returns the exit status."""
    with stopwatch("import the command line"):
        from mlp_jax import cli
    cli.parse = watched(cli.parse, "parse the arguments")
    cli.import_module = import_command
    status = cli.main(arguments)
    file.write_text(json.dumps({"begin": BEGIN, "parts": parts, "end": time.time()}))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
