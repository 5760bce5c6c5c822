"""Event files, which TensorBoard draws while training goes on and afterwards."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers make their classes when they are imported: there is nothing to read them from.

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mlp_jax.backward import deltas_and_activations
from mlp_jax.data.dataset import Examples
from mlp_jax.network import Model, Params, as_inputs, as_targets

BINS = 30


def check_tensorboard() -> None:
    """Raises ValueError if the package tensorboard, which writes event files, is missing."""
    try:
        import tensorboard.compat.proto.event_pb2  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"event files need the package tensorboard ({error}): pip install -e '.[tensorboard]' in a clone"
        ) from error


class EventWriter:
    """A new event file in a run's directory, beside those that the run wrote before it was resumed.

    directory: made if it is missing.
    epoch: how many epochs are trained already; TensorBoard hides what earlier files say of later epochs.

    Raises ValueError if the package tensorboard is missing, and OSError if the file cannot be made.
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

    def write(
        self, epoch: int, metrics: Mapping[str, float | None], params: Params, deltas: Sequence[ArrayLike]
    ) -> None:
        """Add an epoch: metrics that are not None, and histograms of each layer's weights, biases and errors.

        deltas: an array of any shape for each layer, as `deltas` returns them.

        Histograms count finite numbers only. An epoch whose writing was interrupted is not shown. Raises OSError if
        the file cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items() if value is not None]
        for number, (layer, delta) in enumerate(zip(params, deltas, strict=True)):
            for name, array in (layer._asdict() | {"deltas": delta}).items():
                values.append(Summary.Value(tag=f"layers.{number}/{name}", histo=_histogram(array)))
        self._append(Event(step=epoch, summary=Summary(value=values)))

    def _append(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        event.wall_time = time.time()
        with self._file.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def deltas(params: Params, examples: Examples, model: Model) -> tuple[Float[Array, "examples _"], ...]:
    """The error of every neuron for each example: one array (examples, n) for each layer.

    In a run of several processes one of them may call it alone: it uses that process's devices only.
    """
    return _deltas(jax.device_get(params), examples, model)


@jax.jit
def _deltas(params: Params, examples: Examples, model: Model) -> tuple[Float[Array, "examples _"], ...]:
    inputs, targets = as_inputs(examples.inputs, params), as_targets(examples.targets, params)
    return deltas_and_activations(params, inputs, targets, model)[0]


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
