"""The command that trains many networks at once."""

import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.live import Live
from rich.table import Table

from mlp_jax import arguments, training
from mlp_jax.commands.keeping import begin, data_settings, keeping, whole_metrics
from mlp_jax.commands.shared import keep_programs, make_console, print_json
from mlp_jax.figures import accuracy_by_setting
from mlp_jax.network import Model
from mlp_jax.runs import Run
from mlp_jax.settings import augment_of, data_of, model_of, sizes_for
from mlp_jax.training import PopulationMetrics, TrainState

Member = dict[str, Any]
FIGURE = "accuracy.png"
NOT_OF_A_MEMBER = ("seeds", "own_batches", "devices", "checkpoint_every")


def sweep(settings: arguments.Sweep) -> int:
    """Train a network for each combination of settings, all at once, and keep each as a run of its own."""
    members = _members(settings)
    dataset = data_of(settings)
    sizes = sizes_for(settings.sizes, dataset)
    training.use_cores_for_members(len(members), sizes, settings.batch_size)
    keep_programs(settings.cache)
    for member in members:
        training.check_fit(sizes, dataset, settings.epochs, settings.batch_size, member["seed"])
    steps = settings.epochs * -(-len(dataset.train_labels) // settings.batch_size)
    for rate in settings.learning_rate:  # each is refused here that cannot be
        training.make_optimizer(settings.optimizer, rate, settings.schedule, steps)
    optimizer = training.optimizer_maker(settings.optimizer, settings.schedule, steps)
    model = model_of(settings.hidden, settings.output, settings.cost)
    devices = jax.devices()[: len(members)]
    mesh = jax.make_mesh((len(devices),), ("population",), devices=devices) if len(devices) > 1 else None
    padding = [members[-1]] * (-len(members) % len(devices))  # every device trains as many; nobody looks at these
    of_each = {name: [member[name] for member in members + padding] for name in members[0]}
    params = training.init_population(
        of_each["seed"], sizes, of_each["scale"], standard_normal=settings.standard_normal
    )
    rates = {"learning_rate": jnp.asarray(of_each["learning_rate"])}
    state = training.start_population(params, rates, optimizer)
    fit = partial(
        training.fit_population,
        dataset=dataset,
        model=model,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=optimizer,
        hyperparams={"learning_rate": of_each["learning_rate"]},
        seed=of_each["seed"] if settings.own_batches else settings.seed,
        mesh=mesh,
        augment=augment_of(settings, dataset),
    )
    config = {**asdict(settings), "sizes": sizes, "device": devices[0].device_kind, "devices": len(devices)}
    config |= data_settings(settings.data, dataset)
    for name in ("out", "resume", "cache"):
        del config[name]
    return _fit_and_keep(settings, config, members, model, state, fit)


def _fit_and_keep(
    settings: arguments.Sweep,
    config: dict[str, Any],
    members: list[Member],
    model: Model,
    state: TrainState,
    fit: Callable[..., object],
) -> int:
    """Train with `fit` and show and keep each epoch of it."""
    whole = begin(settings, config)
    console = make_console()
    sizes = "-".join(map(str, config["sizes"]))
    console.print(f"{config['devices']} x {config['device']}: {len(members)} networks {sizes}")
    live = Live(console=console, transient=True, auto_refresh=False)
    history: list[PopulationMetrics] = []
    with keeping(settings, config, whole) as keeper, live if sys.stdout.isatty() else nullcontext():
        lines = []
        if settings.resume:
            state, lines = keeper.last_state(state)
        runs = _member_runs(whole, config, members, new=not lines)
        if lines:
            with whole_metrics(whole.directory):
                history = _history(runs, lines)
        if settings.resume:
            console.print(f"going on after epoch {len(lines)} of {settings.epochs}")
        for number, run in enumerate(runs if not history else []):
            run.save(training.member(state.params, number), model)

        def after_epoch(state: TrainState, metrics: PopulationMetrics) -> bool:
            loss, accuracy = metrics.loss[: len(members)], metrics.test_accuracy[: len(members)]
            metrics = metrics._replace(loss=loss, test_accuracy=accuracy)
            _keep(runs, whole, state, metrics, model)
            history.append(metrics)
            stopped = keeper.after_epoch(state, metrics.epoch, metrics.spread[-1], member=metrics.best)
            if sys.stdout.isatty():
                live.update(_table(members, metrics, settings.epochs), refresh=True)
            else:
                console.print(_line(metrics, settings.epochs), soft_wrap=True)
            return stopped

        if len(history) != settings.epochs:
            fit(state, callback=after_epoch)
    if history:
        console.print(_table(members, history[-1], settings.epochs))
    _print_results(members, runs, history, whole)
    return keeper.status


def _members(settings: arguments.Sweep) -> list[Member]:
    """What sets each member apart."""
    combinations = product(settings.learning_rate, settings.scale, range(settings.seeds))
    members = [
        {"learning_rate": rate, "scale": scale, "seed": settings.seed + number} for rate, scale, number in combinations
    ]
    if settings.own_batches and settings.shift:
        raise ValueError("moved images are the same for all networks: leave out --own-batches or --shift")
    if not members:
        raise ValueError("there is no network to train: give at least one seed, one learning rate and one scale")
    return members


def _member_runs(whole: Run, config: dict[str, Any], members: list[Member], new: bool) -> list[Run]:
    """A run for each member, in directories that are numbered; new ones, or those that are there."""
    shared = {name: value for name, value in config.items() if name not in NOT_OF_A_MEMBER}
    shared |= {"gradient": "manual", "order_seed": None if config["own_batches"] else config["seed"]}
    digits = len(str(len(members) - 1))
    directories = [whole.directory / "members" / f"{number:0{digits}}" for number in range(len(members))]
    if not new:
        return [Run.open(directory) for directory in directories]
    shutil.rmtree(whole.directory / "members", ignore_errors=True)  # what was begun when the sweep was killed
    return [
        Run.create(directory, shared | member, lock=False)
        for directory, member in zip(directories, members, strict=True)
    ]


def _history(runs: list[Run], lines: list[dict[str, Any]]) -> list[PopulationMetrics]:
    """What was known after each of the epochs that the lines are of; what members have of later ones is forgotten."""
    of_members = [run.rewind(len(lines)) for run in runs]
    history = []
    for number, line in enumerate(lines):
        numbers = {
            name: np.array([member[number][name] for member in of_members], np.float64)  # None is NaN
            for name in ("loss", "test_accuracy")
        }
        history.append(PopulationMetrics(line["epoch"], **numbers, seconds=line["seconds"]))
    return history


def _keep(runs: list[Run], whole: Run, state: TrainState, metrics: PopulationMetrics, model: Model) -> None:
    """What is known after an epoch, and the parameters of each member that is finite."""
    params = jax.device_get(state.params)
    for number, run in enumerate(runs):
        loss, accuracy = float(metrics.loss[number]), float(metrics.test_accuracy[number])
        finite = np.isfinite(accuracy)
        if finite:
            run.save(training.member(params, number), model)
        run.log(
            {"epoch": metrics.epoch, "loss": loss if finite else None, "test_accuracy": accuracy if finite else None}
        )
    low, median, high = metrics.spread
    known = {"epoch": metrics.epoch, "worst": low, "median": median, "best": high, "finite": len(metrics.ranking)}
    whole.log(known | {"seconds": metrics.seconds})


def _line(metrics: PopulationMetrics, epochs: int) -> str:
    """What is printed after an epoch where nothing can be drawn over."""
    low, median, high = metrics.spread
    return (
        f"epoch {metrics.epoch:>{len(str(epochs))}}   best {high:.2%}   median {median:.2%}   worst {low:.2%}   "
        f"{1e3 * metrics.seconds / len(metrics.loss):.0f} ms a network"
    )


def _table(members: list[Member], metrics: PopulationMetrics, epochs: int) -> Table:
    """Best, median and worst of each learning rate and scale, over the seeds."""
    table = Table(title=f"test accuracy after epoch {metrics.epoch} of {epochs}")
    for heading in ("learning rate", "scale", "networks", "diverged", "worst", "median", "best"):
        table.add_column(heading, justify="right", no_wrap=heading in ("worst", "median", "best"))
    pairs = [(member["learning_rate"], member["scale"]) for member in members]
    for pair in dict.fromkeys(pairs):
        accuracies = metrics.test_accuracy[[number for number, other in enumerate(pairs) if other == pair]]
        finite = accuracies[np.isfinite(accuracies)]
        numbers = (finite.min(), np.median(finite), finite.max()) if finite.size else ()
        shown = [f"{number:.2%}" for number in numbers] or ["-"] * 3
        table.add_row(
            *(f"{value:g}" for value in pair), str(len(accuracies)), str(len(accuracies) - len(finite)), *shown
        )
    return table


def _print_results(members: list[Member], runs: list[Run], history: list[PopulationMetrics], whole: Run) -> None:
    """Draw the accuracies after the last epoch, and say which networks are the best and the worst."""
    best = None
    if history:
        accuracies = history[-1].test_accuracy
        by_setting = {name: [member[name] for member in members] for name in members[0]}
        accuracy_by_setting(by_setting, accuracies).savefig(whole.directory / FIGURE, dpi=150)
        _print_ranking(members, runs, history[-1])
        best = str(runs[history[-1].best].directory)
    seconds = round(sum(metrics.seconds for metrics in history), 3)
    print_json(best=best, networks=len(members), seconds=seconds, run=str(whole.directory))


def _print_ranking(members: list[Member], runs: list[Run], metrics: PopulationMetrics) -> None:
    """The best and the worst network, where each is kept, and the median between them."""
    low, median, high = metrics.spread

    def where(number: int) -> str:
        settings = ", ".join(f"{setting.replace('_', ' ')} {value:g}" for setting, value in members[number].items())
        return f"{settings}  {runs[number].directory}"

    print(f"best    {high:.2%}  {where(metrics.best)}")
    print(f"median  {median:.2%}")
    print(f"worst   {low:.2%}  {where(int(metrics.ranking[-1]))}")
