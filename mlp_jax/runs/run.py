"""The directory of a run: its settings, one line of metrics per epoch, and its parameters."""

import json
import os
import platform
import time
import weakref
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlp_jax.data.preprocessing import Preprocessing
from mlp_jax.network import Model, Params
from mlp_jax.runs.files import UNFINISHED, replace_file
from mlp_jax.runs.params import load_params, load_preprocessing, save_params

CONFIG, METRICS, PARAMS = "config.json", "metrics.jsonl", "params.safetensors"
LOCK, HOLDER = ".lock", "lock"
"""A file that the process that trains holds locked, and one with the number of that process."""


class RunError(ValueError):
    """A directory that is no run, or cannot become one; the message says why.

    >>> from mlp_jax.runs import Run, RunError
    >>> try:
    ...     Run.open(Path("nowhere"))
    ... except RunError as error:
    ...     print(error)
    nowhere is no run: there is no config.json in it; mlp-jax train makes runs
    """


@dataclass(frozen=True)
class Run:
    """A directory that holds one training run.

    directory: holds config.json, metrics.jsonl, params.safetensors, and `lock` with the number of the process that
        trains.
    config: the settings that repeat the run, and the versions it began with.
    lock: held by the process that trains; None for reading.

    Files are replaced in one step, and a killed process loses nothing that it had written. After a power failure the
    last metrics and parameters may be missing or old, except for the metrics that a checkpoint needs.

    >>> import tempfile
    >>> from mlp_jax.runs import Run
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     run = Run.create(Path(directory, "first"), {"data": "mnist", "sizes": [784, 16, 10]})
    ...     run.log({"epoch": 1, "loss": 0.5})
    ...     run.close()
    ...     Run.open(Path(directory, "first")).config["sizes"]
    [784, 16, 10]
    """

    directory: Path
    config: dict[str, Any]
    lock: "Lock | None" = field(default=None, repr=False, compare=False)

    @classmethod
    def create(cls, directory: Path | None, config: Mapping[str, Any], *, lock: bool = True) -> "Run":
        """A new run in `directory`, or in a new one under runs/ that is named after the time.

        config: settings that JSON can hold; the versions of Python and the main packages are added.
        lock: whether to keep other processes from training here. A run inside another is protected by the outer lock.

        Raises RunError if the directory is not empty, and OSError if it cannot be made.
        """
        if directory is None:
            directory = _new_directory(Path("runs"))
        elif directory.exists() and not directory.is_dir():
            raise RunError(f"{directory} is there already and no directory: give --out a new directory")
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / CONFIG).is_file() and (directory / LOCK).is_file():
            Lock(directory).release()  # raises if another process is training there
        _refuse_files(directory)
        held = Lock(directory) if lock else None
        _refuse_files(directory)  # again: another process may have made a run before this one had the lock
        run = cls(directory, {}, held)
        run.amend(**{**config, "versions": _versions()})
        (directory / METRICS).touch()
        return run

    @classmethod
    def open(cls, directory: Path) -> "Run":
        """The run in `directory`, for reading. Raises RunError if there is none."""
        if not (directory / CONFIG).is_file():
            raise RunError(f"{directory} is no run: there is no {CONFIG} in it; mlp-jax train makes runs")
        try:
            config = json.loads((directory / CONFIG).read_text())
        except ValueError as error:
            raise RunError(f"{directory / CONFIG} is damaged: {error}") from error
        if not isinstance(config, dict):
            raise RunError(f"{directory / CONFIG} holds no settings: expected a JSON object")
        return cls(directory, config)

    @classmethod
    def resume(cls, directory: Path) -> "Run":
        """The run in `directory`, to train on. RunError if there is none, if it is locked, or if 0.1 began it."""
        _refuse_old(cls.open(directory))  # before locking, which would leave a file in a directory that is no run
        lock = Lock(directory)
        return replace(cls.open(directory), lock=lock)

    def differences(self, config: Mapping[str, Any], ignore: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
        """The settings that differ from those of the run, by name: (the run's, the given one); None if missing.

        ignore: names of settings that may differ. Versions are not compared: see `other_versions`.
        """
        given = json.loads(json.dumps(dict(config)))
        pairs = {name: (self.config.get(name), given.get(name)) for name in {**self.config, **given}}
        return {name: pair for name, pair in pairs.items() if name not in {*ignore, "versions"} and pair[0] != pair[1]}

    def other_versions(self) -> dict[str, tuple[str | None, str]]:
        """The packages whose version has changed since the run began, by name: (version then, version installed)."""
        kept = self.config.get("versions")
        kept = kept if isinstance(kept, dict) else {}
        return {name: (kept.get(name), here) for name, here in _versions().items() if kept.get(name) != here}

    def amend(self, **settings: Any) -> None:
        """Replace the settings of these names in config.json, or add them."""
        self.config.update(json.loads(json.dumps(settings)))
        content = json.dumps(self.config, indent=2) + "\n"
        replace_file(self.directory / CONFIG, content.encode(), lasting=True)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl. Raises OSError if it cannot be written completely."""
        line = (json.dumps(metrics) + "\n").encode()
        with (self.directory / METRICS).open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(f"{self.directory / METRICS} could take only a part of a line: is the disk full?")

    def lines(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that are whole and undamaged, none if it is missing."""
        path, found = self.directory / METRICS, []
        for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else ():
            with suppress(ValueError, RecursionError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def rewind(self, epoch: int) -> list[dict[str, Any]]:
        """Cut metrics.jsonl back to epochs 1 to `epoch`, and return them. RunError if one is missing or damaged."""
        path = self.directory / METRICS
        content = path.read_bytes() if path.exists() else b""
        *lines, _ = content.split(b"\n")  # after the last line break there is at most a part of a line
        kept = []
        for number in range(1, epoch + 1):
            if number > len(lines):
                raise RunError(f"{path} has no line for epoch {number}, but the checkpoint is of epoch {epoch}")
            try:
                metrics = json.loads(lines[number - 1])
            except (ValueError, RecursionError) as error:
                raise RunError(f"{path}, line {number} is damaged: {error}") from error
            if not isinstance(metrics, dict) or metrics.get("epoch") != number:
                found = f"epoch {metrics.get('epoch')}" if isinstance(metrics, dict) else "no metrics"
                raise RunError(f"{path}, line {number} is of {found}: expected epoch {number}")
            kept.append(metrics)
        whole = b"".join(line + b"\n" for line in lines[:epoch])
        if whole != content:
            replace_file(path, whole, lasting=True)
        return kept

    def close(self) -> None:
        """Let other processes train here. The end of this process, whatever ends it, does the same."""
        if self.lock is not None:
            self.lock.release()

    def save(self, params: Params, model: Model | None = None, preprocessing: Preprocessing | None = None) -> None:
        """Write the parameters to params.safetensors; see `save_params`."""
        save_params(self.directory / PARAMS, params, model, preprocessing)

    def load(self) -> Params:
        """The parameters written last. Raises RunError if there are none."""
        if not (self.directory / PARAMS).is_file():
            raise RunError(f"{self.directory} has no {PARAMS}: no parameters were kept")
        return load_params(self.directory / PARAMS)

    def preprocessing(self) -> Preprocessing | None:
        """How the inputs of its network are made, if of a table or of pictures; see `load_preprocessing`."""
        return load_preprocessing(self.directory / PARAMS)


class Lock:
    """The right of one process to train in a directory: until released, garbage collected, or the process ends.

    Raises RunError, which names the other process, if one holds the lock.
    """

    def __init__(self, directory: Path):
        held = FileLock(directory / LOCK, mode=0o666, thread_local=False)  # the end of the process releases it
        try:
            held.acquire(blocking=False)
        except Timeout:
            holder = directory / HOLDER
            number = holder.read_text(errors="replace").strip()[:20] if holder.is_file() else ""
            what = f"process {number or 'that has just begun'} is training in {directory}"
            raise RunError(f"{what}: wait for it, or stop it") from None
        self.release = weakref.finalize(self, held.release, force=True)
        (directory / HOLDER).write_text(f"{os.getpid()}\n")


def _refuse_files(directory: Path) -> None:
    """Raise RunError if there are files, except those that a process leaves if it is killed as it makes a run."""
    if any(path.name not in (LOCK, HOLDER, CONFIG + UNFINISHED) for path in directory.iterdir()):
        raise RunError(f"{directory} is there already and not empty: give --out a new directory")


def _refuse_old(run: Run) -> None:
    """Raise RunError for a run of mlp_jax 0.1, which kept a directory for each checkpoint, written by Orbax."""
    began, _ = run.other_versions().get("mlp_jax", (None, ""))
    kept = any(path.name.isdecimal() and path.is_dir() for path in run.directory.glob("checkpoints/*"))
    if kept or str(began).startswith("0.1."):
        raise RunError(
            f"{run.directory} was kept by mlp_jax 0.1, whose checkpoints 0.2 cannot read: begin a new run, or go on "
            "with 0.1"
        )


def _versions() -> dict[str, str]:
    names = ("mlp_jax", "jax", "jaxlib", "optax", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _new_directory(parent: Path) -> Path:
    """A new directory under `parent`, named after the time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        directory = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            with suppress(FileExistsError):
                directory.mkdir(parents=True)
                return directory
        except OSError as error:
            raise OSError(f"{directory} cannot be made ({error.strerror}): give --out a directory elsewhere") from error
    raise RunError(f"{parent} has 999 runs of this second: give --out a new directory")
