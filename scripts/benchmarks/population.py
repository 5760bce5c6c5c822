"""How long a network takes among many: an epoch of a population, divided by its members.

Populations that share their mini-batches, a core of the machine for each part of the members, as `mlp-jax sweep` has
it; members with mini-batches of their own; the same on one device; and `jax.vmap` over the whole epoch, as one would
write it without `fit_population`. They take turns. Beside them one network alone, in a process of its own before them
all, where XLA keeps to one thread: with a device for each core it has as many, which makes a single network slower.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from mlp_jax import Dataset, Model, Params, TrainState, init_population, load_dataset
from mlp_jax.training import check_fit, train_population, use_cores_for_members
from mlp_jax.training.devices import place, place_examples, place_order
from mlp_jax.training.epoch import POPULATION, one_epoch

from .epoch import first_examples
from .timing import (
    caption,
    check_outputs,
    in_milliseconds,
    markdown_table,
    print_table,
    take_turns,
    write_json,
    write_readme,
)

ALONE = "one network alone"
PACKAGES = ("jax", "jaxlib", "numpy", "optax")
HEADINGS = ("", "ms a network", "range", "times one alone", "compile s")
OPTIMIZER = optax.sgd(3.0)


def main(
    members: tuple[int, ...],
    sizes: tuple[int, ...],
    batch_size: int,
    examples: int,
    rounds: int,
    out: Path | None,
    readme: Path | None,
) -> None:
    """Time epochs of populations in turns; print the table, and write it if asked."""
    dataset = first_examples(load_dataset("mnist"), examples)
    if not members or min(members) < 1:
        raise ValueError(f"the members are {members}: give one number or more, of 1 or more")
    check_fit(sizes, dataset, rounds, batch_size, 0)
    check_outputs(out, None, readme, name="population")
    use_cores_for_members(int(np.gcd.reduce(members)), sizes, batch_size)
    rows = measure(dataset, members, sizes, batch_size, rounds)
    title = (
        f"an epoch of {examples:,} images, {'-'.join(map(str, sizes))}, batches of {batch_size}, {rounds} each in turn"
    )
    table = [_cells(row) for row in rows]
    print_table(title, HEADINGS, table)
    report = {
        "benchmark": "population",
        "sizes": sizes,
        "batch_size": batch_size,
        "examples": examples,
        "rounds": rounds,
        "devices": [device.device_kind for device in jax.devices()],
        "rows": rows,
    }
    if out:
        write_json(out, report, PACKAGES)
    if readme:
        write_readme(
            readme, "population", f"{title.capitalize()}:\n\n{markdown_table(HEADINGS, table)}\n{caption(PACKAGES)}"
        )


def measure(
    dataset: Dataset, members: tuple[int, ...], sizes: tuple[int, ...], batch_size: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for one network alone and for each population, of milliseconds a network and epoch."""
    lonely = alone(len(dataset.train_labels), sizes, batch_size, rounds)
    everyone = Mesh(np.array(jax.devices()), (POPULATION,))
    contestants: dict[str, tuple[int, Iterator[None]]] = {}
    for count in members:
        params = init_population(range(count), sizes)
        for mesh, own in ((everyone, False), (everyone, True), (None, False)):
            if mesh is None or count % mesh.size == 0:
                where = "one device" if mesh is None else f"{mesh.size} device{'s' * (mesh.size > 1)}"
                name = f"{count} networks, {'own' if own else 'shared'} batches, {where}"
                contestants[name] = count, population(params, dataset, batch_size, mesh, own)
        contestants[f"{count} networks, jax.vmap of the epoch"] = count, by_vmap(params, dataset, batch_size)

    compiling, calls = {}, {}
    for name, (_, epochs) in contestants.items():
        start = perf_counter()
        next(epochs)
        compiling[name] = perf_counter() - start
        calls[name] = lambda epochs=epochs: next(epochs)
    seconds = take_turns(calls, rounds, short=True)
    return [lonely] + [
        {
            "name": name,
            "members": count,
            **in_milliseconds([epoch / count for epoch in seconds[name]]),
            "ratio_to_one_alone": 1e3 * float(np.median(seconds[name])) / count / lonely["median_ms"],
            "compiling_s": max(0.0, compiling[name] - float(np.median(seconds[name]))),
        }
        for name, (count, _) in contestants.items()
    ]


def alone(examples: int, sizes: tuple[int, ...], batch_size: int, rounds: int) -> dict[str, Any]:
    """The row of one network, by the benchmark of an epoch in a process of its own."""
    script = Path(__file__).parents[1] / "benchmark.py"
    with TemporaryDirectory() as directory:
        out = Path(directory) / "epoch.json"
        settings = {
            "sizes": sizes,
            "batch-size": [batch_size],
            "examples": [examples],
            "rounds": [rounds],
            "out": [out],
        }
        flags = [str(word) for name, values in settings.items() for word in (f"--{name}", *values)]
        environment = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
        command = [sys.executable, str(script), "epoch", "--peers", "mlp_jax", *flags]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        (row,) = json.loads(out.read_text())["rows"]
    times = {name: row[name] for name in ("median_ms", "fastest_ms", "slowest_ms", "calls")}
    return {"name": ALONE, "members": 1, **times, "ratio_to_one_alone": 1.0, "compiling_s": row["compile_s"]}


def population(
    params: Params, dataset: Dataset, batch_size: int, mesh: Mesh | None = None, own: bool = False
) -> Iterator[None]:
    """A population by `train_population`, with batches of each member's own or those of all."""
    members = len(params[0].biases)
    seed = list(range(members)) if own else 0
    examples = place_examples((dataset.train_images, dataset.train_labels), mesh)
    state = place(jax.vmap(lambda params: TrainState.start(params, OPTIMIZER))(params), mesh, POPULATION)
    for epoch in range(1_000_000):
        order = place_order(seed, epoch, len(dataset.train_labels), mesh)
        state, _ = jax.block_until_ready(
            train_population(state, *examples, order, {}, {}, _model, _optimizer, batch_size, mesh=mesh)
        )
        yield


def by_vmap(params: Params, dataset: Dataset, batch_size: int) -> Iterator[None]:
    """`jax.vmap` of the epoch over the members, all at once, on one device."""
    images, labels = place_examples((dataset.train_images, dataset.train_labels), None)

    @jax.jit
    def train(state: TrainState, order: jax.Array) -> TrainState:
        return jax.vmap(lambda state: one_epoch(state, images, labels, order, Model(), OPTIMIZER, batch_size)[0])(state)

    state = jax.vmap(lambda params: TrainState.start(params, OPTIMIZER))(params)
    for epoch in range(1_000_000):
        state = jax.block_until_ready(train(state, place_order(0, epoch, len(labels), None)))
        yield


def _model() -> Model:
    return Model()


def _optimizer() -> Any:
    return OPTIMIZER


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    median, fastest, slowest = (f"{row[name]:.1f}" for name in ("median_ms", "fastest_ms", "slowest_ms"))
    ratio, compiling = f"{row['ratio_to_one_alone']:.2f}", f"{row['compiling_s']:.1f}"
    return row["name"], median, f"{fastest} to {slowest}", ratio, compiling
