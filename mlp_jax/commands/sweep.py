"""The command that trains many networks at once."""

import shutil
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import pairwise, product
from typing import Any

import jax
import numpy as np
import psutil
from rich.live import Live
from rich.table import Table

from mlp_jax.build import augment_of, batch_size_for, data_of, held_out, model_for, optimizer_of, sizes_for
from mlp_jax.commands.recorder import TITLES, as_line, part_of, recording, score_name, score_text
from mlp_jax.commands.resume import begin, check_lines, data_settings
from mlp_jax.commands.scores import scores_of, unit_of, warn_unless_learned
from mlp_jax.commands.shared import make_console, notes_said, print_json
from mlp_jax.config import Sweep
from mlp_jax.data import Preprocessing
from mlp_jax.figures import scores_by_setting
from mlp_jax.network import Model
from mlp_jax.programs import keep_programs
from mlp_jax.runs import Run
from mlp_jax.runs.params import names_of
from mlp_jax.training import (
    EpochMetrics,
    Plan,
    TrainState,
    check_training,
    count_steps,
    epochs,
    evaluate,
    init_population,
    start_population,
    use_cores_for_members,
)
from mlp_jax.training import member as member_of

Member = dict[str, Any]
COPIES = 4
"""How often training holds the parameters: themselves, their gradient, the steps, and a copy to keep, at least."""
FIGURE = "scores.png"
NOT_OF_A_MEMBER = ("seeds", "own_batches", "devices", "checkpoint_every")


def sweep(settings: Sweep) -> int:
    """Train a network for each combination of settings, all at once, and keep each as a run of its own."""
    members = _members(settings)
    with notes_said():
        known = data_of(settings)
    dataset = held_out(settings, known)
    preprocessing, part = dataset.preprocessing, part_of(settings)
    settings = replace(settings, batch_size=batch_size_for(settings, dataset))
    sizes = sizes_for(settings.sizes, dataset)
    use_cores_for_members(len(members), sizes, settings.batch_size)
    keep_programs(settings.cache)
    _check_memory(len(members), sizes)
    devices = jax.devices()[: len(members)]
    mesh = jax.make_mesh((len(devices),), ("population",), devices=devices) if len(devices) > 1 else None
    steps = count_steps(settings.epochs, len(dataset.train), settings.batch_size)
    model = model_for(settings, dataset)
    plan = Plan(model, optimizer_of(settings, steps), settings.batch_size, mesh=mesh)
    padded = members + [members[-1]] * (-len(members) % len(devices))  # every device trains as many
    for member in members:
        check_training(sizes, dataset, plan, settings.epochs, member["seed"], len(padded))
    of_each = {name: [member[name] for member in padded] for name in members[0]}
    params = init_population(of_each["seed"], sizes, of_each["scale"], standard_normal=settings.standard_normal)
    state = start_population(params, plan.optimizer, {"learning_rate": of_each["learning_rate"]})
    config = {**asdict(settings), "sizes": sizes, "device": devices[0].device_kind, "devices": len(devices)}
    config |= data_settings(settings.data, dataset, settings.test) | names_of(model)
    for name in ("out", "resume", "cache"):
        del config[name]
    whole = begin(settings, config)
    console = make_console()
    console.print(f"{len(devices)} x {config['device']}: {len(members)} networks {'-'.join(map(str, sizes))}")
    live = Live(console=console, transient=True, auto_refresh=False)
    last = None
    with recording(settings, config, whole) as recorder, live if sys.stdout.isatty() else nullcontext():
        if settings.resume:
            state = recorder.resume(state, ("best", "seconds"))
            console.print(f"resuming after epoch {len(recorder.lines)} of {settings.epochs}")
        runs = _member_runs(whole, config, members, behind=len(recorder.lines))
        last = _last_metrics(runs, recorder.lines, part)
        for number, run in enumerate(runs):
            if last is None or not np.isnan(last.score[number]):  # a checkpoint outlives parameters that were lost
                run.save(member_of(state.params, number), model, preprocessing)
        seed = of_each["seed"] if settings.own_batches else settings.seed
        augment = augment_of(settings, dataset)
        running = epochs(state, dataset, plan, settings.epochs, seed, augment=augment, progress=False)
        for state, metrics in running:
            last = _metrics_of(metrics, slice(len(members)))  # without the padding
            _keep(runs, state, last, model, preprocessing, part)
            stopped = recorder.after_epoch(state, last.epoch, last.spread[-1], _line_of_all(last))
            if sys.stdout.isatty():
                live.update(_table(members, last, settings.epochs, part), refresh=True)
            else:
                console.print(_line(last, settings.epochs, part), soft_wrap=True)
            if stopped:
                break
    if last:
        console.print(_table(members, last, settings.epochs, part))
        if recorder.status == 0:
            costs = [*last.loss, *last.test_loss]
            warn_unless_learned(dataset, model, last.epoch, costs, settings.learning_rate)
    test = {}
    if last and part == "validation":  # which has chosen the best, and is no measure of it any more
        test = scores_of(evaluate(runs[last.best].load(), known.test, model), unit_of(known))
    _print_results(members, runs, last, recorder.lines, whole, part, test)
    return recorder.status


def _check_memory(members: int, sizes: tuple[int, ...]) -> None:
    """Raises ValueError, which says how much it takes, for networks that do not fit in memory together."""
    parameters = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
    about = jax.local_devices()[0].memory_stats()  # None for a CPU
    memory = jax.device_count() * about["bytes_limit"] if about else psutil.virtual_memory().total
    needed = COPIES * 4 * members * parameters
    if needed > memory:
        raise ValueError(
            f"{members:,} networks of {parameters:,} parameters take about {needed / 1e9:,.0f} GB to train at once, "
            f"and there are {memory / 1e9:,.0f}: ask for fewer --seeds or rates, or smaller --sizes"
        )


def _members(settings: Sweep) -> list[Member]:
    """The learning rate, scale and seed of each member."""
    combinations = product(settings.learning_rate, settings.scale, range(settings.seeds))
    return [
        {"learning_rate": rate, "scale": scale, "seed": settings.seed + number} for rate, scale, number in combinations
    ]


def _member_runs(whole: Run, config: dict[str, Any], members: list[Member], behind: int) -> list[Run]:
    """A run for each member, in numbered directories: new ones, or those that have `behind` epochs."""
    digits = len(str(len(members) - 1))
    directories = [whole.directory / "members" / f"{number:0{digits}}" for number in range(len(members))]
    if behind:
        return [Run.open(directory) for directory in directories]
    shared = {name: value for name, value in config.items() if name not in NOT_OF_A_MEMBER}
    shared |= {"gradient": "manual", "order_seed": None if config["own_batches"] else config["seed"]}
    shutil.rmtree(whole.directory / "members", ignore_errors=True)  # the remains of a sweep that was killed
    return [
        Run.create(directory, shared | member, lock=False)
        for directory, member in zip(directories, members, strict=True)
    ]


def _last_metrics(runs: list[Run], lines: list[dict[str, Any]], part: str) -> EpochMetrics | None:
    """The metrics of the last epoch in `lines`; lines of later epochs are deleted from the members."""
    if not lines:
        return None
    of_members = [run.rewind(len(lines))[-1] for run in runs]
    for run, line in zip(runs, of_members, strict=True):
        check_lines(run, [line], ("loss", f"{part}_loss"))

    def of_each(name: str) -> np.ndarray:
        return np.array([line.get(name) for line in of_members], np.float64)  # None is NaN

    classes = f"{part}_accuracy" in of_members[0]
    return EpochMetrics(
        lines[-1]["epoch"],
        of_each("loss"),
        of_each(f"{part}_loss"),
        of_each(f"{part}_accuracy" if classes else f"{part}_r2"),
        None if classes else of_each(f"{part}_rmse"),
        lines[-1]["seconds"],
    )


def _metrics_of(metrics: EpochMetrics, members: int | slice) -> EpochMetrics:
    """The metrics of one member, or of some."""
    of_each = {name: value for name, value in metrics._asdict().items() if isinstance(value, np.ndarray)}
    return metrics._replace(**{name: value[members] for name, value in of_each.items()})


def _keep(
    runs: list[Run],
    state: TrainState,
    metrics: EpochMetrics,
    model: Model,
    preprocessing: Preprocessing | None,
    part: str,
) -> None:
    """Log an epoch of each member, and keep the parameters of those that are finite."""
    params = jax.device_get(state.params)
    for number, run in enumerate(runs):
        own = _metrics_of(metrics, number)
        if not np.isnan(own.score):  # it has not diverged
            run.save(member_of(params, number), model, preprocessing)
        line = as_line(own, part, 1.0 if preprocessing is None else preprocessing.unit)
        del line["seconds"]
        run.log(line)


def _line_of_all(metrics: EpochMetrics) -> dict[str, Any]:
    """The sweep's own line of metrics, with None for a score of minus infinity, which JSON cannot hold."""
    scores = [score if np.isfinite(score) else None for score in metrics.spread]
    known = dict(zip(("worst", "median", "best"), scores, strict=True)) | {"finite": len(metrics.ranking)}
    return {"epoch": metrics.epoch} | known | {"seconds": metrics.seconds}


def _line(metrics: EpochMetrics, epochs: int, part: str) -> str:
    """The line that is printed after an epoch if the output is no terminal."""
    low, median, high = (score_text(score_name(metrics, part), score) for score in metrics.spread)
    return (
        f"epoch {metrics.epoch:>{len(str(epochs))}}   best {high}   median {median}   worst {low}   "
        f"{1e3 * metrics.seconds / len(metrics.score):.0f} ms a network"
    )


def _table(members: list[Member], metrics: EpochMetrics, epochs: int, part: str) -> Table:
    """Best, median and worst of each learning rate and scale, over the seeds."""
    name = score_name(metrics, part)
    table = Table(title=f"{TITLES[name]} after epoch {metrics.epoch} of {epochs}")
    for heading in ("learning rate", "scale", "networks", "diverged", "worst", "median", "best"):
        table.add_column(heading, justify="right", no_wrap=heading in ("worst", "median", "best"))
    pairs = [(member["learning_rate"], member["scale"]) for member in members]
    for pair in dict.fromkeys(pairs):
        scores = metrics.score[[number for number, other in enumerate(pairs) if other == pair]]
        finite = scores[np.isfinite(scores)]
        numbers = (finite.min(), np.median(finite), finite.max()) if finite.size else ()
        shown = [score_text(name, number) for number in numbers] or ["-"] * 3
        table.add_row(*(f"{value:g}" for value in pair), str(len(scores)), str(len(scores) - len(finite)), *shown)
    return table


def _print_results(
    members: list[Member],
    runs: list[Run],
    last: EpochMetrics | None,
    lines: list[dict[str, Any]],
    whole: Run,
    part: str,
    test: dict[str, float],
) -> None:
    """Draw the scores after the last epoch, and say which networks are the best and the worst.

    test: the scores of the best on the test examples, if others were held out to choose it.
    """
    best = None
    if last:
        by_setting = {name: [member[name] for member in members] for name in members[0]}
        name = score_name(last, part)
        percent = name.endswith("accuracy")
        shown = (100 * last.score, f"{TITLES[name]}, %") if percent else (last.score, TITLES[name])
        scores_by_setting(by_setting, *shown).savefig(whole.directory / FIGURE, dpi=150)
        low, median, high = (score_text(name, score) for score in last.spread)

        def where(number: int) -> str:
            settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in members[number].items())
            return f"{settings}  {runs[number].directory}"

        print(f"best    {high}  {where(last.best)}")
        for name in TITLES.keys() & test.keys():
            print(f"        {score_text(name, test[name])}  {TITLES[name]} of the best")
        print(f"median  {median}")
        print(f"worst   {low}  {where(int(last.ranking[-1]))}")
        best = str(runs[last.best].directory)
    seconds = round(sum(line["seconds"] for line in lines), 3)
    print_json(best=best, **test, networks=len(members), seconds=seconds, run=str(whole.directory))
