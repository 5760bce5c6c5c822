"""How long each operation of an epoch's compiled program takes.

What JAX's profiler sees in one epoch of `train_epoch`, by the operation's name in the compiled program. Being watched
takes time too, about as long as the shortest operations do.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlp_jax import Examples, Plan, TrainState, train_epoch
from mlp_jax.training import epoch_order
from peers import as_params
from program import print_table

OPERATION = re.compile(r"%(?P<name>[\w.-]+) = (?P<shape>\w+\[[\d,]*\]).*?(?:op_name=\"(?P<made_by>[^\"]*)\")")


def show(examples: Examples, params: Sequence[np.ndarray], plan: Plan) -> None:
    """Print a table of the operations of an epoch, the one that takes longest first."""
    state = TrainState.start(as_params(list(params)), plan.optimizer)
    placed = jax.device_put(examples)
    rest = placed.inputs, placed.targets, epoch_order(0, 0, len(examples)), plan
    program = train_epoch.lower(state, *rest).compile().as_text() or ""
    about = {found["name"]: found for found in OPERATION.finditer(program)}
    state, _ = jax.block_until_ready(train_epoch(state, *rest))
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            jax.block_until_ready(train_epoch(state, *rest))
        (trace,) = Path(directory).rglob("*.xplane.pb")
        durations = {name: times for name, times in read(trace).items() if not name.startswith("while")}
    rows = []  # without "while", which holds all the others
    for name, times in sorted(durations.items(), key=lambda item: -sum(item[1])):
        shape, made_by = (about[name]["shape"], about[name]["made_by"] or "") if name in about else ("", "")
        numbers = f"{len(times):,}", f"{sum(times) / len(times):.2f}", f"{sum(times) / 1e3:.2f}"
        rows.append([name, made_by.rpartition("/")[2], shape, *numbers])
    calls, total = (sum(map(f, durations.values())) for f in (len, sum))
    rows.append(["all", "", "", f"{calls:,}", "", f"{total / 1e3:.2f}"])
    print_table("operations of an epoch", ("", "made by", "result", "calls", "µs each", "ms"), rows)


def read(trace: Path) -> dict[str, list[float]]:
    """The microseconds of each call of each operation in a profile."""
    durations: dict[str, list[float]] = defaultdict(list)
    profile: Any = jax.profiler.ProfileData.from_file(str(trace))
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                operation = dict(event.stats).get("hlo_op")
                if operation:
                    durations[operation].append(event.duration_ns / 1e3)
    return durations
