"""The command that trains a network."""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlp_jax import arguments, training
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.commands.interrupts import interrupts_remembered
from mlp_jax.commands.shared import keep_programs, make_console, model_of, print_json, rule_of
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.network import Model, Params, init_params
from mlp_jax.runs import Run
from mlp_jax.training import DivergenceError, EpochMetrics, TrainState
from mlp_jax.training.processes import Processes, processes_of, together

ANGLE_EXAMPLES = 1_000
PLACES = ("out", "cache", "distributed", "coordinator", "num_processes", "process_id", "timeout")
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
    config = {name: value for name, value in asdict(settings).items() if name not in PLACES}
    if processes.count > 1:
        versions = {name: metadata.version(name) for name in ("mlp_jax", "jax")}
        processes.agree(**{**config, "sizes": "-".join(map(str, settings.sizes)), **versions})
    training.use_one_thread_if_small(settings.sizes, settings.batch_size)
    keep_programs(settings.cache)
    dataset = load_dataset(settings.data, part=processes.index, parts=processes.count)
    if processes.count > 1:
        processes.agree(**_facts(dataset))
    processes.start()
    mesh = processes.mesh(settings.devices)
    training.check_fit(settings.sizes, dataset, settings.epochs, settings.batch_size, settings.seed, mesh)
    model = model_of(settings.hidden, settings.output, settings.cost)
    params = init_params(jax.random.key(settings.seed), settings.sizes)
    examples = processes.count * len(dataset.train_labels)
    rate = _learning_rate(settings)
    steps = settings.epochs * -(-examples // settings.batch_size)
    optimizer = training.make_optimizer(settings.optimizer, rate, settings.schedule, steps)
    rule = rule_of(settings.gradient, settings.sizes, settings)

    device = jax.devices()[0].device_kind
    devices = 1 if mesh is None else mesh.size
    config |= {"learning_rate": rate, "device": device, "devices": devices, "processes": processes.count}
    run = Run.create(settings.out, config) if processes.index == 0 else None
    if run:
        run.save(params)
    measure = _angles(rule, dataset, model) if settings.angles else None
    console = make_console(quiet=run is None)
    sizes, count = "-".join(map(str, settings.sizes)), sum(leaf.size for leaf in jax.tree.leaves(params))
    where = device if devices == 1 else f"{devices} x {device}"
    console.print(f"{where}: {sizes}, {count:,} parameters, {examples:,} images in batches of {settings.batch_size}")
    history: list[EpochMetrics] = []
    status = 0
    with interrupts_remembered() as interrupted, _progress(console, alone=processes.count == 1) as progress:
        task = progress.add_task("epochs", total=settings.epochs)

        def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool:
            measured = {"angles": measure(state.params)} if measure else {}
            if run:
                run.save(state.params)
                run.log(metrics._asdict() | measured)
            history.append(metrics)
            console.print(
                f"epoch {metrics.epoch:>{len(str(settings.epochs))}}   cost {metrics.loss:.4f}   "
                f"test accuracy {metrics.test_accuracy:.2%}   {examples / metrics.seconds:>9,.0f} examples/s"
                + _in_degrees(measured.get("angles")),
                soft_wrap=True,
            )
            progress.advance(task)
            return processes.any(interrupted())

        try:
            training.fit(
                params,
                dataset,
                model,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                optimizer=optimizer,
                gradient=rule,
                seed=settings.seed,
                mesh=mesh,
                callback=after_epoch,
            )
        except DivergenceError as error:
            if run:
                print(f"mlp-jax: {error}", file=sys.stderr)
            status = 1
        if processes.any(interrupted()):
            status = 130
    if run:
        _print_summary(history, len(dataset.test_labels), run)
    return status


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
