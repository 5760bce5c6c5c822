"""How the time of an epoch grows with examples, width, depth, batch, members of a population and devices.

Along each axis the rest stays that of the lessons: 784-16-16-10, batches of 100, the 60,000 images; only along that of
width and of population there are 6,000, for the most is a hundred times the work, and along that of devices a batch has
800. The points of an axis take turns. A CPU is split into 8 devices, of which more than there are cores only cost.

A larger data set repeats the images in memory, row by row, so that an epoch reads as many bytes as it would of new
ones; an order that named the same 60,000 rows again and again would find them in the processor's caches. A smaller one
is their beginning. The axis ends before all its data sets together fill a third of this machine's memory.

The exponent is the slope of a straight line through the logarithms, by least squares over all points; the last slope
is that between the two largest. Everything runs on as many threads as the network of the lessons takes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import arg

from mlp_jax import (
    Examples,
    Model,
    Plan,
    TrainState,
    init_params,
    init_population,
    load_dataset,
    make_optimizer,
    train_epoch,
)
from mlp_jax.training import use_one_thread_if_small
from mlp_jax.training.sharding import BATCH, place, place_examples
from population import population as population_of
from program import Figure, Out, Rounds, check_arguments, publish, run
from timing import in_milliseconds, median_and_range, take_turns, threads
from training import LESSON, one_by_one

Axis = Literal["examples", "width", "depth", "batch", "population", "devices"]
BATCH_SIZE = 100
LEARNING_RATE = 0.1  # wide networks, and batches of one, stay finite; how long a step takes does not depend on it
EXAMPLES = (6_000, 19_000, 60_000, 190_000, 600_000, 1_900_000, 6_000_000)
SHARE = 1 / 3  # of this machine's memory, which images may fill


class Point(NamedTuple):
    """One epoch to be timed: its place on the axis, and the whole setting."""

    at: int
    examples: int
    sizes: tuple[int, ...] = LESSON
    batch_size: int = BATCH_SIZE
    members: int | None = None
    devices: int = 1


def examples(most: int) -> list[Point]:
    """From 6,000 on, each time the square root of ten as many."""
    fit = SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / LESSON[0]
    return [Point(n, n) for n, total in zip(EXAMPLES, accumulate(EXAMPLES), strict=True) if n <= most and total <= fit]


def width(most: int) -> list[Point]:
    """Neurons in each of the two hidden layers."""
    return [Point(n, 6_000, (784, n, n, 10)) for n in (16, 32, 64, 128, 256, 512, 1024)]


def depth(most: int) -> list[Point]:
    """Hidden layers of 16."""
    return [Point(n, min(60_000, most), (784, *[16] * n, 10)) for n in (1, 2, 4, 8)]


def batch(most: int) -> list[Point]:
    """Examples of a mini-batch."""
    return [Point(n, min(60_000, most), batch_size=n) for n in (1, 10, 100, 1_000, 10_000) if n <= most]


def population(most: int) -> list[Point]:
    """Members that share their mini-batches, on one device."""
    return [Point(n, 6_000, members=n) for n in (1, 4, 16, 64, 256)]


def devices(most: int) -> list[Point]:
    """Devices that share each mini-batch."""
    there = len(jax.devices())
    return [Point(n, min(60_000, most), batch_size=800, devices=n) for n in (1, 2, 4, 8) if n <= there]


AXES: dict[Axis, Callable[[int], list[Point]]] = {
    "examples": examples,
    "width": width,
    "depth": depth,
    "batch": batch,
    "population": population,
    "devices": devices,
}
"""The points of each axis, of data sets that have at most so many examples."""


def main(
    axes: Annotated[tuple[Axis, ...], arg(help="what to vary")] = get_args(Axis),
    largest_examples: Annotated[
        int, arg(help="the end of the axis of examples, 6000 or more, if memory allows")
    ] = 6_000_000,
    rounds: Rounds = 5,
    out: Out = None,
    figure: Figure = None,
) -> None:
    """How the time of an epoch grows with examples, width, depth, batch, members of a population and devices."""
    check_arguments(rounds, out, figure)
    if largest_examples < 6_000:
        raise ValueError(f"the largest number of examples is {largest_examples}: expected 6000 or more")
    use_one_thread_if_small(LESSON, BATCH_SIZE)
    if "devices" in axes:
        jax.config.update("jax_num_cpu_devices", 8)
    train = load_dataset("mnist").train
    found = {name: measure(AXES[name](largest_examples), train, rounds) for name in dict.fromkeys(axes)}
    report = {
        "benchmark": "scaling",
        "rounds": rounds,
        "device": jax.devices()[0].device_kind,
        "axes": {name: {"points": points, **exponents(points)} for name, points in found.items()},
    }
    headings = ("", "at", "ms", "range", "exponent", "last slope")
    left_out = [n for n in EXAMPLES if n <= largest_examples][len(found.get("examples", EXAMPLES)) :]
    note = f"{left_out[0]:,} examples would fill over a third of this machine's memory" if left_out else ""
    publish(report, f"time of an epoch, threads: {threads()}", headings, cells(report), out, note=note)
    if figure:
        draw(report).savefig(figure, dpi=150)


def measure(points: Sequence[Point], examples: Examples, rounds: int) -> list[dict[str, Any]]:
    """A row for each point, with the times of its epochs; the first of each, which compiles, does not count."""
    calls = {str(point.at): epochs_of(point, examples) for point in points}
    for call in calls.values():
        call()
    seconds = take_turns(calls, rounds)
    return [{**point._asdict(), **in_milliseconds(seconds[str(point.at)])} for point in points]


def epochs_of(point: Point, examples: Examples) -> Callable[[], Any]:
    """Trains for another epoch at each call."""
    many = repeated(examples, point.examples)
    plan = Plan(Model(), make_optimizer("sgd", LEARNING_RATE), point.batch_size)
    if point.members:
        return partial(next, population_of(init_population(range(point.members), point.sizes), many, plan))
    if point.devices > 1:
        plan = replace(plan, mesh=jax.make_mesh((point.devices,), (BATCH,), devices=jax.devices()[: point.devices]))
        many = place_examples(jax.tree.map(np.asarray, many), plan.mesh)
    state = place(TrainState.start(init_params(jax.random.key(0), point.sizes), plan.optimizer), plan.mesh)
    return partial(next, one_by_one(train_epoch, state, many, plan))


def repeated(examples: Examples, count: int) -> Examples:
    """The examples again and again, so many in all, on the device.

    Gathered by one program there: to repeat them in NumPy first would take twice the memory.
    """
    rows = np.arange(count, dtype=np.int32) % np.int32(len(examples))
    return jax.jit(Examples.rows)(jax.tree.map(jnp.asarray, examples), rows)


def exponents(points: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of the time, as a power of the place on the axis: over all points, and between the last two; None for one."""
    if len(points) < 2:
        return {"exponent": None, "last_slope": None}
    at, ms = (np.log([point[name] for point in points]) for name in ("at", "median_ms"))
    return {"exponent": float(np.polyfit(at, ms, 1)[0]), "last_slope": float(np.diff(ms)[-1] / np.diff(at)[-1])}


def cells(report: Mapping[str, Any]) -> list[list[str]]:
    """Of the table."""
    rows = []
    for name, axis in report["axes"].items():
        rows += [[name, f"{point['at']:,}", *median_and_range(point)] for point in axis["points"]]
        if axis["exponent"] is not None:
            rows[-1] += [f"{axis['exponent']:.2f}", f"{axis['last_slope']:.2f}"]
    return rows


def draw(report: Mapping[str, Any]) -> Any:
    """A panel for each axis, log-log, with the fitted line, as a Matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter

    columns = min(2, len(report["axes"]))
    lines = -(-len(report["axes"]) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * lines), layout="constrained")
    for number, (name, axis) in enumerate(report["axes"].items(), start=1):
        axes = figure.add_subplot(lines, columns, number, xscale="log", yscale="log", ylabel="an epoch")
        at, median, fastest, slowest = (
            np.array([point[key] for point in axis["points"]])
            for key in ("at", "median_ms", "fastest_ms", "slowest_ms")
        )
        axes.errorbar(at, median / 1e3, yerr=np.array([median - fastest, slowest - median]) / 1e3, fmt="o", capsize=3)
        axes.set_title(name)
        if axis["exponent"] is not None:
            middle = np.exp(np.mean(np.log(median / 1e3)) - axis["exponent"] * np.mean(np.log(at)))
            axes.plot(at, middle * at ** axis["exponent"])
            axes.set_title(rf"{name}: time $\propto$ {name}$^{{{axis['exponent']:.2f}}}$")
        axes.set_xticks(at, minor=False)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(at.min() / 1.5, at.max() * 1.5)
        axes.set_ylim(10 ** np.floor(np.log10(fastest.min() / 1e3)), 10 ** np.ceil(np.log10(slowest.max() / 1e3)))
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    run(main)
