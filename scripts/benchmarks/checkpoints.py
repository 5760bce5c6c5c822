"""How much longer a run of 30 epochs takes with checkpoints: the whole command, with them, and with none.

Each run is a process of its own, timed from outside; compiled programs are kept from one to the next.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from program import PACKAGES, Out, Rounds, check_arguments, publish, run
from timing import in_milliseconds, median_and_range, take_turns

WITHOUT = """
import sys
from types import SimpleNamespace
from mlp_jax.commands import recorder
recorder.Checkpoints = lambda *_, **__: SimpleNamespace(due=lambda: False, save=lambda **_: None, finish=lambda: None)
from mlp_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""
NONE = "none"
RUNS = {
    NONE: ["-c", WITHOUT, "train"],
    "by default": ["-m", "mlp_jax", "train"],
    "after every epoch": ["-m", "mlp_jax", "train", "--checkpoint-every", "0"],
}


def main(rounds: Rounds = 9, out: Out = None) -> None:
    """How much longer a run of 30 epochs takes with checkpoints: the whole command, with them, and with none."""
    check_arguments(rounds, out)
    with tempfile.TemporaryDirectory() as scratch:
        numbers = count()

        def call(command: Sequence[str]) -> Callable[[], None]:
            def train() -> None:
                directory = Path(scratch, str(next(numbers)))
                whole = [sys.executable, *command, "--out", str(directory)]
                subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)
                if (directory / "checkpoints").exists() == (command == RUNS[NONE]):
                    raise RuntimeError(f"{whole} kept checkpoints, or should have")

            return train

        seconds = take_turns({name: call(command) for name, command in RUNS.items()}, rounds)
    rows = [{"name": name, **in_milliseconds(values)} for name, values in seconds.items()]
    for row in rows:
        row["ratio"] = row["median_ms"] / rows[0]["median_ms"]
    report = {"benchmark": "checkpoints", "rounds": rounds, "runs": rows}
    title = f"mlp-jax train, 30 epochs, by its checkpoints, {rounds} processes each, in turn"
    cells = [(row["name"], *median_and_range(row), f"{row['ratio']:.3f}") for row in rows]
    publish(report, title, ("", "ms", "range", "ratio"), cells, out, packages=(*PACKAGES, "safetensors"))


if __name__ == "__main__":
    run(main)
