"""What the benchmarks share: taking turns, the numbers that sum up a contestant's times, tables and JSON."""

import datetime
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

EVERY = 3  # rounds; slow contestants take part in one of as many


def take_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, seldom: Collection[str] = (), short: bool = False
) -> dict[str, list[float]]:
    """The seconds of each call, one of each a round, so that a machine whose speed drifts drifts for all of them.

    seldom: the names of the slow ones, which take part in every third round.
    short: whether calls take milliseconds, so that the one before tells: it leaves caches full of its own numbers and
        threads that wait for more work. Each, but the slow ones, is then made twice, and the second is timed.

    Every call has been made once before, for nothing here is compiled.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            if name in seldom and number % EVERY:
                continue
            if short and name not in seldom:
                call()
            start = time.perf_counter()
            result = call()
            seconds[name].append(time.perf_counter() - start)
            del result  # its memory goes back after the clock has stopped, and before the next call
    return seconds


def in_milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, range and number of a contestant's times."""
    median, fastest, slowest = (1e3 * float(f(seconds)) for f in (np.median, min, max))
    return {"median_ms": median, "fastest_ms": fastest, "slowest_ms": slowest, "calls": len(seconds)}


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Names to the left, numbers to the right; not broken into short lines where no terminal asks for it."""
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def write_json(path: Path, report: Mapping[str, Any], packages: Iterable[str]) -> None:
    """Write a report with what its numbers hang on: the machine, the versions of packages, the date."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "threads": threads(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
    }
    path.write_text(json.dumps({**about, **report}, indent=2) + "\n")


def processor() -> str:
    """The processor's name, as far as the system tells."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def threads() -> int:
    """As many as JAX takes by default: what PJRT_NPROC says, or else the processors this process may run on."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("PJRT_NPROC", allowed))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
