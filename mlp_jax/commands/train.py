"""The command that trains a network."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlp_jax import arguments, training
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.commands.shared import make_console, model_of, print_json, rule_of
from mlp_jax.data import Dataset, load_dataset
from mlp_jax.gradients.compare import angles
from mlp_jax.network import Model, Params, init_params
from mlp_jax.runs import Run
from mlp_jax.training import DivergenceError, EpochMetrics, TrainState

ANGLE_EXAMPLES = 1_000


def train(settings: arguments.Train) -> int:
    """Train a network, showing each epoch and keeping its numbers and parameters as it ends."""
    training.use_one_thread_if_small(settings.sizes, settings.batch_size)
    dataset = load_dataset(settings.data)
    training.check_fit(settings.sizes, dataset, settings.epochs, settings.batch_size, settings.seed)
    model = model_of(settings.hidden, settings.output, settings.cost)
    params = init_params(jax.random.key(settings.seed), settings.sizes)
    examples = len(dataset.train_labels)
    rate = _learning_rate(settings)
    steps = settings.epochs * -(-examples // settings.batch_size)
    optimizer = training.make_optimizer(settings.optimizer, rate, settings.schedule, steps)
    rule = rule_of(settings.gradient, settings.sizes, settings)

    device = jax.devices()[0].device_kind
    config = {**asdict(settings), "learning_rate": rate, "device": device}
    del config["out"]
    run = Run.create(settings.out, config)
    run.save(params)
    measure = _angles(rule, dataset, model) if settings.angles else None
    console = make_console()
    sizes, count = "-".join(map(str, settings.sizes)), sum(leaf.size for leaf in jax.tree.leaves(params))
    console.print(f"{device}: {sizes}, {count:,} parameters, {examples:,} images in batches of {settings.batch_size}")
    history: list[EpochMetrics] = []
    status = 0
    with _interrupts_remembered() as interrupted, _progress(console) as progress:
        task = progress.add_task("epochs", total=settings.epochs)

        def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool:
            run.save(state.params)
            measured = {"angles": measure(state.params)} if measure else {}
            run.log(metrics._asdict() | measured)
            history.append(metrics)
            console.print(
                f"epoch {metrics.epoch:>{len(str(settings.epochs))}}   cost {metrics.loss:.4f}   "
                f"test accuracy {metrics.test_accuracy:.2%}   {examples / metrics.seconds:>9,.0f} examples/s"
                + _in_degrees(measured.get("angles")),
                soft_wrap=True,
            )
            progress.advance(task)
            return interrupted()

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
                callback=after_epoch,
            )
        except DivergenceError as error:
            print(f"mlp-jax: {error}", file=sys.stderr)
            status = 1
        if interrupted():
            status = 130
    _print_summary(history, len(dataset.test_labels), run)
    return status


def _angles(rule: GradientRule, dataset: Dataset, model: Model) -> Callable[[Params], list[float | None]]:
    """The angle between a rule's gradient and the true one in each layer, as a function of the parameters.

    None for a gradient that is zero or not finite.
    """
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


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty())


def _print_summary(history: list[EpochMetrics], tests: int, run: Run) -> None:
    accuracy = history[-1].test_accuracy if history else None
    wrong = None if accuracy is None else round((1 - accuracy) * tests)
    seconds = round(sum(metrics.seconds for metrics in history), 3)
    print_json(test_accuracy=accuracy, wrong=wrong, of=tests, seconds=seconds, run=str(run.directory))


@contextmanager
def _interrupts_remembered() -> Iterator[Callable[[], bool]]:
    """Meanwhile Control-C does not interrupt: what is yielded says whether it was pressed. A second one kills."""
    pressed = False

    def remember(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("mlp-jax: stopping after this epoch; Control-C again stops at once, without it", file=sys.stderr)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
