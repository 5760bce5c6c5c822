"""What each `mlp-jax` command does and prints: one function a command, which returns the exit status."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.bar import Bar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mlp_jax import activations, arguments, costs, training
from mlp_jax.activations import Activation
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.data import Dataset, load_dataset, read_digit
from mlp_jax.gradients import rules
from mlp_jax.gradients.compare import angles, compare_rules
from mlp_jax.gradients.numerical import numerical_gradient
from mlp_jax.network import Model, Params, feedforward, init_params, loss, sizes_of
from mlp_jax.runs import Run, RunError
from mlp_jax.training import DivergenceError, EpochMetrics, TrainState

AUTOMATIC = jax.grad(loss)
ANGLE_EXAMPLES = 1_000


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
    rule = _rule(settings.gradient, settings.sizes, settings)

    device = jax.devices()[0].device_kind
    config = {**asdict(settings), "learning_rate": rate, "device": device}
    del config["out"]
    run = Run.create(settings.out, config)
    run.save(params)
    measure = _angles(rule, dataset, model) if settings.angles else None
    console = _console()
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


def evaluate(settings: arguments.Evaluate) -> int:
    """Show accuracy, cost and confusion matrix of a run on the test images."""
    run, model, params = _open(settings.directory)
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
    run, model, params = _open(settings.directory)
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
    """Show how far the gradients that rules give are from jax.grad's, parameter by parameter."""
    with jax.enable_x64(settings.dtype == "float64"):
        params, model, dataset, data = _network_to_compare(settings)
        params, sizes = jax.tree.map(lambda leaf: jnp.asarray(leaf, settings.dtype), params), sizes_of(params)
        batch = training.epoch_order(settings.seed, 0, len(dataset.train_labels))[: settings.batch_size]
        inputs = training.as_inputs(jnp.asarray(dataset.train_images[batch]), params)
        targets = jax.nn.one_hot(dataset.train_labels[batch], dataset.classes, dtype=inputs.dtype)
        by_nudging = {}
        if "numerical" in settings.rules:
            by_nudging["numerical"] = numerical_gradient(loss, params, inputs, targets, model)
        names = [name for name in settings.rules if name not in ("numerical", "automatic")]
        chosen = {name: _rule(name, sizes, settings) for name in names}
        report = compare_rules(chosen, params, inputs, targets, model, gradients=by_nudging)
    exact = [name for name in report.overall if name in ("manual", "numerical")]
    agree = all(report.overall[name].agrees for name in exact)
    if settings.json:
        print(json.dumps(report.to_dict() | {"should_agree": exact, "passed": agree}))
    else:
        print(f"{'-'.join(map(str, sizes))}, {settings.dtype}, {settings.batch_size} images of {data}")
        print(report)
        for name in [name for name, overall in report.overall.items() if name not in exact and not overall.agrees]:
            print(f"{name} is another rule than backpropagation: it need not agree")
    return 0 if agree else 1


def _network_to_compare(settings: arguments.Compare) -> tuple[Params, Model, Dataset, str]:
    """Parameters, model and data, with their name: those of a run, or random parameters."""
    names = ("data", "sizes", "hidden", "output", "cost")
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    params = None
    if settings.run is not None:
        if given:
            raise ValueError(
                f"{settings.run} has its own {', '.join(given)}: leave out --{' --'.join(given)}, or --run"
            )
        run, model, params = _open(settings.run)
        data, sizes = run.config["data"], sizes_of(params)
    else:
        data, sizes, *model_names = (given.get(name, getattr(arguments.Problem, name)) for name in names)
        model = _model(*model_names)
    dataset = load_dataset(data)
    training.check_fit(sizes, dataset, 1, settings.batch_size, settings.seed)
    if params is None:
        params = init_params(jax.random.key(settings.seed), sizes)
    return params, model, dataset, data


def _rule(name: str, sizes: tuple[int, ...], settings: arguments.Train | arguments.Compare) -> GradientRule:
    """The gradient rule of that name."""
    # Another key than that of the parameters: feedback drawn from theirs would be the initial weights themselves.
    key = jax.random.fold_in(jax.random.key(settings.seed), 1)
    made = {
        "manual": lambda: backprop,
        "automatic": lambda: AUTOMATIC,
        "feedback_alignment": lambda: rules.feedback_alignment(key, sizes),
        "direct_feedback_alignment": lambda: rules.direct_feedback_alignment(key, sizes),
        "sign_symmetric": lambda: rules.sign_symmetric,
        "suggested_activations": lambda: rules.suggested_activations(settings.step),
    }
    return made[name]()


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


def _model(hidden: str, output: str, cost: str) -> Model:
    model = Model(getattr(activations, hidden), getattr(activations, output), getattr(costs, cost))
    if not (isinstance(model.hidden, Activation) and isinstance(model.output, Activation)):
        raise ValueError(f"{hidden} and {output} are not both activation functions")
    return model


def _open(directory: Path) -> tuple[Run, Model, Params]:
    run = Run.open(directory)
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
