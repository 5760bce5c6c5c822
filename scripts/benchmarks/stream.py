"""How fast an epoch is on examples that stay on disk or with the host, beside one with all of them on the device.

A set made by repetition of MNIST is written to a file. Processes of their own train on it, so that each one's peak of
resident memory is its own: one reads the file and puts everything on the device; one reads it and streams; one streams
from the file, mapped. They take turns, an epoch each, and end with the same parameters. The two that hold the whole
set take part if memory is free for it.

The file has just been written: as far as there is memory for it, the system still holds it, and the disk is not read.
"""

import hashlib
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
from tyro.conf import arg

from mlp_jax import Examples, Model, Plan, TrainState, init_params, load_dataset, make_optimizer, train_epoch
from mlp_jax.training import check_training, examples_in_chunk, use_one_thread_if_small
from mlp_jax.training.sharding import place, place_examples
from mlp_jax.training.stream import empty, stream_epoch
from program import BatchSize, Out, Rounds, Sizes, check_arguments, publish, run
from timing import in_milliseconds, median_and_range, take_turns, threads
from training import LESSON, named, one_by_one

IN_MEMORY, FROM_MEMORY, FROM_FILE = "in memory", "streamed from memory", "streamed from a file"
HEADINGS = ("", "ms an epoch", "range", "speed / in memory", "peak MB", "before the data MB")
MANY = 10
"""With so many repetitions, an epoch is so long that it does not matter what the caches held before it."""


class Task(NamedTuple):
    """What every process trains, from the file of inputs that the set was written to."""

    file: Path
    repeat: int
    inputs: str
    sizes: tuple[int, ...]
    batch_size: int
    stream: int


def main(
    repeat: Annotated[int, arg(help="how often the 60,000 images are repeated, 47 MB each time, 188 as floats")] = 100,
    stream: Annotated[int, arg(help="how many examples lie on the device at a time")] = 120_000,
    inputs: Annotated[Literal["uint8", "float32"], arg(help="what the images are kept as")] = "uint8",
    sizes: Sizes = LESSON,
    batch_size: BatchSize = 100,
    rounds: Rounds = 5,
    scratch: Annotated[
        Path | None, arg(help="a directory on a real disk for the repeated images, the system's if not given")
    ] = None,
    out: Out = None,
) -> None:
    """An epoch on images that stay on disk or with the host, beside one on images that all lie on the device."""
    check_arguments(rounds, out)
    use_one_thread_if_small(sizes, batch_size)  # told to the processes by their environment
    dataset = load_dataset("mnist")
    check_training(sizes, dataset, Plan(Model(), make_optimizer(), batch_size), rounds, seed=0)
    examples_in_chunk(stream, batch_size)
    if repeat < 1:
        raise ValueError(f"MNIST is to be repeated {repeat} times: expected 1 or more")
    size, examples = repeat * as_kept(dataset.train, inputs).nbytes, repeat * len(dataset.train)
    with TemporaryDirectory(dir=scratch) as directory:
        task = Task(Path(directory, "inputs"), repeat, inputs, sizes, batch_size, stream)
        write(task, dataset.train, size)
        rows = measure(task, rounds)
    title = (
        f"{examples:,} images of {inputs} ({size / 1e6:,.0f} MB), {stream:,} at a time "
        f"({size * stream / examples / 1e6:,.0f} MB), {named(sizes)}, batches of {batch_size}, "
        f"{rounds} epochs each in turn, threads: {threads()}"
    )
    report = {"benchmark": "stream", "examples": examples, "stream": stream, "inputs": inputs, "sizes": sizes}
    report |= {"batch_size": batch_size, "rounds": rounds, "image_mb": size / 1e6, "rows": rows}
    note = ""
    if len(rows) == 1:
        note = "the whole set would fill over a third of the memory that is free: no epoch in memory"
    elif len({row["parameters"] for row in rows}) > 1:
        note = "the parameters at the end are not the same"
    publish(report, title, HEADINGS, map(_cells, rows), out, note=note)


def as_kept(examples: Examples, inputs: str) -> np.ndarray:
    """The images as they are, or as floats from 0 to 1."""
    return examples.inputs if inputs == "uint8" else examples.inputs.astype(inputs) / np.float32(255)


def write(task: Task, examples: Examples, size: int) -> None:
    """The inputs again and again in a file of that size. Raises ValueError if it does not fit on the disk."""
    free = shutil.disk_usage(task.file.parent).free
    if size > free:
        raise ValueError(
            f"{size / 1e6:,.0f} MB do not fit into {task.file.parent.parent}, which has {free / 1e6:,.0f} MB free: "
            "give another --scratch, or repeat less often"
        )
    kept = as_kept(examples, task.inputs)
    with task.file.open("wb") as file:
        for _ in range(task.repeat):
            kept.tofile(file)


def measure(task: Task, rounds: int) -> list[dict[str, Any]]:
    """A row for each way to train, with a digest of the parameters at the end."""
    fits = 3 * task.file.stat().st_size < available()  # two processes hold it all, and the system the file
    with ExitStack() as stack:
        names = [IN_MEMORY, FROM_MEMORY, FROM_FILE] if fits else [FROM_FILE]
        calls = {name: stack.enter_context(process(name, task)) for name in names}
        facts = {name: call() for name, call in calls.items()}
        seconds = take_turns(calls, rounds, short=task.repeat < MANY, after=facts.__setitem__)
    return [
        {
            "name": name,
            **in_milliseconds(seconds[name]),
            "speed_to_in_memory": float(np.median(seconds[IN_MEMORY]) / np.median(seconds[name])) if fits else None,
            **facts[name],
        }
        for name in names
    ]


@contextmanager
def process(name: str, task: Task) -> Iterator[Callable[[], dict[str, Any]]]:
    """A process that trains another epoch at each call, and says what it knows of itself."""
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(there, name, task), daemon=True)
    child.start()
    there.close()

    def call() -> dict[str, Any]:
        here.send("an epoch")
        return here.recv()

    try:
        yield call
    finally:
        here.close()
        child.join()


def serve(connection: Connection, name: str, task: Task) -> None:
    """What the process does, until nobody asks any more."""
    plan = Plan(Model(), make_optimizer(), task.batch_size)
    state = place(TrainState.start(init_params(jax.random.key(0), task.sizes), plan.optimizer), None)
    before = peak_mb()
    train = train_epoch if name == IN_MEMORY else partial(stream_epoch, stream=task.stream)
    epochs = one_by_one(train, state, read(name, task), plan)
    try:
        while connection.recv():
            leaves = jax.tree.leaves(next(epochs).params)
            parameters = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
            connection.send({"before_mb": before, "peak_mb": peak_mb(), "parameters": parameters.hexdigest()})
    except EOFError:
        return


def read(name: str, task: Task) -> Examples:
    """The examples: on the device, in memory, or their inputs in the file."""
    labels = np.tile(load_dataset("mnist").train.targets.astype(np.uint8), task.repeat)
    shape, dtype = (len(labels), task.sizes[0]), np.dtype(task.inputs)
    if name == FROM_FILE:
        return Examples(np.memmap(task.file, dtype, "r", shape=shape), labels)
    inputs = empty(shape, dtype)
    with task.file.open("rb") as file:
        file.readinto(inputs.data.cast("B"))
    return place_examples(Examples(inputs, labels), None) if name == IN_MEMORY else Examples(inputs, labels)


def peak_mb() -> float | None:
    """The most memory that was resident in this process so far, mapped files included, if the system tells."""
    return _kilobytes(Path("/proc/self/status"), "VmHWM", 1e-3 * 1.024)


def available() -> float:
    """Bytes of memory that are free or can be; 0 if the system does not tell."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable", 1024) or 0.0


def _kilobytes(file: Path, name: str, unit: float) -> float | None:
    lines = file.read_text().splitlines() if file.exists() else []
    return next((float(line.split()[1]) * unit for line in lines if line.startswith(f"{name}:")), None)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    ratio, *memory = (row[name] for name in ("speed_to_in_memory", "peak_mb", "before_mb"))
    megabytes = (f"{number:,.0f}" if number else "" for number in memory)
    return row["name"], *median_and_range(row), f"{ratio:.2f}" if ratio else "", *megabytes


if __name__ == "__main__":
    run(main)
