"""How long a network takes among many: an epoch of a population, divided by its members.

Populations that share their mini-batches, a core of the machine for each part of the members, as `mlp-jax sweep` has
it; members with mini-batches of their own; the same on one device; and `jax.vmap` over the whole epoch, as one would
write it without `fit_population`. They take turns. Beside them one network alone, in a process of its own before them
all, in which XLA keeps to one thread: with a device for each core it has as many, which makes a single network slower.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import jax
import numpy as np
from jax.sharding import Mesh
from tyro.conf import arg

from mlp_jax import Examples, Model, Params, Plan, init_population, load_dataset, make_optimizer, train_epoch
from mlp_jax.training import check_training, start_population, train_population, use_cores_for_members
from mlp_jax.training.sharding import POPULATION, place, place_examples
from program import BatchSize, FromTheStart, Out, Readme, Rounds, Sizes, check_arguments, publish, run
from timing import in_milliseconds, median_and_range, seconds_of, take_turns
from training import LESSON, named, one_by_one

HEADINGS = ("", "ms a network", "range", "times one alone", "compile s")


def main(
    members: Annotated[tuple[int, ...], arg(help="numbers of networks, a population of each")] = (16, 64),
    sizes: Sizes = LESSON,
    batch_size: BatchSize = 100,
    examples: FromTheStart = 60_000,
    rounds: Rounds = 5,
    out: Out = None,
    readme: Readme = None,
) -> None:
    """An epoch of many networks at once, divided by their number, beside one network alone."""
    check_arguments(rounds, out, readme=readme, name="population")
    if not members or min(members) < 1:
        raise ValueError(f"the members are {members}: give one number or more, of 1 or more")
    use_cores_for_members(int(np.gcd.reduce(members)), sizes, batch_size)
    plan = Plan(Model(), make_optimizer(), batch_size)
    dataset = load_dataset("mnist").first(examples)
    check_training(sizes, dataset, plan, rounds, seed=0)
    rows = [alone(examples, sizes, batch_size, rounds), *measure(dataset.train, members, sizes, plan, rounds)]
    for row in rows:
        row["ratio_to_one_alone"] = row["median_ms"] / rows[0]["median_ms"]
    report = {
        "benchmark": "population",
        "sizes": sizes,
        "batch_size": batch_size,
        "examples": examples,
        "rounds": rounds,
        "devices": [device.device_kind for device in jax.devices()],
        "rows": rows,
    }
    title = f"one epoch, {named(sizes)}, {examples:,} examples in batches of {batch_size}"
    cells = [
        (row["name"], *median_and_range(row), f"{row['ratio_to_one_alone']:.2f}", f"{row['compile_s']:.1f}")
        for row in rows
    ]
    publish(report, title, HEADINGS, cells, out, readme)


def measure(
    examples: Examples, members: tuple[int, ...], sizes: tuple[int, ...], plan: Plan, rounds: int
) -> list[dict[str, Any]]:
    """A row for each population, of milliseconds a network and epoch."""
    everyone = Mesh(np.array(jax.devices()), (POPULATION,))
    contestants: dict[str, tuple[int, Iterator[Any]]] = {}
    for count in members:
        params = init_population(range(count), sizes)
        for mesh, own in ((everyone, False), (everyone, True), (None, False)):
            if mesh is None or count % mesh.size == 0:
                on = "one device" if mesh is None else f"{mesh.size} device{'s' * (mesh.size > 1)}"
                name = f"{count} networks, {'own' if own else 'shared'} batches, {on}"
                contestants[name] = count, population(params, examples, replace(plan, mesh=mesh), own)
        contestants[f"{count} networks, jax.vmap of the epoch"] = count, by_vmap(params, examples, plan)

    calls = {name: partial(next, epochs) for name, (_, epochs) in contestants.items()}
    first = {name: seconds_of(call) for name, call in calls.items()}
    seconds = take_turns(calls, rounds, short=True)
    return [
        {
            "name": name,
            "members": count,
            **in_milliseconds([epoch / count for epoch in seconds[name]]),
            "compile_s": max(0.0, first[name] - float(np.median(seconds[name]))),
        }
        for name, (count, _) in contestants.items()
    ]


def alone(examples: int, sizes: tuple[int, ...], batch_size: int, rounds: int) -> dict[str, Any]:
    """The row of one network, by the benchmark of an epoch in a process of its own."""
    with TemporaryDirectory() as directory:
        out = Path(directory) / "epoch.json"
        flags = f"--peers mlp_jax --batch-size {batch_size} --examples {examples} --rounds {rounds}".split()
        flags += ["--sizes", *map(str, sizes), "--out", str(out)]
        environment = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
        command = [sys.executable, str(Path(__file__).with_name("epoch.py")), *flags]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        (row,) = json.loads(out.read_text())["rows"]
    kept = ("median_ms", "fastest_ms", "slowest_ms", "calls", "compile_s")
    return {"name": "one network alone", "members": 1, **{name: row[name] for name in kept}}


def population(params: Params, examples: Examples, plan: Plan, own: bool = False) -> Iterator[Any]:
    """A population by `train_population`, with mini-batches of each member's own or those of all."""
    state = place(start_population(params, plan.optimizer), plan.mesh, POPULATION)
    seed = list(range(len(params[0].biases))) if own else 0
    return one_by_one(train_population, state, place_examples(examples, plan.mesh), plan, seed)


def by_vmap(params: Params, examples: Examples, plan: Plan) -> Iterator[Any]:
    """`jax.vmap` of the epoch over the members, all at once, on one device."""
    train = jax.jit(jax.vmap(train_epoch, in_axes=(0, None, None, None, None)), static_argnums=4)
    return one_by_one(train, start_population(params, plan.optimizer), jax.device_put(examples), plan)


if __name__ == "__main__":
    run(main)
