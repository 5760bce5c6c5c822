"""What a command keeps of training as it goes, and how it goes on with what was kept."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_jax import arguments
from mlp_jax.runs import Checkpoints, Run, RunError
from mlp_jax.runs.run import METRICS
from mlp_jax.training import TrainState

MAY_DIFFER = ("epochs", "checkpoint_every", "tensorboard", "stream", "device")
"""Settings that a run may go on with another value of; another device may change the last bits, which is said."""


def begin(settings: arguments.Run, config: Mapping[str, Any]) -> Run:
    """A new run with these settings, or the one that they go on with, whose settings they must be.

    Raises RunError for a directory that is no place for it, where another process trains already, or whose settings
    differ; they are all named. Raises ValueError for seconds between checkpoints that cannot be.
    """
    if not 0 <= settings.checkpoint_every < math.inf:
        raise ValueError(f"--checkpoint-every is {settings.checkpoint_every}: expected seconds, 0 or more")
    if settings.resume is None:
        return Run.create(settings.out, config)
    if settings.out is not None:
        raise RunError(f"--resume {settings.resume} goes on in that directory: leave out --out")
    run = Run.open(settings.resume)
    if "checkpoint_every" not in run.config:
        raise RunError(
            f"{run.directory} was kept without checkpoints: begin a new run, or, with a member of a sweep, go on with "
            "the sweep"
        )
    _refuse_other_settings(run, config)
    return Run.resume(settings.resume)


@contextmanager
def checkpoints_of(run: Run, settings: arguments.Run) -> Iterator[Checkpoints]:
    """Where the states of a run are kept. At the end what is still being written is waited for, and the run closed."""
    metrics = run.directory / METRICS
    checkpoints = Checkpoints(
        run.directory / "checkpoints", every=settings.checkpoint_every, metrics=metrics, report=warn
    )
    try:
        yield checkpoints
    finally:
        try:
            checkpoints.finish()
        finally:
            run.close()


def last_state(
    run: Run, checkpoints: Checkpoints, start: TrainState, config: Mapping[str, Any]
) -> tuple[TrainState, list[dict[str, Any]]]:
    """The state of the last checkpoint that is whole, and the lines of metrics up to it; what came after is forgotten.

    start: the state before the first epoch, which is returned if there is no checkpoint yet.
    config: the settings to go on with, which the run's become. Raises RunError for fewer epochs than are trained.
    """
    found = checkpoints.latest(start)
    state, facts = found or (start, {})
    if "settings" in facts:  # as they were, whatever has become of config.json
        _refuse_other_settings(replace(run, config=facts["settings"]), config)
    trained, kept = int(np.max(state.epoch)), run.config
    if trained > config["epochs"]:
        raise RunError(
            f"{run.directory} has {trained} epochs behind it: ask for {trained} or more, not {config['epochs']}"
        )
    if found is None:
        warn(f"{run.directory} has no checkpoint yet: training starts at the beginning")
    others = run.other_versions()
    if kept.get("device") != config["device"]:
        others["device"] = kept.get("device"), config["device"]
    for name, (before, here) in others.items():
        warn(f"{run.directory} was begun with {name} {before}, this is {here}: numbers may differ in their last bits")
    if config["schedule"] == "cosine" and kept.get("epochs") != config["epochs"]:
        warn(
            f"the learning rate falls to 0 over {config['epochs']} epochs from here on, no longer over "
            f"{kept.get('epochs')}: the result is not that of {config['epochs']} epochs from the start"
        )
    lines = run.rewind(trained)
    run.amend(**{name: config[name] for name in MAY_DIFFER if name in config})
    return state, lines


def settings_kept(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a checkpoint remembers: a state is nothing to go on from with others."""
    return {name: value for name, value in config.items() if name not in (*MAY_DIFFER, "versions")}


@contextmanager
def whole_metrics(run: Run) -> Iterator[None]:
    """Meanwhile a number that is not in the lines of metrics, or is none, is a RunError."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.directory / METRICS} is damaged: a line lacks what training logs ({error!r})") from error


def _refuse_other_settings(run: Run, config: Mapping[str, Any]) -> None:
    """Raises RunError that lists the settings which are others than the run's."""
    differing = run.differences(config, ignore=MAY_DIFFER)
    if differing:
        listed = "; ".join(f"{name} was {before}, is to be {now}" for name, (before, now) in differing.items())
        raise RunError(f"{run.directory} has other settings ({listed}): leave those out, or begin a new run")


def warn(message: str) -> None:
    """Say something on stderr that does not stop anything."""
    print(f"mlp-jax: {message}", file=sys.stderr)
