"""What checkpoints cost a run of 30 epochs: the whole command, with them, and with none.

Each run is a process of its own, timed from outside; compiled programs are kept from one to the next.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from .timing import check_outputs, in_milliseconds, print_table, take_turns, write_json

WITHOUT = """
import sys
from unittest.mock import MagicMock
from mlp_jax.commands import keeping
keeping.Checkpoints = lambda *_, **__: MagicMock(due=lambda: False)
from mlp_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""
NONE = "none"
RUNS = {
    NONE: ["-c", WITHOUT, "train"],
    "by default": ["-m", "mlp_jax.cli", "train"],
    "after every epoch": ["-m", "mlp_jax.cli", "train", "--checkpoint-every", "0"],
}


def main(rounds: int, out: Path | None) -> None:
    """Time the runs in turns, print a table, and write it as JSON if asked. Raises ValueError for no rounds."""
    if rounds < 1:
        raise ValueError(f"the number of rounds is {rounds}: expected 1 or more")
    check_outputs(out, figure=None)
    with tempfile.TemporaryDirectory() as scratch:
        number = count()

        def call(command: list[str]) -> Callable[[], None]:
            def run() -> None:
                directory = Path(scratch, str(next(number)))
                whole = [sys.executable, *command, "--out", str(directory)]
                subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)
                if (directory / "checkpoints").exists() == (command == RUNS[NONE]):
                    raise RuntimeError(f"{whole} kept checkpoints, or should have")

            return run

        seconds = take_turns({name: call(command) for name, command in RUNS.items()}, rounds)
    rows = [{"name": name, **in_milliseconds(values)} for name, values in seconds.items()]
    for row in rows:
        row["ratio"] = row["median_ms"] / rows[0]["median_ms"]
    columns = ("median_ms", "fastest_ms", "slowest_ms")
    print_table(
        f"mlp-jax train, 30 epochs, {rounds} processes each, in turn",
        ("checkpoints", "median ms", "fastest", "slowest", "ratio"),
        [(row["name"], *(f"{row[name]:.0f}" for name in columns), f"{row['ratio']:.3f}") for row in rows],
    )
    if out:
        about = {"benchmark": "checkpoints", "rounds": rounds}
        write_json(out, {**about, "runs": rows}, ("jax", "jaxlib", "numpy", "optax", "orbax-checkpoint"))
