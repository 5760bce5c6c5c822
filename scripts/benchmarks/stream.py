"""How fast an epoch is on images that stay on disk or with the host, beside one on images that all lie on the device.

A set made by repetition of MNIST is written to a file. Processes of their own train on it, so that each one's peak of
resident memory is its own: one reads the file and puts everything on the device; one reads it and streams; one streams
from the file, mapped. They take turns, an epoch each, and end with the same parameters. The two that hold the whole
set take part where there is room for it.

The file has just been written: as far as there is memory for it, the system still holds it, and the disk is not read.
"""

import hashlib
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax import Dataset, Model, TrainState, init_params, load_dataset, make_optimizer, train_epoch
from mlp_jax.training import check_fit, use_one_thread_if_small
from mlp_jax.training.devices import place, place_examples, place_order
from mlp_jax.training.stream import empty, images_in_chunk, stream_epoch

from .timing import check_outputs, in_milliseconds, print_table, take_turns, threads, write_json

IN_MEMORY, FROM_MEMORY, FROM_FILE = "in memory", "streamed from memory", "streamed from a file"
HEADINGS = ("", "ms an epoch", "range", "speed / in memory", "peak MB", "before the data MB")
MANY = 10
"""With so many repetitions, an epoch is so long that it does not matter what the caches held before it."""


class Task(NamedTuple):
    """What every process trains, from the file of images that the set was written to."""

    file: Path
    repeat: int
    sizes: tuple[int, ...]
    batch_size: int
    stream: int


def main(
    repeat: int,
    stream: int,
    sizes: tuple[int, ...],
    batch_size: int,
    rounds: int,
    scratch: Path | None,
    out: Path | None,
) -> None:
    """Time epochs in turns, in processes of their own; print the table, and write it if asked."""
    dataset = load_dataset("mnist")
    check_fit(sizes, dataset, rounds, batch_size, 0)
    images_in_chunk(stream, batch_size)
    check_outputs(out, None)
    if repeat < 1:
        raise ValueError(f"MNIST is to be repeated {repeat} times: expected 1 or more")
    use_one_thread_if_small(sizes, batch_size)  # told to the processes by their environment
    with TemporaryDirectory(dir=scratch) as directory:
        task = Task(Path(directory, "images"), repeat, sizes, batch_size, stream)
        write(task, dataset)
        rows = measure(task, rounds)
    size, examples = repeat * dataset.train_images.nbytes, repeat * len(dataset.train_labels)
    title = (
        f"{examples:,} images ({size / 1e6:,.0f} MB), {stream:,} at a time ({size * stream / examples / 1e6:,.0f} MB), "
        f"{'-'.join(map(str, sizes))}, batches of {batch_size}, {rounds} epochs each in turn, threads: {threads()}"
    )
    print_table(title, HEADINGS, map(_cells, rows))
    if len(rows) == 1:
        print("the whole set would fill over a third of the memory that is free: no epoch in memory")
    elif len({row["parameters"] for row in rows}) > 1:
        print("the parameters at the end are not the same")
    if out:
        about = {"benchmark": "stream", "examples": examples, "stream": stream, "sizes": sizes}
        report = {**about, "batch_size": batch_size, "rounds": rounds, "image_mb": size / 1e6, "rows": rows}
        write_json(out, report, ("jax", "jaxlib", "numpy", "optax"))


def write(task: Task, dataset: Dataset) -> None:
    """The training images again and again in a file. Raises ValueError where the disk has no room for them."""
    size, free = task.repeat * dataset.train_images.nbytes, shutil.disk_usage(task.file.parent).free
    if size > free:
        raise ValueError(
            f"{size / 1e6:,.0f} MB do not fit into {task.file.parent.parent}, where {free / 1e6:,.0f} MB are free: "
            "give another --scratch, or repeat less often"
        )
    with task.file.open("wb") as file:
        for _ in range(task.repeat):
            dataset.train_images.tofile(file)


def measure(task: Task, rounds: int) -> list[dict[str, Any]]:
    """A row for each way to train, with a digest of the parameters at the end."""
    room = 3 * task.file.stat().st_size < available()  # two processes hold it all, and the system the file
    with ExitStack() as stack:
        names = [IN_MEMORY, FROM_MEMORY, FROM_FILE] if room else [FROM_FILE]
        calls = {name: stack.enter_context(process(name, task)) for name in names}
        facts = {name: call() for name, call in calls.items()}
        seconds = take_turns(calls, rounds, short=task.repeat < MANY, after=facts.__setitem__)
    return [
        {
            "name": name,
            **in_milliseconds(seconds[name]),
            "speed_to_in_memory": float(np.median(seconds[IN_MEMORY]) / np.median(seconds[name])) if room else None,
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
    optimizer = make_optimizer("sgd", 3.0)
    state, epochs = place(TrainState.start(init_params(jax.random.key(0), task.sizes), optimizer), None), count()
    before = peak_mb()
    images, labels = read(name, task)
    train = train_epoch if name == IN_MEMORY else partial(stream_epoch, stream=task.stream)
    try:
        while connection.recv():
            order = place_order(0, next(epochs), len(labels), None)
            state, _ = jax.block_until_ready(train(state, images, labels, order, Model(), optimizer, task.batch_size))
            parameters = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state.params)))
            connection.send({"before_mb": before, "peak_mb": peak_mb(), "parameters": parameters.hexdigest()})
    except EOFError:
        return


def read(name: str, task: Task) -> tuple[Any, Any]:
    """Images and labels: on the device, in memory, or the images in their file."""
    labels = np.tile(load_dataset("mnist").train_labels.astype(np.uint8), task.repeat)
    shape = len(labels), task.sizes[0]
    if name == FROM_FILE:
        return np.memmap(task.file, np.uint8, "r", shape=shape), labels
    images = empty(shape)
    with task.file.open("rb") as file:
        file.readinto(images.data)
    return place_examples((images, labels), None) if name == IN_MEMORY else (images, labels)


def peak_mb() -> float | None:
    """The most memory that was resident in this process so far, mapped files included; None where no one tells."""
    return _kilobytes(Path("/proc/self/status"), "VmHWM", 1e-3 * 1.024)


def available() -> float:
    """Bytes of memory that are free or can be; none where no one tells."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable", 1024) or 0.0


def _kilobytes(file: Path, name: str, unit: float) -> float | None:
    lines = file.read_text().splitlines() if file.exists() else []
    return next((float(line.split()[1]) * unit for line in lines if line.startswith(f"{name}:")), None)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    median, fastest, slowest = (f"{row[name]:,.0f}" for name in ("median_ms", "fastest_ms", "slowest_ms"))
    ratio, peak, before = (row[name] for name in ("speed_to_in_memory", "peak_mb", "before_mb"))
    memory = (f"{number:,.0f}" if number else "" for number in (peak, before))
    return row["name"], median, f"{fastest} to {slowest}", f"{ratio:.2f}" if ratio else "", *memory
