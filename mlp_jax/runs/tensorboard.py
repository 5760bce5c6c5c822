"""Event files, which TensorBoard draws while training goes on and afterwards."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers make their classes when they are imported: there is nothing to read them from.

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from mlp_jax.network import Params

BINS = 30


def check_tensorboard() -> None:
    """Raises ValueError where the package tensorboard is missing, which event files are written with."""
    try:
        import tensorboard.compat.proto.event_pb2  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"event files need the package tensorboard ({error}): pip install 'mlp_jax[tensorboard]'"
        ) from error


class EventWriter:
    """A new event file in a run's directory, beside those of earlier trainings that this one goes on from.

    directory: made where it is missing.
    epoch: how many epochs are behind; what earlier files say of later ones is not shown any more.

    Raises ValueError where the package tensorboard is missing, and OSError where the file cannot be made.
    """

    def __init__(self, directory: Path, epoch: int = 0) -> None:
        check_tensorboard()
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of their names: the time comes first, in digits enough to tell two apart.
        self._file = directory / f"events.out.tfevents.{time.time_ns() / 1e9:.6f}.{socket.gethostname()}"
        self._file.touch(exist_ok=False)
        self._append(Event(file_version="brain.Event:2"))
        self._append(Event(step=epoch + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, epoch: int, metrics: Mapping[str, float], params: Params, deltas: Sequence[ArrayLike]) -> None:
        """Add an epoch: numbers by name, and how weights, biases and errors of each layer are distributed.

        deltas: an array of any shape for each layer. Numbers that are not finite are in no histogram. Either the whole
        epoch is in the file or, where the process was killed meanwhile, nothing that TensorBoard would show. Raises
        OSError where it cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=number) for name, number in metrics.items()]
        for number, (layer, delta) in enumerate(zip(params, deltas, strict=True)):
            for name, array in (layer._asdict() | {"deltas": delta}).items():
                values.append(Summary.Value(tag=f"layers.{number}/{name}", histo=_histogram(array)))
        self._append(Event(step=epoch, summary=Summary(value=values)))

    def _append(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        event.wall_time = time.time()
        with self._file.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def _histogram(array: ArrayLike) -> Any:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto

    with np.errstate(over="ignore"):
        numbers = np.asarray(array).astype(np.float32).astype(np.float64)  # apart enough for bins between any two
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return HistogramProto()
    counts, edges = np.histogram(numbers, BINS)
    return HistogramProto(
        min=numbers.min(),
        max=numbers.max(),
        num=numbers.size,
        sum=numbers.sum(),
        sum_squares=numbers @ numbers,
        bucket_limit=edges[1:],
        bucket=counts,
    )
