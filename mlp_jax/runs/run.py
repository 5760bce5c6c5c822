"""A run's directory: the settings, a line of metrics an epoch, the parameters."""

import fcntl
import json
import os
import platform
import time
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from mlp_jax.network import Model, Params
from mlp_jax.runs.files import UNFINISHED, replace_file
from mlp_jax.runs.params import load_params, save_params

CONFIG, METRICS, PARAMS, LOCK = "config.json", "metrics.jsonl", "params.safetensors", "lock"


class RunError(ValueError):
    """A directory that cannot be made a run's, or is not one; the message says why."""


@dataclass(frozen=True)
class Run:
    """A directory that holds one training run.

    directory: holds config.json, metrics.jsonl, params.safetensors, and `lock` with the id of the process that trains.
    config: what is needed to run it again.
    lock: held by who trains, see `create`.

    A file that is replaced is at any moment the old one or the new one, and a process that is killed loses nothing
    it had written. After a power failure the last lines of metrics and the last parameters may be missing or old,
    but for those that a checkpoint needs.
    """

    directory: Path
    config: dict[str, Any]
    lock: "Lock | None" = field(default=None, repr=False, compare=False)

    @classmethod
    def create(cls, directory: Path | None, config: Mapping[str, Any], *, lock: bool = True) -> "Run":
        """A new run in `directory`, or in a new one under runs/ that is named after the time of day.

        config: settings that JSON can hold; the versions of what matters are added.
        lock: whether other processes are kept from training here. A run within another is kept by that one's lock.

        Raises RunError where something is in the directory already, and OSError where it cannot be made.
        """
        if directory is None:
            directory = _new_directory(Path("runs"))
        elif directory.exists() and not directory.is_dir():
            raise RunError(f"{directory} is there already and no directory: give --out a new directory")
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / CONFIG).is_file() and (directory / LOCK).is_file():
            Lock(directory).release()  # says so where somebody is training there
        _refuse_what_is_there(directory)
        held = Lock(directory) if lock else None
        _refuse_what_is_there(directory)  # another process may have come between looking and locking, and be gone
        run = cls(directory, {**config, "versions": _versions()}, held)
        replace_file(directory / CONFIG, _as_text(run.config), lasting=True)
        (directory / METRICS).touch()
        return run

    @classmethod
    def open(cls, directory: Path) -> "Run":
        """The run that was kept in `directory`. Raises RunError where there is none."""
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
        """The run that was kept in `directory`, to go on with. Raises RunError where none is, or where one goes on."""
        cls.open(directory)  # no lock is left in a directory that is no run
        lock = Lock(directory)
        return replace(cls.open(directory), lock=lock)

    def differences(self, config: Mapping[str, Any], ignore: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
        """The settings that were others when the run began, by name: the one kept, the one given.

        ignore: names of settings that may differ. Versions are none: see `other_versions`.

        A setting that one side does not have is None there.
        """
        given = json.loads(json.dumps(dict(config)))
        names = dict.fromkeys((*self.config, *given))
        return {
            name: (self.config.get(name), given.get(name))
            for name in names
            if name not in {*ignore, "versions"} and self.config.get(name) != given.get(name)
        }

    def other_versions(self) -> dict[str, tuple[str | None, str]]:
        """What is installed in another version than when the run began, by name: that version, the one installed."""
        kept = self.config.get("versions")
        kept = kept if isinstance(kept, dict) else {}
        return {name: (kept.get(name), here) for name, here in _versions().items() if kept.get(name) != here}

    def amend(self, **settings: Any) -> None:
        """Keep these settings in place of those of the same name."""
        self.config.update(json.loads(json.dumps(settings)))
        replace_file(self.directory / CONFIG, _as_text(self.config), lasting=True)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl, whole. Raises OSError where it cannot be written."""
        line = (json.dumps(metrics) + "\n").encode()
        with (self.directory / METRICS).open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(f"{self.directory / METRICS} has room for a part of a line only: is the disk full?")

    def rewind(self, epoch: int) -> list[dict[str, Any]]:
        """Cut metrics.jsonl back to the lines of epochs 1 to `epoch`, which are returned.

        Raises RunError where one of these is missing, is of another epoch or is no line of metrics.
        """
        path = self.directory / METRICS
        content = path.read_bytes() if path.exists() else b""
        *lines, _ = content.split(b"\n")  # what follows the last line break is no whole line
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
        """Let other processes train here, as the end of this one does too, whatever ends it."""
        if self.lock is not None:
            self.lock.release()

    def save(self, params: Params, model: Model | None = None) -> None:
        """Keep these parameters in place of any before; see `save_params`."""
        save_params(self.directory / PARAMS, params, model)

    def load(self) -> Params:
        """The parameters kept last. Raises RunError where there are none."""
        if not (self.directory / PARAMS).is_file():
            raise RunError(f"{self.directory} has no {PARAMS}: no parameters were kept")
        return load_params(self.directory / PARAMS)


class Lock:
    """The right of one process to train in a directory, until it is released, forgotten, or the process ends.

    Raises RunError where another process has it, which is named.
    """

    def __init__(self, directory: Path):
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        self.release = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which the kernel undoes when the process is gone
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode().strip() or "that has just begun"
            self.release()
            raise RunError(f"process {holder} is training in {directory}: wait for it, or stop it") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _refuse_what_is_there(directory: Path) -> None:
    """Raise RunError where more is in the directory than what a process leaves that is killed as it makes a run."""
    if any(path.name not in (LOCK, CONFIG + UNFINISHED) for path in directory.iterdir()):
        raise RunError(f"{directory} is there already and not empty: give --out a new directory")


def _versions() -> dict[str, str]:
    names = ("mlp_jax", "jax", "jaxlib", "optax", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _as_text(config: Mapping[str, Any]) -> bytes:
    return (json.dumps(config, indent=2) + "\n").encode()


def _new_directory(parent: Path) -> Path:
    """A directory under `parent` that was not there before."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        directory = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        return directory
    raise RunError(f"{parent} holds a thousand runs of this very second: give --out a new directory")
