"""What `train` and `sweep` share: lines of metrics, checkpoints, and how training ended."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlp_jax.commands.interrupts import interrupts_remembered
from mlp_jax.commands.resume import MAY_DIFFER, last_state, warn
from mlp_jax.config import Training
from mlp_jax.runs import Checkpoints, Run
from mlp_jax.runs.files import quoted
from mlp_jax.runs.run import METRICS
from mlp_jax.training import DivergenceError, EpochMetrics, TrainState

TITLES = {
    f"{part}_{score}": f"{part} {title}"
    for part in ("test", "validation")
    for score, title in (("accuracy", "accuracy"), ("r2", "R^2"))
}
"""The scores, by their names in metrics.jsonl, as people read them."""


@dataclass
class Recorder:
    """Keeps the states of a run while it trains; `recording` makes one.

    run, checkpoints: None in a process that keeps nothing, but stops with the others. config: the run's settings.
    interrupted: returns the number of the signal that is to end training, the same in all processes, or 0.
    status: the exit status of the command.
    lines: the run's lines of metrics so far, those before it was resumed included.
    best: epoch and cost of the epoch with the lowest cost of held-out examples so far, those before it was resumed
        included.
    keep: called before each checkpoint, to write what it cannot be resumed without.
    """

    run: Run | None
    checkpoints: Checkpoints | None
    config: Mapping[str, Any]
    interrupted: Callable[[], int]
    status: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=lambda: {"epoch": 0, "loss": math.inf})
    keep: Callable[[], Any] = lambda: None
    _last: dict[str, Any] = field(default_factory=dict)

    def resume(self, start: TrainState, needed: tuple[str, ...]) -> TrainState:
        """The state of the last checkpoint, or `start` if there is none or this process keeps nothing.

        needed: what every line of the run's metrics must have. Raises whatever `last_state` raises.
        """
        if self.run is None or self.checkpoints is None:
            return start
        state, self.lines, facts = last_state(self.run, self.checkpoints, self.config, start, needed)
        kept = facts.get("best", self.best)
        self.best = kept if "loss" in kept else self.best  # 0.2 kept the best score
        return state

    def after_epoch(self, state: TrainState, epoch: int, score: float, line: dict[str, Any]) -> bool:
        """Log a line of metrics, and keep a checkpoint if one is due. Returns whether a signal is to end training.

        score: the highest, if there are several networks. line: of one network, it has its validation_loss.
        """
        self.lines.append(line)
        if self.run:
            self.run.log(line)
        stopped = self.interrupted()
        self.status = 128 + stopped if stopped else 0
        self._last = {"state": state, "epoch": epoch, "score": score}
        if (loss := line.get("validation_loss")) is not None and loss < self.best["loss"]:
            self.best = {"epoch": epoch, "loss": loss}
        if self.checkpoints and self.checkpoints.due():
            self.save()
        return stopped > 0

    def save(self) -> None:
        """Keep the state after the last epoch, if any was trained here, unless it is kept already."""
        if self.checkpoints and self._last:
            # With other settings a state would be resumed to a wrong result.
            self.keep()
            settings = {name: value for name, value in self.config.items() if name not in MAY_DIFFER}
            self.checkpoints.save(**self._last, facts={"best": self.best, "settings": settings})


@contextmanager
def recording(
    settings: Training,
    config: Mapping[str, Any],
    run: Run | None,
    max_over_processes: Callable[[int], int] = lambda number: number,
) -> Iterator[Recorder]:
    """Keeps a run during training. However training ends, it finishes the last checkpoint and closes the run.

    A signal ends training after the current epoch. Divergence ends it too, without an error. Both keep the last finite
    state.

    run: None in all processes but the first.
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
        recorder = Recorder(run, checkpoints, config, lambda: max_over_processes(interrupted()))
        try:
            yield recorder
        except DivergenceError as error:
            recorder.status = 1
            if run:
                warn(str(error))
        recorder.save()
    if run and recorder.status > 1 and (epoch := recorder.lines[-1]["epoch"]) < config["epochs"]:
        command = type(settings).__name__.lower()
        warn(f"stopped after epoch {epoch}; mlp-jax {command} --resume {quoted(run.directory)} continues")


def part_of(config: Mapping[str, Any] | Training) -> str:
    """What a run is scored on after each epoch, by its settings: "validation" examples, held out, or "test"."""
    held_out = config.validation if isinstance(config, Training) else config.get("validation")
    return "validation" if held_out else "test"


def as_line(metrics: EpochMetrics, part: str, unit: float = 1.0) -> dict[str, Any]:
    """The metrics of one network as metrics.jsonl has them, with None for numbers that are not finite.

    part: what it is scored on. unit: what 1 of the target is in its unit, in which the root mean squared error is.
    """
    numbers = {"loss": metrics.loss, f"{part}_loss": metrics.test_loss, score_name(metrics, part): metrics.score}
    numbers |= {} if metrics.rmse is None else {f"{part}_rmse": metrics.rmse * unit}
    finite = {name: float(number) if math.isfinite(number) else None for name, number in numbers.items()}
    return {"epoch": metrics.epoch, **finite, "seconds": metrics.seconds}


def score_name(metrics: EpochMetrics, part: str) -> str:
    """What the score is called: test_accuracy for classes, test_r2 for wanted outputs, or validation_ of both."""
    return f"{part}_accuracy" if metrics.rmse is None else f"{part}_r2"


def score_text(name: str, score: float) -> str:
    """A score for people: 95.12% of classes, 0.9512 of R^2."""
    return f"{score:.2%}" if name.endswith("accuracy") else f"{score:.4f}"
