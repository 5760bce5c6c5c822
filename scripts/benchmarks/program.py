"""What makes a benchmark a program: the arguments that several take, the table it prints, the files it writes."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import arg

from timing import threads

PACKAGES = ("jax", "jaxlib", "numpy", "optax")
FIGURES = (".png", ".svg", ".pdf")
START, END = "<!-- benchmark: {} -->", "<!-- end -->"

Sizes = Annotated[
    tuple[int, ...], arg(help="neurons in each layer, inputs first: 784 inputs and 10 outputs, because MNIST has them")
]
BatchSize = Annotated[int, arg(help="examples in a mini-batch")]
FromTheStart = Annotated[int, arg(help="how many examples, from the start of the training images")]
Rounds = Annotated[int, arg(help="how often each contestant is timed; very slow ones a third as often")]
Out = Annotated[Path | None, arg(help="a file for the same as JSON, with the machine and the versions")]
Figure = Annotated[Path | None, arg(help="a file for a chart: PNG, SVG or PDF")]
Readme = Annotated[
    Path | None,
    arg(help="a Markdown file, to put the table between the lines <!-- benchmark: NAME --> and <!-- end -->"),
]


def run(main: Callable[..., None]) -> None:
    """Run a benchmark with the arguments of the command line; what it refuses is one line on stderr, and status 2."""
    try:
        tyro.cli(main, prog=Path(sys.argv[0]).name)
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}:", *str(error).split(), file=sys.stderr)
        sys.exit(2)


def check_arguments(
    rounds: int, out: Path | None, figure: Path | None = None, readme: Path | None = None, name: str = ""
) -> None:
    """Raises ValueError for no rounds, and for files that could not be written when all is measured.

    readme: gets the table of the benchmark `name`.
    """
    if rounds < 1:
        raise ValueError(f"the number of rounds is {rounds}: expected 1 or more")
    for path in (out, figure):
        if path and not path.absolute().parent.is_dir():
            raise ValueError(f"{path} cannot be written: {path.parent} is not a directory; make it first")
    if figure and figure.suffix not in FIGURES:
        raise ValueError(f"the figure is {figure}: expected a name that ends in {', '.join(FIGURES)}")
    if readme:
        around_table(readme, name)


def publish(
    report: Mapping[str, Any],
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    out: Path | None,
    readme: Path | None = None,
    *,
    note: str = "",
    packages: Sequence[str] = PACKAGES,
) -> None:
    """Print the table, and write the report as JSON and the table into a Markdown file if they are given.

    report: with "benchmark", its name, and "rounds". note: what stands below the table.
    packages: what the numbers depend on, besides Python and the machine.
    """
    rows = list(rows)
    print_table(title, headings, rows)
    if note:
        print(note)
    if out:
        out.write_text(json.dumps({**about_machine(packages), **report}, indent=2) + "\n")
    if readme:
        before, after = around_table(readme, report["benchmark"])
        below = " ".join([f"Medians of {report['rounds']} rounds: {title}.", *note.split(), caption(packages)])
        readme.write_text(f"{before}\n\n{markdown_table(headings, rows)}\n{below}\n{after}")


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Names to the left, numbers to the right; not broken into short lines if no terminal asks for it.

    headings: of the columns; a column without one holds names. rows: as long as the headings, or shorter.
    """
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False)  # which would take the [bench] of pip install '.[bench]' for a style
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = [headings, ["---:" if heading else "---" for heading in headings]]
    lines += [[*row, *[""] * (len(headings) - len(row))] for row in rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |\n" for line in lines)


def around_table(readme: Path, name: str) -> tuple[str, str]:
    """What stands before and after a benchmark's table in a Markdown file, the comments around it included.

    Raises ValueError if there is no place for the table.
    """
    start = START.format(name)
    before, found, rest = readme.read_text().partition(start) if readme.is_file() else ("", "", "")
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"{readme} has no place for the table: expected {start} and {END}, one after the other")
    return before + start, END + after


def about_machine(packages: Iterable[str]) -> dict[str, Any]:
    """What numbers depend on: date, machine, versions of Python and of packages, None for one not installed."""
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
