"""What a command keeps of training as it goes, how it goes on with what was kept, and how it ends."""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax import arguments
from mlp_jax.commands.interrupts import interrupts_remembered
from mlp_jax.data import Dataset
from mlp_jax.runs import Checkpoints, Run, RunError
from mlp_jax.runs.run import METRICS
from mlp_jax.training import DivergenceError, TrainState

MAY_DIFFER = ("epochs", "checkpoint_every", "tensorboard", "stream", "device")
"""Settings that a run may go on with another value of; another device may change the last bits, which is said."""
ADDED = {"preset": "lesson", "standard_normal": False, "shift": 0, "validation": 0}
"""Settings that runs of earlier versions lack, and what they were then."""


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


def data_settings(data: str, dataset: Dataset) -> dict[str, str]:
    """What a run's settings say of its data: where they are, from any directory, and what tells them from others.

    The latter is the SHA-256 of all labels, the test images and every 60th of the others: all would take too long.
    """
    digest = hashlib.sha256()
    for array in (dataset.train_labels, dataset.train_images[::60], dataset.test_labels, dataset.test_images):
        digest.update(array.tobytes())
    named = data == "mnist" or data.startswith("tfds:")
    return {"data": data if named else os.path.abspath(data), "data_sha256": digest.hexdigest()}


@dataclass
class Keeper:
    """Keeps the states of a run while a network is trained, and knows how that ended; `keeping` makes one.

    run, checkpoints: None in a process that keeps nothing, but stops with the others. config: the run's settings.
    interrupted: returns the number of the signal that is to end training, the same in all processes, or 0.
    status: the exit status that training ends with.
    last: the state after the last epoch that was trained here, and what is known of it. best: of the best of all.
    """

    run: Run | None
    checkpoints: Checkpoints | None
    config: Mapping[str, Any]
    interrupted: Callable[[], int]
    status: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=lambda: {"test_accuracy": -math.inf})

    def last_state(self, start: TrainState) -> tuple[TrainState, list[dict[str, Any]]]:
        """The state of the last checkpoint that is whole, and the metrics up to it; what came after is forgotten.

        start: the state before the first epoch, which is returned if there is no checkpoint yet, or nothing is kept.

        The run's settings become those to go on with. Raises RunError for others than those of the checkpoint, and for
        fewer epochs than are trained.
        """
        run, config = self.run, self.config
        if run is None or self.checkpoints is None:
            return start, []
        found = self.checkpoints.latest(start)
        state, facts = found or (start, {})
        if "settings" in facts:  # as they were, whatever has become of config.json
            _refuse_other_settings(replace(run, config=facts["settings"]), config)
        trained = int(np.max(state.epoch))
        if trained > config["epochs"]:
            raise RunError(
                f"{run.directory} has {trained} epochs behind it: ask for {trained} or more, not {config['epochs']}"
            )
        if found is None:
            warn(f"{run.directory} has no checkpoint yet: training starts at the beginning")
        _say_what_differs(run, config)
        lines = run.rewind(trained)
        run.amend(**{name: config[name] for name in MAY_DIFFER if name in config})
        self.best = facts.get("best", self.best)
        return state, lines

    def after_epoch(self, state: TrainState, epoch: int, test_accuracy: float, **more: Any) -> bool:
        """Keep a checkpoint if one is due. Returns whether a signal is to end training here.

        test_accuracy: the highest, where there are several networks. more: what else to know if this is the best epoch.
        """
        stopped = self.interrupted()
        self.status = 128 + stopped if stopped else 0
        self.last = {"state": state, "epoch": epoch, "test_accuracy": test_accuracy}
        if test_accuracy > self.best["test_accuracy"]:
            self.best = {"epoch": epoch, "test_accuracy": test_accuracy, **more}
        if self.checkpoints and self.checkpoints.due():
            self.save()
        return stopped > 0

    def save(self) -> None:
        """Keep the state after the last epoch, if any was trained here, unless it is kept already."""
        if self.checkpoints and self.last:
            # A state is nothing to go on from with other settings.
            settings = {name: value for name, value in self.config.items() if name not in MAY_DIFFER}
            self.checkpoints.save(**self.last, facts={"best": self.best, "settings": settings})


@contextmanager
def keeping(
    settings: arguments.Run,
    config: Mapping[str, Any],
    run: Run | None,
    most: Callable[[int], int] = lambda number: number,
) -> Iterator[Keeper]:
    """Where a network is trained; what is then still being written is waited for, and the run closed, whatever ends it.

    A signal ends it after an epoch, and divergence without an error; both keep the last good state.

    run: None in all processes but the first. most: the highest of all processes' numbers.
    """
    checkpoints = None
    with ExitStack() as ending:
        if run:
            ending.callback(run.close)
            checkpoints = Checkpoints(
                run.directory / "checkpoints", config["checkpoint_every"], metrics=run.directory / METRICS, report=warn
            )
            ending.callback(checkpoints.finish)
        interrupted = ending.enter_context(interrupts_remembered())
        keeper = Keeper(run, checkpoints, config, lambda: most(interrupted()))
        try:
            yield keeper
        except DivergenceError as error:
            keeper.status = 1
            if run:
                warn(str(error))
        keeper.save()
    if run and keeper.status > 1 and (epoch := keeper.last["epoch"]) < config["epochs"]:
        command = type(settings).__name__.lower()
        warn(f"stopped after epoch {epoch}; mlp-jax {command} --resume {run.directory} goes on")


@contextmanager
def whole_metrics(directory: Path) -> Iterator[None]:
    """Meanwhile a number that is not in the run's lines of metrics, or is none, is a RunError."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{directory / METRICS} is damaged: a line lacks what training logs ({error!r})") from error


def _refuse_other_settings(run: Run, config: Mapping[str, Any]) -> None:
    """Raises RunError that lists the settings which are others than the run's."""
    of_old = {name: value for name, value in ADDED.items() if name not in run.config}
    differing = replace(run, config=run.config | of_old).differences(config, ignore=MAY_DIFFER)
    if differing:
        listed = "; ".join(f"{name} was {before}, is to be {now}" for name, (before, now) in differing.items())
        raise RunError(f"{run.directory} has other settings ({listed}): leave those out, or begin a new run")


def _say_what_differs(run: Run, config: Mapping[str, Any]) -> None:
    """What may make the numbers others than those of training that never stopped."""
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
