"""How long the command line takes to start, and what a run of one epoch spends its time on.

Each command is a process of its own, timed from outside. Cold means that no compiled program is kept from an earlier
run, warm that the run before was the same. The parts of a run are timed from inside, in other processes; an instant
belongs to the shortest part around it, so that they add up to the whole.

What paid, with JAX 0.10.2 on two cores of an Intel Xeon: compiled programs that are kept (1.0 s when warm; writing them
costs 0.04 s), no search for garbage as Python ends (0.3 s), a random key only if a rule draws from it (0.14 s),
comparing gradients imported only for --angles (0.05 s), argparse instead of Tyro (0.18 of the 0.24 s of --help).
What did not: no garbage collection during imports (0.03 s). What is left is mostly imports of other packages.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from program import PACKAGES, Out, Rounds, check_arguments, print_table, publish, run
from timing import in_milliseconds, median_and_range, take_turns

VERSIONS = (*PACKAGES, "tensorflow-datasets")
PHASES = Path(__file__).with_name("phases.py")
HELP, COLD, WARM = "mlp-jax --help", "mlp-jax train --epochs 1, cold", "mlp-jax train --epochs 1, warm"
PARTS = {COLD: "its parts, cold", WARM: "its parts, warm"}
Part = tuple[str, float, float]


def main(rounds: Rounds = 5, out: Out = None) -> None:
    """How long the command line takes to start, and what a run of one epoch spends its time on."""
    check_arguments(rounds, out)
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in PARTS.values()}
    with tempfile.TemporaryDirectory() as scratch:
        calls = make_calls(Path(scratch))

        def after(name: str, result: dict[str, float] | None) -> None:
            if result:
                parts[name].append(result)
            if name in (WARM, PARTS[WARM]):
                shutil.rmtree(Path(scratch, "cache"))
            shutil.rmtree(Path(scratch, "run"), ignore_errors=True)

        take_turns(calls, 1, after=after)  # Python compiles its own files, and the disk's are read into memory
        for values in parts.values():
            values.clear()
        seconds = take_turns(calls, rounds, after=after)

    commands = {name: in_milliseconds(seconds[name]) for name in (HELP, COLD, WARM)}
    rows = part_rows(parts)
    report = {"benchmark": "startup", "rounds": rounds, "parts": rows}
    report["commands"] = [{"name": name, **times} for name, times in commands.items()]
    cells = [(name, *median_and_range(times)) for name, times in commands.items()]
    publish(report, f"{rounds} processes each, in turn", ("", "ms", "range"), cells, out, packages=VERSIONS)
    print_table(
        "mlp-jax train --epochs 1 in parts, median ms",
        ("", "cold", "warm"),
        ((row["name"], f"{row['cold_ms']:.0f}", f"{row['warm_ms']:.0f}") for row in rows),
    )


def make_calls(scratch: Path) -> dict[str, Callable[[], dict[str, float] | None]]:
    """The processes to time, in an order in which each warm one follows its cold one.

    They keep their programs in scratch/cache and their run in scratch/run, neither of which may be there before a cold
    one. Those that watch their parts return the seconds of each.
    """
    cache, file = scratch / "cache", scratch / "parts.json"
    train = ["train", "--epochs", "1", "--out", str(scratch / "run")]
    told = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")  # what may keep JAX from using our cache
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment |= {"XDG_CACHE_HOME": str(cache)}

    def run(*command: str) -> None:
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True, env=environment)

    def run_in_parts() -> dict[str, float]:
        start = time.time()
        run(str(PHASES), str(file), *train)
        end, inside = time.time(), json.loads(file.read_text())
        around = [("Python begins", start, inside["begin"]), ("Python ends", inside["end"], end)]
        return seconds_of_parts([*around, *inside["parts"]], start, end)

    def run_train() -> None:
        run("-m", "mlp_jax", *train)

    def run_help() -> None:
        run("-m", "mlp_jax", "--help")

    return {HELP: run_help, COLD: run_train, WARM: run_train, **dict.fromkeys(PARTS.values(), run_in_parts)}


def seconds_of_parts(parts: Iterable[Part], start: float, end: float) -> dict[str, float]:
    """How much of the time from start to end belongs to each part: an instant to the shortest part around it.

    What no part is around is named "the rest", so that all of them add up to the whole.
    """
    parts = list(parts)
    edges = sorted({start, end, *(edge for _, *edges in parts for edge in edges if start < edge < end)})
    seconds: dict[str, float] = defaultdict(float)
    for before, after in pairwise(edges):
        around = [(stop - begin, name) for name, begin, stop in parts if begin <= before and after <= stop]
        seconds[min(around)[1] if around else "the rest"] += after - before
    return dict(seconds)


def part_rows(parts: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """A row for each part with its medians, cold and warm, the longest first."""
    names = {name for runs in parts.values() for run in runs for name in run}
    median = {
        label: {name: 1e3 * float(np.median([run.get(name, 0) for run in parts[PARTS[label]]])) for name in names}
        for label in PARTS
    }
    rows = [{"name": name, "cold_ms": median[COLD][name], "warm_ms": median[WARM][name]} for name in names]
    return sorted(rows, key=lambda row: -row["cold_ms"])


if __name__ == "__main__":
    run(main)
