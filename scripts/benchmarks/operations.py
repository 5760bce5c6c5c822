"""Where the time of an epoch goes: the operations of the compiled program, one by one.

What JAX's profiler sees in one epoch of `train_epoch`, by the operation's name in the compiled program. Being watched
takes time too, about as long as the shortest operations do.
"""

import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax

from mlp_jax import Dataset, Model, TrainState, init_params, make_optimizer, train_epoch
from mlp_jax.training import epoch_order

from .timing import print_table

OPERATION = re.compile(r"%(?P<name>[\w.-]+) = (?P<shape>\w+\[[\d,]*\]).*?(?:op_name=\"(?P<made_by>[^\"]*)\")")


def show(dataset: Dataset, sizes: tuple[int, ...], batch_size: int, learning_rate: float) -> None:
    """Print a table of the operations of an epoch, the one that takes longest first."""
    optimizer = make_optimizer("sgd", learning_rate)
    state = TrainState.start(init_params(jax.random.key(0), sizes), optimizer)
    examples = jax.device_put((dataset.train_images, dataset.train_labels))
    rest = (*examples, epoch_order(0, 0, len(dataset.train_labels)), Model(), optimizer, batch_size)
    program = train_epoch.lower(state, *rest).compile().as_text() or ""
    about = {found["name"]: found for found in OPERATION.finditer(program)}
    state, _ = jax.block_until_ready(train_epoch(state, *rest))
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            jax.block_until_ready(train_epoch(state, *rest))
        (trace,) = Path(directory).rglob("*.xplane.pb")
        durations = read(trace)
    rows = []
    for name, times in sorted(durations.items(), key=lambda item: -sum(item[1])):
        if name.startswith("while"):  # which holds all the others
            continue
        shape, made_by = (about[name]["shape"], about[name]["made_by"] or "") if name in about else ("", "")
        numbers = f"{len(times):,}", f"{sum(times) / len(times):.2f}", f"{sum(times) / 1e3:.2f}"
        rows.append([name, made_by.rpartition("/")[2], shape, *numbers])
    total = sum(map(sum, (times for name, times in durations.items() if not name.startswith("while")))) / 1e3
    rows.append(["all", "", "", f"{sum(int(row[3].replace(',', '')) for row in rows):,}", "", f"{total:.2f}"])
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
