"""Checkpoints: the state of training after an epoch, on the disk, to resume from."""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import safe_open
from safetensors.numpy import load_file, save

from mlp_jax.runs.files import UNFINISHED, replace_file, sync
from mlp_jax.runs.run import RunError

DOCUMENT = "checkpoint"
"""The only key of the file's metadata: safetensors writes several in random order."""
SUFFIX, DAMAGED = ".safetensors", ".damaged"
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'sha256\\": \\"([0-9a-f]{64})\\"')
INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
NATIVE = {"bool", "bfloat16", "float16", "float32", "float64"} | INTEGERS
"""The dtypes that every safetensors reads into NumPy arrays; arrays of any other are kept as their bytes."""


class Checkpoints:
    """The checkpoints of one run: the last few, and the best by score.

    directory: holds EPOCH.safetensors for each checkpoint: the arrays, named like state.params[0].weights, and in the
        metadata the facts and the SHA-256 of the file.
    every: seconds between two checkpoints at least, 0 or more; with 0, every epoch gets one. keep: how many of the last
        are kept, 1 or more. Others raise ValueError.
    metrics: a file that is brought to the disk before each checkpoint, so that no checkpoint is ahead of it.
    report: called with a line for each file that is skipped or moved aside, in the caller's thread.

    A thread writes each checkpoint beside the others, brings it to the disk and renames it; only then is an older one
    deleted. If the process is killed or the power fails, the checkpoints before remain. Of several processes only the
    first has this object.

    >>> import tempfile
    >>> from mlp_jax import TrainState, init_params, make_optimizer
    >>> from mlp_jax.runs import Checkpoints
    >>> state = TrainState.start(init_params(jax.random.key(0), (2, 3, 1)), make_optimizer())
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoints = Checkpoints(Path(directory))
    ...     checkpoints.save(state=state, epoch=4, score=0.9)
    ...     checkpoints.finish()
    ...     print(sorted(path.name for path in Path(directory).iterdir()))
    ['4.safetensors']
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
            raise ValueError(f"every is {every}: expected the seconds between two checkpoints, 0 or more")
        if keep < 1:
            raise ValueError(f"keep is {keep}: expected how many checkpoints are kept, 1 or more")
        self._directory, self._every, self._keep, self._metrics, self._report = directory, every, keep, metrics, report
        self._scores: dict[int, float] = {}  # by epoch, of the checkpoints that are there
        self._damaged: list[Path] = []
        self._due = -math.inf
        self._pending: tuple[int, Future[None]] | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoints")

    def due(self) -> bool:
        """Whether it is time for a checkpoint: not while one is being written, unless every epoch is to have one."""
        writing = self._pending is not None and not self._pending[1].done()
        return time.monotonic() >= self._due and (self._every == 0 or not writing)

    def save(self, state: PyTree, *, epoch: int, score: float, facts: Mapping[str, Any] | None = None) -> None:
        """Keep the state after `epoch`: copied when this returns, on the disk soon after.

        state: any pytree of arrays, typed random keys among them. It may be donated afterwards.
        score: of the state; the best has the highest, and the earliest of equal ones. NaN is never the best.
        facts: anything else to know about the state that JSON can hold.

        Waits for the checkpoint before. An epoch that has a checkpoint keeps it. Raises OSError if the one before
        could not be written, ValueError or TypeError if JSON cannot hold the facts.
        """
        self.finish()
        if epoch in self._scores:
            return
        document = {"sha256": NO_DIGEST.decode(), "facts": {"epoch": epoch, "score": score, **(facts or {})}}
        json.dumps(document)  # raises here and not in the thread
        while self._damaged:
            path = self._damaged.pop(0)
            aside = path.rename(path.with_name(path.name + DAMAGED))
            self._report(f"{path} is moved aside, to {aside.name}")
        self._scores[epoch] = score
        self._pending = epoch, self._writer.submit(self._write, epoch, _on_host(state), document)
        self._due = time.monotonic() + self._every

    def finish(self) -> None:
        """Wait until the checkpoint that is being written is on the disk; a process that ends without it may lose that.

        Raises OSError if the checkpoint could not be written.
        """
        if self._pending is None:
            return
        (epoch, written), self._pending = self._pending, None
        try:
            written.result()
        except Exception as error:
            del self._scores[epoch]
            raise OSError(f"epoch {epoch} has no checkpoint: {_first_line(error)}") from error

    def latest(self, like: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
        """The state and the facts of the newest undamaged checkpoint, or None if there never was a checkpoint.

        A checkpoint is undamaged if the file has its SHA-256 and its arrays have the names, shapes and dtypes of the
        state `like`. All others are reported, skipped, and moved aside when the next one is saved. Raises RunError if
        there are files but no undamaged checkpoint, because training would silently start afresh, and OSError if the
        directory cannot be read.
        """
        self.finish()
        self._scores, self._damaged = {}, []
        if not self._directory.exists():
            return None
        epochs, useless = [], []
        for path in sorted(self._directory.iterdir()):
            name = re.fullmatch(rf"(0|[1-9][0-9]*){SUFFIX}({UNFINISHED}|{DAMAGED})?", path.name)
            if name is None:
                useless.append(self._skip(path, "it is no checkpoint"))
            elif name[2] == DAMAGED:
                useless.append(f"{path.name}: it was moved aside")
            elif name[2] == UNFINISHED:  # nothing is lost: the process was killed before this checkpoint counted
                self._skip(path, "it was being written when the process ended")
            else:
                epochs.append(int(name[1]))
        newest = None
        for epoch in sorted(epochs, reverse=True):
            path = self._path(epoch)
            try:
                facts = _document(path)["facts"]
                if facts["epoch"] != epoch:
                    raise ValueError(f"it is the checkpoint of epoch {facts['epoch']}")
                if newest is None:
                    newest = _read(path, like), facts
                self._scores[epoch] = float(facts["score"])
            except Exception as error:  # anything may lie there
                useless.append(self._skip(path, _first_line(error)))
                self._damaged.append(path)
        if newest is None and useless:
            raise RunError(
                f"{self._directory} has no checkpoint to resume from ({'; '.join(useless)}): "
                "put an undamaged one there, or begin a new run"
            )
        return newest

    def _path(self, epoch: int) -> Path:
        return self._directory / f"{epoch}{SUFFIX}"

    def _skip(self, path: Path, reason: str) -> str:
        self._report(f"{path} is skipped: {reason}")
        return f"{path.name}: {reason}"

    def _write(self, epoch: int, arrays: dict[str, np.ndarray], document: dict[str, Any]) -> None:
        """Write a checkpoint, and delete those that are no longer kept."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.glob(f"*{UNFINISHED}"):
            path.unlink()
        if self._metrics is not None:
            sync(self._metrics)
        replace_file(self._path(epoch), _encoded(arrays, document), lasting=True)
        epochs = sorted(self._scores)
        best = max(epochs, key=lambda epoch: -math.inf if math.isnan(self._scores[epoch]) else self._scores[epoch])
        for old in epochs[: -self._keep]:
            if old != best:
                del self._scores[old]
                self._path(old).unlink()


def _on_host(state: PyTree) -> dict[str, np.ndarray]:
    """Copies of all leaves in their order, by name, as safetensors needs them: in C order."""
    names = ["state" + jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    arrays = jax.device_get([jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)])
    return {name: np.array(array, order="C") for name, array in zip(names, arrays, strict=True)}


def _like(array: np.ndarray, leaf: Any) -> Any:
    """The array as the same kind of array as the leaf: of NumPy, of JAX, or typed random keys."""
    if not isinstance(leaf, jax.Array):
        return array
    copied = jax.device_put(array, may_alias=False)  # jnp.array would compile a program for each shape
    return jax.random.wrap_key_data(copied, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else copied


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _encoded(arrays: dict[str, np.ndarray], document: dict[str, Any]) -> bytearray:
    """The content of a checkpoint's file, with its SHA-256 in the place of the document's NO_DIGEST."""
    others = {name: array for name, array in arrays.items() if array.dtype.name not in NATIVE}
    document = document | {"as_bytes": {name: (array.dtype.name, array.shape) for name, array in others.items()}}
    kept = arrays | {name: array.reshape(-1).view(np.uint8) for name, array in others.items()}
    content = bytearray(save(kept, {DOCUMENT: json.dumps(document)}))
    start = content.index(NO_DIGEST)
    content[start : start + len(NO_DIGEST)] = _digest(content, start)
    return content


def _digest(content: bytes | bytearray, start: int) -> bytes:
    """The SHA-256, in hexadecimal, of the content with NO_DIGEST from `start` on."""
    view, digest = memoryview(content), hashlib.sha256()
    for part in (view[:start], NO_DIGEST, view[start + len(NO_DIGEST) :]):
        digest.update(part)
    return digest.hexdigest().encode()


def _document(path: Path) -> dict[str, Any]:
    """The metadata of a file. Raises an exception of any kind if it is no checkpoint, or damaged."""
    if not path.is_file():
        raise ValueError("it is no file")
    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    if DOCUMENT not in metadata:
        raise ValueError("it is no checkpoint")
    return json.loads(metadata[DOCUMENT])


def _read(path: Path, like: PyTree) -> PyTree:
    """The state in a file. Raises an exception of any kind if it is damaged, or the state of another training."""
    content = path.read_bytes()
    digest = DIGEST.search(content)
    if digest is None or _digest(content, digest.start(1)) != digest[1]:
        raise ValueError("it is damaged: its SHA-256 is not the one kept in it")
    arrays = load_file(path)
    for name, (dtype, shape) in _document(path)["as_bytes"].items():
        arrays[name] = arrays[name].view(jnp.dtype(dtype)).reshape(shape)
    expected = _on_host(like)
    for name in dict.fromkeys((*expected, *sorted(arrays))):
        one, other = (_described(each.get(name)) for each in (arrays, expected))
        if one != other:
            raise ValueError(f"{name} is {one} in it, but {other} in this training")
    leaves, structure = jax.tree.flatten(like)
    return structure.unflatten(_like(arrays[name], leaf) for name, leaf in zip(expected, leaves, strict=True))


def _described(array: np.ndarray | None) -> str:
    return "missing" if array is None else f"{array.dtype}{list(array.shape)}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
