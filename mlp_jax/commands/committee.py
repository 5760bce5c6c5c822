"""The part of `train` that trains a committee: many networks at once, whose outputs are averaged."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from mlp_jax import training
from mlp_jax.build import (
    augment_of,
    batch_size_for,
    data_of,
    held_out,
    model_for,
    optimizer_of,
    rule_of,
    sizes_for,
    with_learning_rate,
)
from mlp_jax.commands.recorder import TITLES, Recorder, part_of, recording, score_name, score_text
from mlp_jax.commands.resume import begin, data_settings
from mlp_jax.commands.scores import print_result, scores_of, unit_of, warn_unless_learned
from mlp_jax.commands.shared import heading, make_console, notes_said, progress_bar
from mlp_jax.config import Train
from mlp_jax.data import Dataset
from mlp_jax.network import Model, Params
from mlp_jax.programs import keep_programs
from mlp_jax.runs import Run, RunError
from mlp_jax.runs.params import load_params, names_of, save_params
from mlp_jax.runs.run import METRICS
from mlp_jax.training import Chosen, EpochMetrics, Plan, TrainState, interval_margin, varied
from mlp_jax.training.committee import BEST
from mlp_jax.training.loop import Reached, run_epochs

MEMBERS = "members.safetensors"
"""The parameters of every member after its best epoch, in the order of their seeds, to resume from."""
OF_ONE = ("devices", "distributed", "coordinator", "stream", "tensorboard", "angles")
"""Settings for training one network."""


@dataclass
class _Members:
    """Which epoch of each member counts.

    patience: after how many epochs without a lower cost a member stops; if None, each epoch counts more than the last.
    lowest, epochs: the cost of the examples held out in the epoch that counts, and its number.
    """

    count: int
    patience: int | None
    lowest: Float[np.ndarray, " members"] = field(init=False)
    epochs: Integer[np.ndarray, " members"] = field(init=False)

    def __post_init__(self) -> None:
        self.lowest, self.epochs = np.full(self.count, np.inf), np.zeros(self.count, int)

    def after(self, epoch: int, losses: Float[np.ndarray, " members"]) -> Bool[np.ndarray, " members"]:
        """Take note of an epoch: the members for which it counts."""
        if self.patience is None:
            better = np.isfinite(losses)
            self.lowest = np.where(better, losses, np.inf)
        else:
            better = (losses < self.lowest) & (epoch - self.epochs <= self.patience)
            self.lowest = np.where(better, losses, self.lowest)
        self.epochs = np.where(better, epoch, self.epochs)
        return better

    def stopped(self, epoch: int) -> bool:
        """Whether all members have stopped."""
        return self.patience is not None and bool((epoch - self.epochs >= self.patience).all())

    @property
    def ranking(self) -> Integer[np.ndarray, " ranked"]:
        """The members that have an epoch that counts, by their cost, the best first."""
        order = np.argsort(self.lowest, kind="stable")
        return order[np.isfinite(self.lowest[order])]


def train_committee(settings: Train) -> int:
    """Train a committee; print, log and keep every epoch. Returns the exit status."""
    _check(settings)
    with notes_said():
        whole = data_of(settings)
    dataset = held_out(settings, whole)
    settings = replace(settings, batch_size=batch_size_for(settings, dataset))
    model, sizes, part = model_for(settings, dataset), sizes_for(settings.sizes, dataset), part_of(settings)
    settings = with_learning_rate(settings, model, sizes)
    training.use_cores_for_members(settings.members, sizes, settings.batch_size)
    keep_programs(settings.cache)
    optimizer = optimizer_of(settings, training.count_steps(settings.epochs, len(dataset.train), settings.batch_size))
    plan = Plan(model, optimizer, settings.batch_size, rule_of(settings.gradient, sizes, settings))
    for seed in (settings.seed, settings.seed + settings.members - 1):
        training.check_training(sizes, dataset, plan, settings.epochs, seed, settings.members)
    augment, state = augment_of(settings, dataset), _start(settings, sizes, plan)
    config = {**asdict(settings), "sizes": sizes, **names_of(model)}
    config |= data_settings(settings.data, dataset, settings.test) | {"device": jax.devices()[0].device_kind}
    for name in ("out", "resume", "cache"):
        del config[name]
    run, console = begin(settings, config), make_console()
    console.print(heading(config, training.member(state.params, 0), len(dataset.train)))
    with recording(settings, config, run) as recorder, progress_bar(console) as progress:
        if settings.resume:
            state = recorder.resume(state, ("loss", "seconds"))
            console.print(f"resuming after epoch {len(recorder.lines)} of {settings.epochs}")
        committee = _Committee(run, settings, model, dataset, recorder, state)
        task = progress.add_task("epochs", total=settings.epochs, completed=len(recorder.lines))
        try:
            stopped = committee.members.stopped(len(recorder.lines))
            running = run_epochs(state, dataset, plan, settings.epochs, settings.seed, augment=augment, progress=False)
            for reached, metrics in () if stopped else running:
                stopped = committee.after_epoch(reached, metrics)
                console.print(_line(metrics, settings.epochs, len(dataset.train), part), soft_wrap=True)
                progress.advance(task)
                if stopped:
                    break
        finally:
            params = committee.save()
    if recorder.status == 0 and recorder.lines:
        last = recorder.lines[-1]
        costs, rate = [last["loss"], last[f"{part}_loss"]], config["learning_rate"]
        warn_unless_learned(dataset, model, last["epoch"], costs, [rate])
    if params is not None:
        _print_summary(recorder, params, whole, run, model)
    return recorder.status


def _check(settings: Train) -> None:
    """Raises ValueError for settings that do not go with a committee."""
    usual = Train()
    for name in OF_ONE:
        if getattr(settings, name) != getattr(usual, name):
            raise ValueError(f"--{name} is for one network: leave it out, or --members")
    training.check_patience(settings.patience, settings.validation)


def _start(settings: Train, sizes: tuple[int, ...], plan: Plan) -> TrainState:
    """The members before the first epoch."""
    count, random = settings.members, np.random.default_rng(settings.seed)
    seeds = range(settings.seed, settings.seed + count)
    scales = 2.0 ** random.uniform(-1, 1, count) if settings.vary else None
    params = training.init_population(seeds, sizes, scales, standard_normal=settings.standard_normal)
    rate = cast(float, settings.learning_rate)
    rates = varied(count, rate, settings.weight_decay, random) if settings.vary else {}
    return training.start_population(params, plan.optimizer, rates)


class _Committee:
    """The members while they train, and what is kept of them. state: that training begins or resumes with."""

    def __init__(
        self, run: Run, settings: Train, model: Model, dataset: Dataset, recorder: Recorder, state: TrainState
    ) -> None:
        self._run, self._settings, self._model, self._dataset = run, settings, model, dataset
        self._recorder, self._part = recorder, part_of(settings)
        self.members, self._chosen = _Members(settings.members, settings.patience), Chosen(settings.members)
        recorder.keep = self.save
        for line in recorder.lines:
            losses = line.get("losses")
            if not isinstance(losses, list) or len(losses) != settings.members:
                raise RunError(
                    f"{run.directory / METRICS} is damaged: the line of epoch {line['epoch']} has no losses of "
                    f"{settings.members} members"
                )
            self.members.after(line["epoch"], np.array(losses, np.float64))  # None is NaN
        if np.isfinite(self.members.lowest).any():
            params = state.params if settings.patience is None else load_params(run.directory / MEMBERS)
            self._chosen.take(np.isfinite(self.members.lowest), lambda: params)

    def after_epoch(self, reached: Reached, metrics: EpochMetrics) -> bool:
        """Log an epoch, and keep a checkpoint if one is due. Returns whether training is to end."""
        losses = np.where(np.isnan(metrics.score), np.nan, metrics.test_loss)
        self._chosen.take(self.members.after(metrics.epoch, losses), lambda: reached().params)
        line = _as_line(metrics, losses, self._part, unit_of(self._dataset))
        return self._recorder.after_epoch(reached(), metrics.epoch, metrics.spread[-1], line) or self.members.stopped(
            metrics.epoch
        )

    def save(self) -> Params | None:
        """Write the parameters of the committee, the best member first; None if no member is finite."""
        ranking, mine = self.members.ranking, np.array(self._chosen.members)
        if not ranking.size:
            return None
        every = self._chosen.kept()
        if self._settings.patience is not None:
            whole = jax.tree.map(lambda leaf: np.zeros((self.members.count, *leaf.shape[1:]), leaf.dtype), every)
            for all_of, some in zip(jax.tree.leaves(whole), jax.tree.leaves(every), strict=True):
                all_of[mine] = some
            save_params(self._run.directory / MEMBERS, whole)
        if self._settings.vary:
            ranking = ranking[: math.ceil(len(ranking) / BEST)]
        params = jax.tree.map(lambda leaf: leaf[np.searchsorted(mine, ranking)], every)
        kept, held = self._dataset.preprocessing, self._dataset.test
        if kept is not None and kept.targets is not None and self._settings.validation:
            outputs = training.outputs_of_members(params, held.inputs, self._model)
            kept = replace(kept, interval=interval_margin(outputs, held.targets))
        self._run.save(params, self._model, kept)
        return params


def _as_line(metrics: EpochMetrics, losses: Float[np.ndarray, " members"], part: str, unit: float) -> dict[str, Any]:
    """A line of metrics: means of costs and medians of scores over the members, and the cost of each."""
    finite, name = np.isfinite(losses), score_name(metrics, part)
    numbers = {"loss": metrics.loss.mean(where=finite), f"{part}_loss": losses.mean(where=finite)}
    numbers[name] = np.median(metrics.score[finite]) if finite.any() else np.nan
    numbers |= {} if metrics.rmse is None else {f"{part}_rmse": np.median(metrics.rmse[finite]) * unit}
    numbers |= {"worst": metrics.spread[0], "best": metrics.spread[-1]}
    known = {key: float(number) if np.isfinite(number) else None for key, number in numbers.items()}
    of_each = [float(loss) if np.isfinite(loss) else None for loss in losses]
    return {"epoch": metrics.epoch, **known, "finite": int(finite.sum()), "losses": of_each, "seconds": metrics.seconds}


def _line(metrics: EpochMetrics, epochs: int, examples: int, part: str) -> str:
    """The line that is printed after an epoch."""
    name = score_name(metrics, part)
    low, median, high = (score_text(name, score) for score in metrics.spread)
    return (
        f"epoch {metrics.epoch:>{len(str(epochs))}}   cost {np.nanmean(metrics.loss):.4f}   {TITLES[name]} of members "
        f"{low} to {high}, median {median}   {len(metrics.score) * examples / metrics.seconds:>9,.0f} examples/s"
    )


def _print_summary(recorder: Recorder, params: Params, whole: Dataset, run: Run, model: Model) -> None:
    """How the committee does on the test examples, beside its members and always the same answer."""
    members = len(params[0].weights)
    found = scores_of(training.evaluate_committee(params, whole.test, model), unit_of(whole))
    state = TrainState(params, (), jnp.zeros(members, jnp.int32))
    alone = training.evaluator(whole.test, model)(state)
    of_median = scores_of(_median(alone), unit_of(whole))
    found |= {name.replace("test", "member"): number for name, number in of_median.items()}
    seconds = round(sum(line["seconds"] for line in recorder.lines), 3)
    print_result(found, whole, members=members, of=len(whole.test), seconds=seconds, run=str(run.directory))


def _median(alone: training.Evaluation) -> training.Evaluation:
    """The median scores of the members of a population."""
    rmse = None if alone.rmse is None else float(np.median(alone.rmse))
    return training.Evaluation(float(np.median(alone.loss)), float(np.median(alone.score)), rmse)
