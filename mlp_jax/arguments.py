"""The arguments of the `mlp-jax` command, which need no JAX: `--help` and a mistyped flag answer at once."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_type_hints

import tyro

ActivationName = Literal["sigmoid", "relu", "leaky_relu", "tanh", "silu", "identity", "softmax"]
CostName = Literal["quadratic", "cross_entropy"]
PresetName = Literal["lesson", "sixteen", "ninety-eight", "nielsen"]
RuleName = Literal[
    "manual",
    "automatic",
    "feedback_alignment",
    "direct_feedback_alignment",
    "sign_symmetric",
    "suggested_activations",
]
Directory = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
Cache = Annotated[
    bool, tyro.conf.arg(help="Whether to keep compiled programs in the user's cache directory, for the next time.")
]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network and what it is to learn."""

    data: str = "mnist"
    """What to learn: mnist, which is inside the package; a directory of four IDX files, raw or gzipped; an .npz file
    with x_train, y_train, x_test and y_test; or tfds:NAME[:CONFIG], image classification of TensorFlow Datasets."""
    sizes: tuple[int, ...] = (0, 16, 16, 0)
    """Neurons of each layer; 0 for the first or the last: as many as the data have pixels or classes."""
    hidden: ActivationName = "sigmoid"
    """Activation function of the hidden layers."""
    output: ActivationName = "sigmoid"
    """Activation function of the last layer."""
    cost: CostName = "quadratic"
    """Cost of an example, whose average training minimises."""
    batch_size: int = 100
    """Images in a mini-batch."""
    seed: int = 0
    """Where randomness starts: the same seed gives the same numbers."""


@dataclass(frozen=True, kw_only=True)
class Run(Problem):
    """How training goes, what is kept of it, and how it goes on."""

    preset: PresetName = "lesson"
    """Settings to begin with, any of which may be given another value: lesson, the lessons' network and plain SGD;
    sixteen, the same sizes trained as well as we can; ninety-eight, a wide hidden layer; nielsen, those of his book."""
    standard_normal: bool = False
    """Whether initial weights have a standard deviation of 1, as in the lessons, instead of 1/sqrt(inputs)."""
    shift: int = 0
    """By how many pixels at most each training image is moved each way, anew in each epoch."""
    validation: int = 0
    """How many training images to hold out and test with instead of the test images: to choose settings by."""

    out: Path | None = None
    """Directory to keep it in, new or empty; if not given, a new one in runs/."""
    resume: Path | None = None
    """Directory of an earlier run to go on with, from its last checkpoint and with its settings. More --epochs than it
    had may be given."""
    checkpoint_every: float = 2.0
    """Seconds of training between checkpoints, at least; 0 for one after every epoch."""
    cache: Cache = True


@dataclass(frozen=True, kw_only=True)
class Train(Run):
    """Train a network and keep it in a directory of its own."""

    epochs: int = 30
    """How often each training image is seen."""
    learning_rate: float | None = None
    """Length of a step downhill; if not given, 3 with sgd and 0.001 with any other optimiser."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Whether the learning rate stays as it is or falls to 0 along a cosine."""
    optimizer: str = "sgd"
    """What Optax calls it: sgd, adam, adamw, lion, rmsprop and so on."""
    gradient: RuleName = "manual"
    """The backward pass written by hand, jax.grad, or another rule of mlp_jax.gradients.rules."""
    step: float = 0.5
    """How far suggested_activations suggests; 0.5 is backpropagation."""
    angles: bool = False
    """Whether to show and log, after each epoch, the angle between the rule's gradient and the true one, in degrees,
    layer by layer, on 1,000 training images."""
    tensorboard: bool = False
    """Whether to keep, after each epoch, what TensorBoard draws: numbers, histograms of weights, biases and deltas."""
    stream: int | None = None
    """How many training images to have on the device at a time, for sets larger than its memory. If not given, all, or
    as many as fill a quarter of it where all would take more than half."""
    devices: int = 1
    """How many of this machine's devices share each mini-batch. Several processes use all that they have."""
    distributed: bool = False
    """Whether this is one of several processes, started by SLURM, Open MPI, Kubernetes or on a TPU pod, that train one
    network together."""
    coordinator: str | None = None
    """With any other launcher: where process 0 can be reached, HOST:PORT, the same for all processes."""
    num_processes: int | None = None
    """With --coordinator: how many processes there are."""
    process_id: int | None = None
    """With --coordinator: which of them this is, from 0. Process 0 alone prints and keeps the run."""
    timeout: int = 60
    """Seconds that processes wait for one another."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Run):
    """Train many networks at once, one for each combination of settings, and keep each as a run of its own."""

    seeds: int = 8
    """How many networks for each combination, from initial parameters of their own: seeds from --seed on."""
    learning_rate: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    """Lengths of a step downhill."""
    scale: tuple[float, ...] = (1.0,)
    """What the initial weights are multiplied by."""
    own_batches: bool = False
    """Whether each seed draws mini-batches of its own. Shared by all they are faster."""
    epochs: int = 30
    """How often each training image is seen."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Whether the learning rates stay as they are or fall to 0 along a cosine."""
    optimizer: str = "sgd"
    """What Optax calls it: sgd, adam, adamw, lion, rmsprop and so on."""


@dataclass(frozen=True)
class Evaluate:
    """Show how well a trained network does on the test images, class by class."""

    directory: Directory
    """Where the run was kept."""
    cache: Cache = True


@dataclass(frozen=True)
class Predict:
    """Ask a trained network which digits are in pictures of your own."""

    directory: Directory
    """Where the run was kept."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
    """Image files of any kind, a digit in each."""
    cache: Cache = True


@dataclass(frozen=True)
class Export:
    """Write a trained network as a StableHLO program, which JAX runs without this package."""

    directory: Directory
    """Where the run was kept."""
    out: Path | None = None
    """File to write it to; if not given, predict.stablehlo in the run's directory."""


@dataclass(frozen=True)
class Report:
    """Write a page of its own to look at a trained network with: one file that opens in any browser."""

    directory: Directory
    """Where the run was kept."""
    out: Path | None = None
    """File to write it to; if not given, report.html in the run's directory."""
    cache: Cache = True


@dataclass(frozen=True)
class Serve:
    """Show that page in the browser, from this machine to this machine alone, until Control-C."""

    directory: Directory
    """Where the run was kept."""
    port: int = 0
    """Of 127.0.0.1, where to serve it; 0 is a free one."""
    open: bool = True
    """Whether to open the browser too."""
    cache: Cache = True


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Hold the gradient by hand, or another rule's, against jax.grad on one mini-batch.

    The exit status is 1 if the gradients by hand, by jax.grad and by nudging, as far as they are asked for, disagree.
    """

    run: Path | None = None
    """A trained network to do it with, its data, activations and cost included."""
    data: str | None = None
    """Without a run: what to learn; mnist if not given."""
    sizes: tuple[int, ...] | None = None
    """Without a run: neurons of each layer; 0 16 16 0 if not given, 0 being as many as pixels or classes."""
    hidden: ActivationName | None = None
    """Without a run: activation function of the hidden layers; sigmoid if not given."""
    output: ActivationName | None = None
    """Without a run: activation function of the last layer; sigmoid if not given."""
    cost: CostName | None = None
    """Without a run: cost of an example; quadratic if not given."""
    batch_size: int = 100
    """Images in the mini-batch."""
    seed: int = 0
    """Where randomness starts: the same seed gives the same numbers."""
    rules: tuple[RuleName | Literal["numerical"], ...] = ("manual",)
    """What to compare with jax.grad; numerical is by nudging, in float64."""
    step: float = 0.5
    """How far suggested_activations suggests; 0.5 is backpropagation."""
    dtype: Literal["float16", "bfloat16", "float32", "float64"] = "float32"
    """Type of parameters, inputs and all that is computed from them."""
    json: bool = False
    """Print JSON instead of a table."""
    cache: Cache = True


@dataclass(frozen=True)
class Experiment:
    """Run a claim of the lessons: print the finding, draw NAME.png and write the numbers to NAME.json."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """Which one, or all; if not given, they are listed."""
    run: Path | None = None
    """A trained network to try it on, if it takes one, and its data; if not given, the network of the lessons is
    trained on MNIST from eight seeds."""
    out: Path | None = None
    """Directory to write to; if not given, the run's, or experiments."""
    image: int | None = None
    """For one-example: which test image, from 0."""
    cache: Cache = True


Command = Union[Train, Sweep, Evaluate, Predict, Export, Report, Serve, Compare, Experiment]  # noqa: UP007 - with X | Y, `--help` takes half as long again


PRESETS: dict[PresetName, dict[str, Any]] = {
    "lesson": {},
    "sixteen": {
        "hidden": "leaky_relu",
        "output": "softmax",
        "optimizer": "adam",
        "learning_rate": 0.006,
        "epochs": 120,
        "shift": 1,
    },
    "ninety-eight": {
        "sizes": (0, 256, 0),
        "hidden": "relu",
        "output": "softmax",
        "cost": "cross_entropy",
        "optimizer": "adam",
        "learning_rate": 0.005,
        "batch_size": 500,
        "epochs": 40,
        "shift": 1,
    },
    # His cost has the factor 1/2 that ours has not: his learning rate 3.0 is half as much here.
    "nielsen": {
        "sizes": (0, 30, 0),
        "learning_rate": 1.5,
        "schedule": "constant",
        "batch_size": 10,
        "standard_normal": True,
    },
}
"""Settings that differ from the default ones, by name."""


def parse(arguments: Sequence[str] | None) -> Command:
    """The command that the arguments ask for, with the settings of the run that it goes on with, if it does.

    Raises ValueError, in one line, where they make no sense, and where there is no such run.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    command: Command = _parse(Command, arguments)
    if not isinstance(command, Train | Sweep):
        return command
    if command.resume is not None:
        return _parse(type(command), arguments[1:], default=_kept_settings(command.resume, type(command)))
    if command.preset != "lesson":
        return _parse(type(command), arguments[1:], default=preset(type(command), command.preset))
    return command


def preset(kind: type[Train | Sweep], name: PresetName) -> Any:
    """The settings of that name for a command."""
    settings = dict(PRESETS[name], preset=name)
    if kind is Sweep and "learning_rate" in settings:
        settings["learning_rate"] = (settings["learning_rate"],)
    return kind(**settings)


def _parse(kind: Any, arguments: Sequence[str], **default: Any) -> Any:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog="mlp-jax",
                description="Train, examine and use multilayer perceptrons.",
                args=arguments,
                **default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ValueError(_in_one_line(complaint.getvalue()))


def _kept_settings(directory: Path, kind: type) -> Any:
    """The settings that the run in this directory was started with."""
    file = directory / "config.json"
    if not file.is_file():
        raise ValueError(f"{directory} is no run to go on with: there is no {file.name} in it")
    from typeguard import TypeCheckError, check_type  # here, for it takes as long as all of Tyro

    types = get_type_hints(kind)
    try:
        values = {name: value for name, value in json.loads(file.read_text()).items() if name in types}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error})") from error
    for name, value in values.items():
        values[name] = tuple(value) if isinstance(value, list) else value
        try:
            check_type(values[name], types[name])
        except TypeCheckError as error:
            raise ValueError(
                f"{file} is not one of mlp-jax {kind.__name__.lower()}: {name} is {value!r} there"
            ) from error
    return kind(**values)


def _in_one_line(complaint: str) -> str:
    """What Tyro draws as a box, a title and paragraphs with rules between them: the first, and what it suggests."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", complaint)  # without colours
    lines = [re.sub(r"^-+$", "", line.strip(" │╭╮╰╯─")) for line in plain.splitlines()]
    mistake, *more = "\n".join(lines[1:]).strip().split("\n\n")
    rest = " ".join(" ".join(more).split())
    likely = re.search(r"Perhaps you meant: (\S+)", rest)
    helps = re.search(r"mlp-jax(?: \w+)? --help", rest)
    parts = [
        " ".join(mistake.split()).rstrip(" ."),
        f"see {helps[0] if helps else 'mlp-jax --help'}",
    ]
    return "; ".join([parts[0], f"perhaps you meant {likely[1]}", parts[1]] if likely else parts)
