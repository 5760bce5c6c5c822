"""Where training stood, kept so that it can go on from there whatever stopped it."""

import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from mlp_jax.runs.files import UNFINISHED
from mlp_jax.runs.run import RunError

STATE, FACTS, SUMS = "state", "facts.json", "SHA256SUMS"
DAMAGED = ".damaged"


class Checkpoints:
    """The checkpoints of one run: the last few, and the best by test accuracy.

    directory: holds a directory for each checkpoint, named after its epoch: the arrays as Orbax writes them, under
        names like state.params[0].weights; facts.json; and SHA256SUMS of all these files, which `sha256sum -c` checks.
    every: seconds at least from one checkpoint to the next that is due, 0 or more; 0 makes each epoch's due.
    keep: how many of the last are kept, 1 or more.
    metrics: a file that reaches the disk before any checkpoint counts, so that none is ahead of it.
    report: is told of all that is skipped or moved aside, a line each, in the thread that calls.

    A checkpoint is written beside the others, brought to the disk and then renamed, in a thread of its own: a process
    that is killed leaves the checkpoints before, and so does a power failure. In a run of several processes the first
    alone has this object; Orbax does not wait for the others.

    The first to be written imports Orbax there, which costs less beside training than beside compiling. Raises
    ValueError for an `every` or a `keep` out of its range.
    """

    def __init__(
        self,
        directory: Path,
        every: float = 2.0,
        keep: int = 3,
        *,
        metrics: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ):
        if not 0 <= every < math.inf:
            raise ValueError(f"there are to be {every} s between two checkpoints: expected 0 or more")
        if keep < 1:
            raise ValueError(f"{keep} checkpoints are to be kept: expected 1 or more")
        self._directory, self._every, self._keep, self._metrics, self._report = directory, every, keep, metrics, report
        self._accuracies: dict[int, float] = {}  # by epoch, of the checkpoints that are there
        self._damaged: list[Path] = []
        self._due = -math.inf
        self._pending: tuple[int, Future[None]] | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoints")

    def due(self) -> bool:
        """Whether it is time for one; while one is being written it is not, unless each epoch is to have its own."""
        writing = self._pending is not None and not self._pending[1].done()
        return time.monotonic() >= self._due and (self._every == 0 or not writing)

    def save(self, state: PyTree, *, epoch: int, test_accuracy: float, facts: Mapping[str, Any] | None = None) -> None:
        """Keep where training stands after `epoch`: on the host when this returns, on the disk soon after.

        state: any pytree of arrays, typed random keys among them. It may be donated afterwards.
        test_accuracy: of the state, in [0, 1]. What has no number is never the best.
        facts: what else to know of it, such as JSON can hold.

        Waits for the checkpoint before. Once an epoch has a checkpoint it keeps that one. Raises OSError where the
        one before could not be written, ValueError and TypeError for facts that JSON cannot hold.
        """
        self.finish()
        if epoch in self._accuracies:
            return
        text = json.dumps({"epoch": epoch, "test_accuracy": test_accuracy, **(facts or {})}, indent=2) + "\n"
        self._move_aside(epoch)
        leaves = _on_host(state)
        self._accuracies[epoch] = _comparable(test_accuracy)
        self._pending = epoch, self._writer.submit(self._write, leaves, text, epoch)
        self._due = time.monotonic() + self._every

    def finish(self) -> None:
        """Wait until the checkpoint on its way is on the disk; to be called on every way out.

        A process that ends without may lose that checkpoint, not those before. Raises OSError where it could not be
        written.
        """
        if self._pending is None:
            return
        epoch, written = self._pending
        try:
            written.result()
        except Exception as error:
            self._pending = None
            del self._accuracies[epoch]
            raise OSError(f"the checkpoint {self._path(epoch)} cannot be written ({_said(error)})") from error
        self._pending = None

    def latest(self, like: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
        """The state and the facts of the newest checkpoint that is whole, or None where there never was one.

        like: a state of the same structure, shapes and dtypes.

        A checkpoint is whole when all its files have their SHA-256 and its arrays the names, shapes and dtypes of
        `like`. Others are reported and skipped, and moved aside when training goes on and the next one is saved. Raises
        RunError where something lies there and nothing can be used, since training would start afresh unnoticed.
        """
        self.finish()
        self._accuracies, self._damaged = {}, []
        try:
            found = sorted(self._directory.iterdir())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{self._directory} cannot be read ({error})") from error
        epochs, useless = [], []
        for path in found:
            kind = re.fullmatch(f"(0|[1-9][0-9]*)({UNFINISHED}|{DAMAGED})?", path.name)
            if kind is None:
                useless.append(self._skip(path, "it is no checkpoint"))
            elif kind[2] == DAMAGED:
                useless.append(f"{path.name}: it was moved aside")
            elif kind[2] == UNFINISHED:  # all that is left of a run that was killed before its first checkpoint
                self._skip(path, "it was being written, or deleted, when the process ended")
            else:
                epochs.append(int(path.name))
        newest = None
        for epoch in sorted(epochs, reverse=True):
            path = self._path(epoch)
            try:
                if newest is None:
                    newest = _read(path, like)
                self._accuracies[epoch] = _comparable(json.loads((path / FACTS).read_text())["test_accuracy"])
            except Exception as error:  # whatever lies there
                useless.append(self._skip(path, _said(error)))
                self._damaged.append(path)
        if newest is None and useless:
            raise RunError(
                f"{self._directory} has nothing to go on from ({'; '.join(useless)}): "
                "put a whole checkpoint there, or begin a new run"
            )
        return newest

    def _path(self, epoch: int) -> Path:
        return self._directory / str(epoch)

    def _skip(self, path: Path, reason: str) -> str:
        self._report(f"{path} is skipped: {reason}")
        return f"{path.name}: {reason}"

    def _move_aside(self, epoch: int) -> None:
        """Make room where a damaged checkpoint lies, or whatever it is."""
        there = [path for path in {*self._damaged, self._path(epoch)} if path.exists() or path.is_symlink()]
        for path in there:
            aside = path.with_name(path.name + DAMAGED)
            _delete(aside)
            path.rename(aside)
            self._report(f"{path} is moved aside, to {aside.name}")
        self._damaged = []

    def _write(self, leaves: dict[str, np.ndarray], facts: str, epoch: int) -> None:
        """Write a checkpoint, and delete those that are no longer kept."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.glob(f"*{UNFINISHED}"):
            _delete(path)
        unfinished = self._path(epoch).with_suffix(UNFINISHED)
        try:
            unfinished.mkdir()
            (unfinished / FACTS).write_text(facts)
            _orbax().save((unfinished / STATE).absolute(), leaves)
            lines = [f"{digest}  {name}\n" for name, digest in _sums(unfinished).items()]
            (unfinished / SUMS).write_text("".join(lines))
            for path in (*unfinished.rglob("*"), unfinished):
                _bring_to_disk(path)
            if self._metrics is not None:
                _bring_to_disk(self._metrics)
            unfinished.rename(self._path(epoch))
        except BaseException:
            with suppress(OSError):
                _delete(unfinished)
            raise
        _bring_to_disk(self._directory)
        best = max(self._accuracies, key=lambda epoch: (self._accuracies[epoch], -epoch))
        for old in sorted(self._accuracies)[: -self._keep]:
            if old != best:
                del self._accuracies[old]
                going = self._path(old).rename(self._path(old).with_suffix(UNFINISHED))  # never half a checkpoint
                _delete(going)


def _on_host(state: PyTree) -> dict[str, np.ndarray]:
    """Copies of all leaves in their order, by name."""
    names = [STATE + jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    arrays = jax.device_get([jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)])
    return {name: np.array(array) for name, array in zip(names, arrays, strict=True)}


def _like(array: np.ndarray, leaf: Any) -> Any:
    """The array as the kind of thing that the leaf is."""
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(leaf))
    return jnp.array(array) if isinstance(leaf, jax.Array) else array


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _read(directory: Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """The checkpoint in `directory`. Raises an exception of any kind where it is not whole."""
    if not (directory / SUMS).is_file():
        raise ValueError(f"it has no {SUMS}")
    try:
        kept = {name: digest for digest, name in map(str.split, (directory / SUMS).read_text().splitlines())}
    except ValueError:
        raise ValueError(f"its file {SUMS} is damaged") from None
    found = _sums(directory)
    for name in sorted({*kept, *found, FACTS}):
        if name not in found:
            raise ValueError(f"its file {name} is missing")
        if kept.get(name) != found[name]:
            raise ValueError(f"its file {name} is damaged: the SHA-256 is not that in {SUMS}")
    facts = json.loads((directory / FACTS).read_text())
    if str(facts["epoch"]) != directory.name:
        raise ValueError(f"it is the checkpoint of epoch {facts['epoch']}")
    arrays, expected = _orbax().restore((directory / STATE).absolute()), _on_host(like)
    for name in dict.fromkeys((*expected, *arrays)):
        one, other = (_described(each.get(name)) for each in (arrays, expected))
        if one != other:
            raise ValueError(f"{name} is {one} in it, but {other} in this training")
    leaves, structure = jax.tree.flatten(like)
    return structure.unflatten(_like(arrays[name], leaf) for name, leaf in zip(expected, leaves, strict=True)), facts


def _comparable(test_accuracy: float) -> float:
    return -math.inf if math.isnan(test_accuracy) else test_accuracy


def _orbax() -> Any:
    """Orbax, for a process that neither waits for others nor knows of them."""
    import orbax.checkpoint as ocp

    logging.getLogger("absl").addFilter(_is_not_orbax)
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="alone"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    """Whether a line of the log is worth showing: what Orbax fails at it raises as well."""
    return "orbax" not in record.pathname


def _sums(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file in the directory and all below, but for the file of sums itself, by relative path."""
    sums = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / SUMS:
            with path.open("rb") as file:
                sums[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _described(array: np.ndarray | None) -> str:
    return "missing" if array is None else f"{array.dtype}{list(array.shape)}"


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _bring_to_disk(path: Path) -> None:
    """Return when a file, or the list of names in a directory, would survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
