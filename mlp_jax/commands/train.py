"""The command that trains a network."""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlp_jax import arguments, training
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.commands.events import event_keeper
from mlp_jax.commands.keeping import Keeper, begin, data_settings, keeping, whole_metrics
from mlp_jax.commands.shared import keep_programs, make_console, print_json
from mlp_jax.data import Dataset
from mlp_jax.network import Model, Params, init_params
from mlp_jax.runs import Run
from mlp_jax.runs.snapshots import is_due, keep_snapshot, read_snapshots
from mlp_jax.runs.tensorboard import check_tensorboard
from mlp_jax.settings import augment_of, data_of, learning_rate_of, model_of, rule_of, sizes_for
from mlp_jax.training import EpochMetrics, TrainState
from mlp_jax.training.processes import Processes, processes_of, together

ANGLE_EXAMPLES = 1_000
PLACES = ("out", "resume", "cache", "distributed", "coordinator", "num_processes", "process_id", "timeout")
"""Settings that say where a run takes place, which may differ between its processes."""
Measure = Callable[[Params], list[float | None]]


def train(settings: arguments.Train) -> int:
    """Train a network, showing each epoch and keeping its numbers and parameters as it ends."""
    processes = processes_of(
        settings.distributed, settings.coordinator, settings.num_processes, settings.process_id, settings.timeout
    )
    with together(processes):
        return _train(settings, processes)


def _train(settings: arguments.Train, processes: Processes) -> int:
    """What each process does of it. The first alone prints and keeps the run."""
    dataset = data_of(settings, processes.index, processes.count)
    sizes = sizes_for(settings.sizes, dataset)
    training.use_one_thread_if_small(sizes, settings.batch_size)
    keep_programs(settings.cache)
    config = {name: value for name, value in asdict(settings).items() if name not in PLACES}
    config |= {"sizes": sizes, "learning_rate": learning_rate_of(settings)}
    if processes.count > 1:
        _agree(processes, config, dataset, resuming=settings.resume is not None)
    processes.start()
    mesh = processes.mesh(settings.devices)
    training.check_fit(sizes, dataset, settings.epochs, settings.batch_size, settings.seed, mesh)
    devices = 1 if mesh is None else mesh.size
    stream, augment = _images_at_a_time(settings, dataset, devices), augment_of(settings, dataset)
    if stream is not None and augment is not None:
        raise ValueError("images are streamed here, which cannot be moved as well: leave out --shift")
    model = model_of(settings.hidden, settings.output, settings.cost)
    params = init_params(jax.random.key(settings.seed), sizes, standard_normal=settings.standard_normal)
    examples = processes.count * len(dataset.train_labels)
    steps = settings.epochs * -(-examples // settings.batch_size)
    optimizer = training.make_optimizer(settings.optimizer, config["learning_rate"], settings.schedule, steps)
    rule = rule_of(settings.gradient, sizes, settings)
    if settings.tensorboard:
        check_tensorboard()
    config |= data_settings(settings.data, dataset) | {"processes": processes.count}
    config |= {"device": jax.devices()[0].device_kind, "devices": devices}
    fit = partial(
        training.fit,
        dataset=dataset,
        model=model,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=optimizer,
        gradient=rule,
        seed=settings.seed,
        mesh=mesh,
        stream=stream,
        augment=augment,
    )
    measure = _angles(rule, dataset, model) if settings.angles else None
    return _fit_and_keep(settings, config, processes, dataset, model, TrainState.start(params, optimizer), fit, measure)


def _fit_and_keep(
    settings: arguments.Train,
    config: dict[str, Any],
    processes: Processes,
    dataset: Dataset,
    model: Model,
    state: TrainState,
    fit: Callable[..., TrainState],
    measure: Measure | None,
) -> int:
    """Train with `fit` and show and keep each epoch of it."""
    run = begin(settings, config) if processes.index == 0 else None
    console = make_console(quiet=run is None)
    examples = processes.count * len(dataset.train_labels)
    console.print(_heading(config, state.params, examples))
    history: list[EpochMetrics] = []
    with (
        keeping(settings, config, run, processes.most) as keeper,
        _progress(console, alone=processes.count == 1) as progress,
    ):
        if settings.resume:
            state, history = _go_on(settings.resume, keeper, state, processes)
            console.print(f"going on after epoch {int(state.epoch)} of {settings.epochs}")
        behind, keep_events = int(state.epoch), None
        if run:
            run.save(state.params, model)
            if behind == 0:
                keep_snapshot(run.directory, 0, state.params)
            else:
                read_snapshots(run.directory)  # damaged ones are complained of before training, and not in the midst
            if settings.tensorboard:
                keep_events = event_keeper(
                    run.directory,
                    behind,
                    dataset,
                    model,
                    settings=settings,
                    learning_rate=config["learning_rate"],
                    examples=examples,
                )
        task = progress.add_task("epochs", total=settings.epochs, completed=behind)

        def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool:
            angles = measure(state.params) if measure else None
            history.append(metrics)
            if run:
                run.save(state.params, model)
                run.log(metrics._asdict() | ({} if angles is None else {"angles": angles}))
                if is_due(metrics.epoch, settings.epochs):
                    keep_snapshot(run.directory, metrics.epoch, state.params)
            if keep_events:
                keep_events(state.params, metrics)
            stopped = keeper.after_epoch(state, metrics.epoch, metrics.test_accuracy)
            console.print(_line(metrics, settings.epochs, examples, angles), soft_wrap=True)
            progress.advance(task)
            return stopped

        if behind != settings.epochs:
            fit(state, callback=after_epoch)
    if run:
        _print_summary(history, len(dataset.test_labels), run)
    return keeper.status


def _agree(processes: Processes, config: dict[str, Any], dataset: Dataset, resuming: bool) -> None:
    """Raises ProcessError unless all processes have the same settings, versions and data, but for their images."""
    versions = {name: metadata.version(name) for name in ("mlp_jax", "jax")}
    images, pixels = dataset.train_images.shape
    facts = {"training images": images, "pixels": pixels, "classes": dataset.classes}
    test = hashlib.sha256(dataset.test_images.tobytes() + dataset.test_labels.tobytes()).hexdigest()
    facts |= {"test images with SHA-256": test, "resuming": resuming}
    processes.agree(**config | {"sizes": "-".join(map(str, config["sizes"]))}, **versions, **facts)


def _go_on(
    directory: Path, keeper: Keeper, state: TrainState, processes: Processes
) -> tuple[TrainState, list[EpochMetrics]]:
    """The state in all processes after the last checkpoint of the run in `directory`, and the epochs up to it."""
    state, lines = keeper.last_state(state)
    with whole_metrics(directory):
        history = [EpochMetrics(*(line[name] for name in EpochMetrics._fields)) for line in lines]
    return processes.share(state), history


def _images_at_a_time(settings: arguments.Train, dataset: Dataset, devices: int) -> int | None:
    """How many images to stream at a time: those asked for, or what fits.

    None where a device's part of all of them takes no more than half its memory. Raises ValueError for too few.
    """
    stream, images, pixels = settings.stream, dataset.train_images.nbytes, dataset.train_images.shape[1]
    if stream is None:
        about = jax.local_devices()[0].memory_stats()  # None for a CPU
        memory = about["bytes_limit"] if about else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if images > devices * memory / 2:
            stream = max(devices * memory // 4 // pixels, 2 * settings.batch_size)
    if stream is not None:
        training.images_in_chunk(stream, settings.batch_size)  # which refuses too few
    return stream


def _angles(rule: GradientRule, dataset: Dataset, model: Model) -> Measure:
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


def _heading(config: dict[str, Any], params: Params, examples: int) -> str:
    """What is trained, on what."""
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    where = config["device"] if config["devices"] == 1 else f"{config['devices']} x {config['device']}"
    sizes, batch_size = "-".join(map(str, config["sizes"])), config["batch_size"]
    return f"{where}: {sizes}, {count:,} parameters, {examples:,} images in batches of {batch_size}"


def _line(metrics: EpochMetrics, epochs: int, examples: int, angles: list[float | None] | None) -> str:
    """What is printed after an epoch."""
    line = (
        f"epoch {metrics.epoch:>{len(str(epochs))}}   cost {metrics.loss:.4f}   "
        f"test accuracy {metrics.test_accuracy:.2%}   {examples / metrics.seconds:>9,.0f} examples/s"
    )
    if angles is None:
        return line
    return f"{line}   angles " + " ".join("-" if angle is None else f"{angle:.1f}°" for angle in angles)


def _progress(console: Console, alone: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (alone and sys.stdout.isatty()))


def _print_summary(history: list[EpochMetrics], tests: int, run: Run) -> None:
    accuracy = history[-1].test_accuracy if history else None
    wrong = None if accuracy is None else round((1 - accuracy) * tests)
    seconds = round(sum(metrics.seconds for metrics in history), 3)
    print_json(test_accuracy=accuracy, wrong=wrong, of=tests, seconds=seconds, run=str(run.directory))
