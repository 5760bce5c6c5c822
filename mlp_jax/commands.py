"""What each `mlp-jax` command does and prints: one function a command, which returns the exit status."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
from rich.bar import Bar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mlp_jax import activations, arguments, costs, training
from mlp_jax.activations import Activation
from mlp_jax.backprop import backprop
from mlp_jax.data import load_dataset, read_digit
from mlp_jax.gradients.compare import leaf_differences, rounding_bound
from mlp_jax.network import Model, Params, feedforward, init_params, loss, sizes_of
from mlp_jax.runs import Run, RunError
from mlp_jax.training import DivergenceError, EpochMetrics, TrainState

RULES = {"manual": backprop, "automatic": jax.grad(loss)}


def train(settings: arguments.Train) -> int:
    """Train a network, showing each epoch and keeping its numbers and parameters as it ends."""
    training.use_one_thread_if_small(settings.sizes, settings.batch_size)
    dataset = load_dataset(settings.data)
    training.check_fit(settings.sizes, dataset, settings.epochs, settings.batch_size, settings.seed)
    model = _model(settings.hidden, settings.output, settings.cost)
    params = init_params(jax.random.key(settings.seed), settings.sizes)
    examples = len(dataset.train_labels)
    rate = _learning_rate(settings)
    steps = settings.epochs * -(-examples // settings.batch_size)
    optimizer = training.make_optimizer(settings.optimizer, rate, settings.schedule, steps)

    device = jax.devices()[0].device_kind
    config = {**asdict(settings), "learning_rate": rate, "device": device}
    del config["out"]
    run = Run.create(settings.out, config)
    run.save(params)
    console = _console()
    sizes, count = "-".join(map(str, settings.sizes)), sum(leaf.size for leaf in jax.tree.leaves(params))
    console.print(f"{device}: {sizes}, {count:,} parameters, {examples:,} images in batches of {settings.batch_size}")
    history: list[EpochMetrics] = []
    status = 0
    with _interrupts_remembered() as interrupted, _progress(console) as progress:
        task = progress.add_task("epochs", total=settings.epochs)

        def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool:
            run.save(state.params)
            run.log(metrics._asdict())
            history.append(metrics)
            console.print(
                f"epoch {metrics.epoch:>{len(str(settings.epochs))}}   cost {metrics.loss:.4f}   "
                f"test accuracy {metrics.test_accuracy:.2%}   {examples / metrics.seconds:>9,.0f} examples/s"
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
                gradient=RULES[settings.gradient],
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


def evaluate(settings: arguments.Evaluate) -> int:
    """Show accuracy, cost and confusion matrix of a run on the test images."""
    run, model, params = _open(settings)
    dataset = load_dataset(run.config["data"])
    if sizes_of(params)[-1] != dataset.classes:
        raise RunError(
            f"{run.directory} has {sizes_of(params)[-1]} outputs, but the data have {dataset.classes} classes"
        )
    result = training.evaluate(params, dataset.test_images, dataset.test_labels, model)
    table = Table(title="Images of each class (rows) by the network's answer (columns)")
    table.add_column("")
    for answer in range(dataset.classes):
        table.add_column(str(answer), justify="right", no_wrap=True, min_width=4)
    table.add_column("right", justify="right")
    for label, row in enumerate(result.confusion):
        counts = [str(count) if count else "·" for count in row]
        table.add_row(str(label), *counts, f"{row[label] / max(row.sum(), 1):.1%}")
    _console().print(table)
    _print_json(
        test_accuracy=result.accuracy, wrong=result.wrong, of=len(dataset.test_labels), cost=round(result.loss, 6)
    )
    return 0


def predict(settings: arguments.Predict) -> int:
    """Show what a run's network answers to each picture."""
    run, model, params = _open(settings)
    if not settings.images:
        raise ValueError("there is no image to look at: give one or more image files after the run's directory")
    if sizes_of(params)[0] != 784:
        raise RunError(f"{run.directory} has {sizes_of(params)[0]} inputs: pictures are made into 784 pixels")
    digits = [read_digit(path) for path in settings.images]
    console = _console()
    for path, digit in zip(settings.images, digits, strict=True):
        outputs = np.asarray(feedforward(params, training.as_inputs(jnp.asarray(digit.pixels), params), model))
        notes = [", dark ink on light paper, inverted"] * digit.inverted + [", scaled and centred"] * digit.resized
        console.print(f"{path}{''.join(notes)}", markup=False, soft_wrap=True)
        bars = Table.grid(padding=(0, 1))
        for answer, activation in enumerate(outputs):
            bar = Bar(size=max(1.0, outputs.max()), begin=0, end=max(0.0, activation), width=40)
            bars.add_row(str(answer), f"{activation:7.4f}", bar)
        console.print(bars)
        print(f"answer: {outputs.argmax()}")
    return 0


def compare(settings: arguments.Compare) -> int:
    """Show how far the gradient by hand is from jax.grad's, parameter by parameter."""
    dataset = load_dataset(settings.data)
    training.check_fit(settings.sizes, dataset, 1, settings.batch_size, settings.seed)
    model = _model(settings.hidden, settings.output, settings.cost)
    params = init_params(jax.random.key(settings.seed), settings.sizes)
    batch = training.epoch_order(settings.seed, 0, len(dataset.train_labels))[: settings.batch_size]
    inputs = training.as_inputs(jnp.asarray(dataset.train_images[batch]), params)
    targets = jax.nn.one_hot(dataset.train_labels[batch], dataset.classes)
    with jax.default_matmul_precision("highest"):  # accelerators multiply in fewer bits unless told
        by_hand, automatic = (jax.jit(rule)(params, inputs, targets, model) for rule in RULES.values())
    bound = rounding_bound(settings.sizes, settings.batch_size, float(jnp.finfo(inputs.dtype).eps))
    table = Table(title=f"backprop against jax.grad, {settings.batch_size} images, {inputs.dtype}")
    for heading in ("parameters", "shape", "absolute difference", "relative difference"):
        table.add_column(heading, justify="left" if heading == "parameters" else "right")
    differences = leaf_differences(by_hand, automatic)
    for leaf in differences:
        shape = " x ".join(map(str, leaf.shape))
        colour = "" if leaf.relative <= bound else "red"
        table.add_row(leaf.path, shape, f"{leaf.absolute:.2e}", f"{leaf.relative:.2e}", style=colour)
    console = _console()
    console.print(table)
    agree = all(leaf.relative <= bound for leaf in differences)
    verdict = "they agree" if agree else "they disagree"
    console.print(f"{verdict}: rounding explains a relative difference up to {bound:.1e}")
    return 0 if agree else 1


def _learning_rate(settings: arguments.Train) -> float:
    if settings.learning_rate is not None:
        return settings.learning_rate
    return training.LEARNING_RATE if settings.optimizer == "sgd" else 0.001


def _model(hidden: str, output: str, cost: str) -> Model:
    model = Model(getattr(activations, hidden), getattr(activations, output), getattr(costs, cost))
    if not (isinstance(model.hidden, Activation) and isinstance(model.output, Activation)):
        raise ValueError(f"{hidden} and {output} are not both activation functions")
    return model


def _open(settings: arguments.Evaluate | arguments.Predict) -> tuple[Run, Model, Params]:
    run = Run.open(settings.directory)
    try:
        _, *names = (run.config[name] for name in ("data", "hidden", "output", "cost"))
        model = _model(*names)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{run.directory / 'config.json'} does not describe data and a model ({error!r})") from error
    return run, model, run.load()


def _console() -> Console:
    return Console(highlight=False, emoji=False)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty())


def _print_summary(history: list[EpochMetrics], tests: int, run: Run) -> None:
    accuracy = history[-1].test_accuracy if history else None
    wrong = None if accuracy is None else round((1 - accuracy) * tests)
    seconds = round(sum(metrics.seconds for metrics in history), 3)
    _print_json(test_accuracy=accuracy, wrong=wrong, of=tests, seconds=seconds, run=str(run.directory))


def _print_json(**values: object) -> None:
    """One line that a program can read."""
    print(json.dumps(values))


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
