"""A run's directory: the settings, a line of metrics an epoch, the parameters."""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mlp_jax.network import Params
from mlp_jax.runs.params import load_params, save_params

CONFIG, METRICS, PARAMS = "config.json", "metrics.jsonl", "params.safetensors"


class RunError(ValueError):
    """A directory that cannot be made a run's, or is not one; the message says why."""


@dataclass(frozen=True)
class Run:
    """A directory that holds one training run.

    directory: holds config.json, metrics.jsonl and params.safetensors.
    config: what is needed to run it again.
    """

    directory: Path
    config: Mapping[str, Any]

    @classmethod
    def create(cls, directory: Path | None, config: Mapping[str, Any]) -> "Run":
        """A new run in `directory`, or in a new one under runs/ that is named after the time of day.

        config: settings that JSON can hold; the versions of what matters are added. Raises RunError where something
        is in the directory already, and OSError where it cannot be made.
        """
        if directory is None:
            directory = _new_directory(Path("runs"))
        elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise RunError(f"{directory} is there already and not empty: give --out a new directory")
        else:
            directory.mkdir(parents=True, exist_ok=True)
        versions = {name: metadata.version(name) for name in ("mlp_jax", "jax", "jaxlib", "optax", "numpy")}
        config = {**config, "versions": {"python": platform.python_version(), **versions}}
        (directory / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (directory / METRICS).touch()
        return cls(directory, config)

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

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        with (self.directory / METRICS).open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def save(self, params: Params) -> None:
        """Keep these parameters in place of any before."""
        save_params(self.directory / PARAMS, params)

    def load(self) -> Params:
        """The parameters kept last. Raises RunError where there are none."""
        if not (self.directory / PARAMS).is_file():
            raise RunError(f"{self.directory} has no {PARAMS}: no parameters were kept")
        return load_params(self.directory / PARAMS)


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
