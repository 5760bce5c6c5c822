"""The command that trains a network."""

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlp_jax import arguments, training
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.commands.events import event_keeper
from mlp_jax.commands.interrupts import interrupts_remembered
from mlp_jax.commands.keeping import begin, checkpoints_of, last_state, settings_kept, warn, whole_metrics
from mlp_jax.commands.shared import (
    digest_of,
    keep_programs,
    make_console,
    model_of,
    place_of,
    print_json,
    rule_of,
    sizes_for,
)
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.network import Model, Params, init_params
from mlp_jax.runs import Checkpoints, Run
from mlp_jax.runs.tensorboard import check_tensorboard
from mlp_jax.training import DivergenceError, EpochMetrics, TrainState
from mlp_jax.training.processes import Processes, processes_of, together

ANGLE_EXAMPLES = 1_000
PLACES = ("out", "resume", "cache", "distributed", "coordinator", "num_processes", "process_id", "timeout")
"""Settings that say where a run takes place, which may differ between its processes."""


def train(settings: arguments.Train) -> int:
    """Train a network, showing each epoch and keeping its numbers and parameters as it ends."""
    processes = processes_of(
        settings.distributed, settings.coordinator, settings.num_processes, settings.process_id, settings.timeout
    )
    with together(processes):
        return _train(settings, processes)


def _train(settings: arguments.Train, processes: Processes) -> int:
    """What each process does of it. The first alone prints and keeps the run."""
    dataset = load_dataset(settings.data, part=processes.index, parts=processes.count)
    sizes = sizes_for(settings.sizes, dataset)
    training.use_one_thread_if_small(sizes, settings.batch_size)
    keep_programs(settings.cache)
    rate = _learning_rate(settings)
    config = {name: value for name, value in asdict(settings).items() if name not in PLACES}
    config |= {"sizes": sizes, "learning_rate": rate}
    named_sizes = "-".join(map(str, sizes))
    if processes.count > 1:
        versions = {name: metadata.version(name) for name in ("mlp_jax", "jax")}
        resuming = settings.resume is not None
        processes.agree(**{**config, "sizes": named_sizes}, **versions, **_facts(dataset), resuming=resuming)
    config |= {"data": place_of(settings.data), "data_sha256": digest_of(dataset), "processes": processes.count}
    processes.start()
    mesh = processes.mesh(settings.devices)
    training.check_fit(sizes, dataset, settings.epochs, settings.batch_size, settings.seed, mesh)
    devices = 1 if mesh is None else mesh.size
    stream = _images_that_fit(dataset, settings.batch_size, devices) if settings.stream is None else settings.stream
    if stream is not None:
        training.images_in_chunk(stream, settings.batch_size)  # which refuses too few
    model = model_of(settings.hidden, settings.output, settings.cost)
    params = init_params(jax.random.key(settings.seed), sizes)
    examples = processes.count * len(dataset.train_labels)
    steps = settings.epochs * -(-examples // settings.batch_size)
    optimizer = training.make_optimizer(settings.optimizer, rate, settings.schedule, steps)
    state = TrainState.start(params, optimizer)
    rule = rule_of(settings.gradient, sizes, settings)

    if settings.tensorboard:
        check_tensorboard()
    device = jax.devices()[0].device_kind
    config |= {"device": device, "devices": devices}
    run = begin(settings, config) if processes.index == 0 else None
    console = make_console(quiet=run is None)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    where = device if devices == 1 else f"{devices} x {device}"
    console.print(
        f"{where}: {named_sizes}, {count:,} parameters, {examples:,} images in batches of {settings.batch_size}"
    )
    measure = _angles(rule, dataset, model) if settings.angles else None
    with (
        checkpoints_of(run, settings) if run else nullcontext() as checkpoints,
        interrupts_remembered() as interrupted,
        _progress(console, alone=processes.count == 1) as progress,
    ):
        history: list[EpochMetrics] = []
        if run and checkpoints and settings.resume:
            state, kept = last_state(run, checkpoints, state, config)
            with whole_metrics(run):
                history = [EpochMetrics(*(line[name] for name in EpochMetrics._fields)) for line in kept]
        if settings.resume:
            state = processes.share(state)
            console.print(f"going on after epoch {int(state.epoch)} of {settings.epochs}")
        if run:
            run.save(state.params, model)
        keep_events = None
        if run and settings.tensorboard:
            keep_events = event_keeper(
                run.directory,
                int(state.epoch),
                dataset,
                model,
                settings=settings,
                learning_rate=rate,
                examples=examples,
            )
        task = progress.add_task("epochs", total=settings.epochs, completed=int(state.epoch))
        stopped = 0

        def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool:
            nonlocal stopped
            measured = {"angles": measure(state.params)} if measure else {}
            history.append(metrics)
            stopped = processes.most(interrupted())
            if run and checkpoints:
                run.save(state.params, model)
                run.log(metrics._asdict() | measured)
                if keep_events:
                    keep_events(state.params, metrics)
                if stopped or metrics.epoch == settings.epochs or checkpoints.due():
                    _checkpoint(checkpoints, state, history, config)
            console.print(
                f"epoch {metrics.epoch:>{len(str(settings.epochs))}}   cost {metrics.loss:.4f}   "
                f"test accuracy {metrics.test_accuracy:.2%}   {examples / metrics.seconds:>9,.0f} examples/s"
                + _in_degrees(measured.get("angles")),
                soft_wrap=True,
            )
            progress.advance(task)
            return stopped > 0

        status = 0
        try:
            if int(state.epoch) != settings.epochs:
                training.fit(
                    state,
                    dataset,
                    model,
                    epochs=settings.epochs,
                    batch_size=settings.batch_size,
                    optimizer=optimizer,
                    gradient=rule,
                    seed=settings.seed,
                    mesh=mesh,
                    stream=stream,
                    callback=after_epoch,
                )
        except DivergenceError as error:
            status = 1
            if checkpoints:
                warn(str(error))
                if history:
                    _checkpoint(checkpoints, error.state, history, config)
    if stopped:
        status = 128 + stopped
    if run:
        if stopped and history[-1].epoch < settings.epochs:
            warn(f"stopped after epoch {history[-1].epoch}; mlp-jax train --resume {run.directory} goes on")
        _print_summary(history, len(dataset.test_labels), run)
    return status


def _images_that_fit(dataset: Dataset, batch_size: int, devices: int) -> int | None:
    """How many images to stream at a time, where a device's part of them takes more than half its memory; else None."""
    about = jax.local_devices()[0].memory_stats()  # None for a CPU
    memory = about["bytes_limit"] if about else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    pixels = dataset.train_images.shape[1]
    if dataset.train_images.nbytes <= devices * memory / 2:
        return None
    return max(devices * memory // 4 // pixels, 2 * batch_size)


def _checkpoint(
    checkpoints: Checkpoints, state: TrainState, history: list[EpochMetrics], config: dict[str, Any]
) -> None:
    best = max(history, key=lambda metrics: metrics.test_accuracy)
    checkpoints.save(
        state,
        epoch=int(state.epoch),
        test_accuracy=history[-1].test_accuracy,
        facts={"best": {"epoch": best.epoch, "test_accuracy": best.test_accuracy}, "settings": settings_kept(config)},
    )


def _facts(dataset: Dataset) -> dict[str, object]:
    """What processes must agree on that have different parts of the training images."""
    test = hashlib.sha256(dataset.test_images.tobytes() + dataset.test_labels.tobytes()).hexdigest()
    images, pixels = dataset.train_images.shape
    return {"training images": images, "pixels": pixels, "classes": dataset.classes, "test images with SHA-256": test}


def _angles(rule: GradientRule, dataset: Dataset, model: Model) -> Callable[[Params], list[float | None]]:
    """The angle between a rule's gradient and the true one in each layer, as a function of the parameters.

    None for a gradient that is zero or not finite.
    """
    from mlp_jax.gradients.compare import angles

    images, labels = dataset.train_images[:ANGLE_EXAMPLES], dataset.train_labels[:ANGLE_EXAMPLES]

    @jax.jit
    def between(params: Params) -> tuple[jax.Array, ...]:
        inputs = training.as_inputs(jnp.asarray(images), params)
        targets = jax.nn.one_hot(labels, dataset.classes, dtype=inputs.dtype)
        return angles(rule(params, inputs, targets, model), backprop(params, inputs, targets, model))

    def measure(params: Params) -> list[float | None]:
        return [round(float(angle), 3) if jnp.isfinite(angle) else None for angle in between(params)]

    return measure


def _in_degrees(measured: list[float | None] | None) -> str:
    """What the line of an epoch ends with where angles are asked for."""
    if measured is None:
        return ""
    return "   angles " + " ".join("-" if angle is None else f"{angle:.1f}°" for angle in measured)


def _learning_rate(settings: arguments.Train) -> float:
    if settings.learning_rate is not None:
        return settings.learning_rate
    return training.LEARNING_RATE if settings.optimizer == "sgd" else 0.001


def _progress(console: Console, alone: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (alone and sys.stdout.isatty()))


def _print_summary(history: list[EpochMetrics], tests: int, run: Run) -> None:
    accuracy = history[-1].test_accuracy if history else None
    wrong = None if accuracy is None else round((1 - accuracy) * tests)
    seconds = round(sum(metrics.seconds for metrics in history), 3)
    print_json(test_accuracy=accuracy, wrong=wrong, of=tests, seconds=seconds, run=str(run.directory))
