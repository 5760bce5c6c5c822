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
from types import ModuleType  # noqa: E402
from typing import Any  # noqa: E402

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


def watch(owner: Any, function: str, name: str) -> None:
    """From now on, note when a function of a module or class runs."""
    original: Callable[..., Any] = getattr(owner, function)

    def watched(*args: Any, **kwargs: Any) -> Any:
        with stopwatch(name):
            return original(*args, **kwargs)

    setattr(owner, function, watched)


def compiled(event: str, duration_secs: float, **_: Any) -> None:
    """Note what JAX says of tracing, lowering and compiling a program, or of finding it compiled."""
    if event.startswith("/jax/core/compile/"):
        end = time.time()
        parts.append((f"{running[-1]}, compiling" if running else "elsewhere, compiling", end - duration_secs, end))


def import_command(name: str) -> ModuleType:
    """What the command line calls to import a command, and then what the command calls."""
    for package in ("numpy", "jax", "optax"):
        with stopwatch(f"import {package}"):
            importlib.import_module(package)
    with stopwatch("import the rest"):
        module = importlib.import_module(name)

    import jax

    from mlp_jax import training
    from mlp_jax.training import loop

    jax.monitoring.register_event_duration_secs_listener(compiled)
    use_one_thread_if_small = training.use_one_thread_if_small

    def settle_threads_and_start_backend(*args: Any) -> None:
        use_one_thread_if_small(*args)
        with stopwatch("start the backend"):
            jax.devices()

    training.use_one_thread_if_small = settle_threads_and_start_backend
    watch(module, "data_of", "read the data")
    watch(module, "init_params", "init_params")
    watch(training, "make_optimizer", "make_optimizer")
    watch(training, "fit", "first epoch")
    watch(loop, "evaluate", "evaluate")
    for method in ("create", "save", "log"):
        watch(module.Run, method, "write the run")
    return module


def main(file: Path, arguments: list[str]) -> int:
    """Run the command line on the arguments, and write the file. Returns the exit status."""
    with stopwatch("import the command line"):
        from mlp_jax import cli
    watch(cli, "parse", "parse the arguments")
    cli.import_module = import_command
    status = cli.main(arguments)
    file.write_text(json.dumps({"begin": BEGIN, "parts": parts, "end": time.time()}))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
