"""A new run, or an earlier one that is resumed: which settings it has, and which it must have."""

import hashlib
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_jax.config import Training, command_of
from mlp_jax.data import Dataset
from mlp_jax.runs import Checkpoints, Run, RunError
from mlp_jax.runs.run import METRICS
from mlp_jax.training import TrainState, with_rates_of

MAY_DIFFER = ("epochs", "checkpoint_every", "tensorboard", "stream", "device")
"""Settings that may change when a run is resumed; another device may change the last bits, which is said."""

WITHOUT_CHECKPOINT = 10
"""Seconds that the first checkpoint may take to reach the disk."""


def begin(settings: Training, config: Mapping[str, Any]) -> Run:
    """A new run with these settings, or the one to resume, which must have them.

    Raises RunError for a directory that cannot hold a run, in which another process trains, or whose settings differ:
    all of them are named. Raises ValueError for seconds between checkpoints that cannot be.
    """
    if not 0 <= settings.checkpoint_every < math.inf:
        raise ValueError(f"--checkpoint-every is {settings.checkpoint_every}: expected seconds, 0 or more")
    if settings.resume is None:
        return Run.create(settings.out, config)
    if settings.out is not None:
        raise RunError(f"--resume {settings.resume} continues in that directory: leave out --out")
    run = Run.resume(settings.resume)
    if "checkpoint_every" not in run.config:
        raise RunError(
            f"{run.directory} has no checkpoints: begin a new run, or resume the sweep that this network belongs to"
        )
    _refuse_other_settings(run, config)
    return run


def data_settings(data: str, dataset: Dataset, test_file: str | None) -> dict[str, str]:
    """What a run's settings say of its data: where they are, from any directory, their kind, and a digest.

    The digest is the SHA-256 of all targets, weights and test inputs, and of every 60th training input: all would take
    too long.
    """
    named = data == "mnist" or data.startswith("tfds:")
    train, test = dataset.train, dataset.test
    digest = sha256(train.targets, train.weights, train.inputs[::60], test.targets, test.weights, test.inputs)
    where = data if named else os.path.abspath(data)
    kind = "classes" if dataset.has_classes else "numbers"
    about = {"data": where, "data_sha256": digest, "inputs": train.inputs.dtype.name, "targets": kind}
    return about if test_file is None else about | {"test": os.path.abspath(test_file)}


def sha256(*arrays: np.ndarray | None) -> str:
    """The SHA-256 of the bytes of arrays, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def last_state(
    run: Run, checkpoints: Checkpoints, config: Mapping[str, Any], start: TrainState, needed: tuple[str, ...]
) -> tuple[TrainState, list[dict[str, Any]], dict[str, Any]]:
    """The state of the last undamaged checkpoint, the metrics up to it, and its facts; what came after is forgotten.

    start: the state before the first epoch, which is returned if there is no checkpoint yet. Its rates are used.
    needed: what every line of metrics must have, see `check_lines`.

    The run's settings become those to continue with. Raises RunError for other settings than those of the checkpoint,
    for fewer epochs than are trained, for missing or damaged metrics, and if starting over would overwrite a finished
    run, or more than what is trained between two checkpoints.
    """
    state, facts = checkpoints.latest(start) or (start, {})
    if "settings" in facts:  # as they were, whatever has become of config.json
        _refuse_other_settings(replace(run, config=facts["settings"]), config)
    trained = int(np.max(state.epoch))
    if trained > config["epochs"]:
        raise RunError(
            f"{run.directory} has {trained} epochs behind it: ask for {trained} or more, not {config['epochs']}"
        )
    if not facts:
        _refuse_to_start_over(run, config)
        warn(f"{run.directory} has no checkpoint yet: training starts at the beginning")
    try:
        lines = run.rewind(trained)
    except RunError as error:
        raise RunError(f"{error}; {_way_out(run)}") from error
    check_lines(run, lines, needed)
    _say_what_differs(run, config)
    run.amend(**{name: config[name] for name in MAY_DIFFER if name in config})
    return with_rates_of(state, start), lines, facts


def _refuse_to_start_over(run: Run, config: Mapping[str, Any]) -> None:
    """Raises RunError for a run that is finished, or has trained for longer than a run does without a checkpoint."""
    lines = run.lines()
    seconds = sum(line["seconds"] for line in lines[1:] if isinstance(line.get("seconds"), int | float))
    epochs = [config.get("epochs"), run.config.get("epochs"), config.get("patience")]  # training ends after so many
    finished = len(lines) >= min(number for number in epochs if isinstance(number, int))
    if finished or seconds > WITHOUT_CHECKPOINT + 2 * config["checkpoint_every"]:
        raise RunError(
            f"{run.directory} has {len(lines)} epochs behind it and no checkpoint to resume from, and starting over "
            f"would overwrite them; {_way_out(run)}"
        )


def _way_out(run: Run) -> str:
    """What can be done with a run that cannot be resumed."""
    command = command_of(run.config)
    again = f": {command} --out NEW_DIR" if command else ""
    return f"evaluate, predict and report still take its parameters; to train again, begin a new run{again}"


def check_lines(run: Run, lines: list[dict[str, Any]], needed: tuple[str, ...]) -> None:
    """Raises RunError unless every line of a run's metrics has numbers, or None, of these names."""
    for line in lines:
        wrong = [name for name in needed if not isinstance(line.get(name, ""), int | float | None)]
        if wrong:
            raise RunError(
                f"{run.directory / METRICS} is damaged: the line of epoch {line['epoch']} has no {', '.join(wrong)}"
            )


def _refuse_other_settings(run: Run, config: Mapping[str, Any]) -> None:
    """Raises RunError that lists the settings which are others than the run's."""
    differing = run.differences(config, ignore=MAY_DIFFER)
    if differing:
        listed = "; ".join(f"{name} was {before}, is to be {now}" for name, (before, now) in differing.items())
        raise RunError(f"{run.directory} has other settings ({listed}): leave those out, or begin a new run")


def _say_what_differs(run: Run, config: Mapping[str, Any]) -> None:
    """What may make the numbers others than those of training that was never interrupted."""
    others = run.other_versions()
    if run.config.get("device") != config["device"]:
        others["device"] = run.config.get("device"), config["device"]
    for name, (before, here) in others.items():
        warn(f"{run.directory} was begun with {name} {before}, this is {here}: numbers may differ in their last bits")
    before, here = run.config.get("epochs"), config["epochs"]
    if config["schedule"] == "cosine" and before != here:
        warn(
            f"the learning rate falls to 0 over {here} epochs from here on, no longer over {before}: the result is not "
            f"that of {here} epochs from the start"
        )


def warn(message: str) -> None:
    """Say something on stderr that does not stop anything."""
    print(f"mlp-jax: {message}", file=sys.stderr)
