"""What the benchmarks share: taking turns, the numbers that sum up a contestant's times, tables, JSON, the README."""

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
FIGURES = (".png", ".svg", ".pdf")


def take_turns(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    seldom: Collection[str] = (),
    short: bool = False,
    after: Callable[[str, Any], None] = lambda name, result: None,
) -> dict[str, list[float]]:
    """The seconds of each call, one of each a round, so that a machine whose speed drifts drifts for all of them.

    seldom: the names of the slow ones, which take part in every third round.
    short: whether calls take milliseconds, so that the one before tells: it leaves caches full of its own numbers and
        threads that wait for more work. Each, but the slow ones, is then made twice, and the second is timed.
    after: what to do, while no clock runs, with the name and the result of a call.

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
            after(name, result)
            del result  # its memory goes back after the clock has stopped, and before the next call
    return seconds


def in_milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, range and number of a contestant's times."""
    median, fastest, slowest = (1e3 * float(f(seconds)) for f in (np.median, min, max))
    return {"median_ms": median, "fastest_ms": fastest, "slowest_ms": slowest, "calls": len(seconds)}


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Names to the left, numbers to the right; not broken into short lines where no terminal asks for it.

    headings: of the columns; a column without one holds names. rows: as long as the headings, or shorter.
    """
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = [headings, ["---:" if heading else "---" for heading in headings]]
    lines += [[*row, *[""] * (len(headings) - len(row))] for row in rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |\n" for line in lines)


def between_comments(text: str, name: str) -> tuple[str, str]:
    """What stands before and after the place for a benchmark's table in a Markdown text, the comments included.

    Raises ValueError where there is no such place.
    """
    start, end = f"<!-- benchmark: {name} -->", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"no place for the table: expected the lines {start} and {end}, one after the other")
    return before + start, end + after


def write_readme(path: Path, name: str, table: str) -> None:
    """Put a table in its place in a Markdown file, in place of what is there. Raises ValueError where it has none."""
    before, after = between_comments(path.read_text(), name)
    path.write_text(f"{before}\n\n{table}\n{after}")


def check_outputs(out: Path | None, figure: Path | None, readme: Path | None = None, name: str = "") -> None:
    """Raises ValueError for files that could not be written when all is measured.

    out: for JSON. figure: its ending says in which format. readme: to have the table of the benchmark `name`.
    """
    for path in (out, figure):
        if path and not path.absolute().parent.is_dir():
            raise ValueError(f"{path} cannot be written: {path.parent} is not a directory; make it first")
    if figure and figure.suffix not in FIGURES:
        raise ValueError(f"the figure is {figure}: expected a name that ends in {', '.join(FIGURES)}")
    if readme:
        try:
            between_comments(readme.read_text(), name)
        except (OSError, ValueError) as error:
            raise ValueError(f"{readme} cannot take the table: {error}") from error


def write_json(path: Path, report: Mapping[str, Any], packages: Iterable[str]) -> None:
    """Write a report with what its numbers hang on: the machine, the versions of packages, the date."""
    path.write_text(json.dumps({**about_machine(packages), **report}, indent=2) + "\n")


def about_machine(packages: Iterable[str]) -> dict[str, Any]:
    """What numbers hang on: date, machine, versions of Python and of packages, None for one that is not installed."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "threads": threads(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
    }


def caption(packages: Iterable[str]) -> str:
    """The same in a line of Markdown."""
    about = about_machine(packages)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    return f"{about['machine']['cpu']}, {about['machine']['cores']} cores; {versions}; {about['date'][:10]}.\n"


def processor() -> str:
    """The processor's name, as far as the system tells."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def threads() -> int:
    """As many as JAX takes by default: what PJRT_NPROC says, or else one for each core."""
    return int(os.environ.get("PJRT_NPROC", cores()))


def cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
