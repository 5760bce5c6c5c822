"""The settings of every command, as data: dataclasses and presets. The docstring below a field is its help text."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

ActivationName = Literal["sigmoid", "relu", "leaky_relu", "tanh", "silu", "identity", "softmax"]
CostName = Literal["quadratic", "cross_entropy"]
PresetName = Literal["lesson", "sixteen", "ninety-eight", "nielsen", "table"]
RuleName = Literal[
    "manual", "automatic", "feedback_alignment", "direct_feedback_alignment", "sign_symmetric", "suggested_activations"
]
# A field whose type is annotated with a name is a positional argument, shown by that name.
Directory = Annotated[Path, "DIR"]


@dataclass(frozen=True, kw_only=True)
class Cached:
    """A command that compiles programs."""

    cache: bool = True
    """Whether to keep compiled programs in the user's cache directory, so that the next run starts faster."""


@dataclass(frozen=True, kw_only=True)
class OfRun:
    """A command about an existing run."""

    directory: Directory
    """Directory of the run."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network and the data it learns."""

    data: str = "mnist"
    """Data to learn: mnist, which is inside the package; a table, .csv, .tsv, .parquet or .feather, with --target; a
    directory with a folder of pictures for each class; a directory of four IDX files, raw or gzipped; an .npz file with
    x and y, or x_train, y_train, x_test and y_test, whose x are images or any floats, and whose y are class numbers or
    floats to predict; or tfds:NAME[:CONFIG], an image classification set of TensorFlow Datasets."""
    target: str | None = None
    """Of a table: the column to predict."""
    task: Literal["classification", "regression"] | None = None
    """Of a table: whether to predict classes or numbers. If not given: classes for text, for yes and no, and for
    integers of at most 20 different values; else numbers."""
    ignore: tuple[str, ...] | None = None
    """Of a table: columns not to predict from."""
    scaling: Literal["robust", "standard", "none"] | None = None
    """Of a table: how columns of numbers are scaled. robust: by median and quartiles, and outliers are drawn in.
    standard: by mean and standard deviation. If not given: robust."""
    test: str | None = None
    """Of a table: another file of the same columns, to test with. If not given: some of the rows."""
    test_fraction: float | None = None
    """Which fraction of a table, of folders of pictures, or of x and y in an .npz file to test with. If not given:
    0.2."""
    split: str | None = None
    """Which of them: random, with the same fraction of each class; time, the last ones; or the name of a column that
    says train or test. If not given: random."""
    image_size: tuple[int, ...] | None = None
    """Height and width that the pictures in folders get, in pixels. If not given: 28 28."""
    unreadable: Literal["stop", "skip"] | None = None
    """Whether to stop at pictures that cannot be read, or to skip them. If not given: stop."""
    sizes: tuple[int, ...] = (0, 16, 16, 0)
    """Neurons in each layer. 0 for the first or the last layer: as many as the data need."""
    hidden: ActivationName = "sigmoid"
    """Activation function of the hidden layers."""
    output: ActivationName | None = None
    """Activation function of the last layer. If not given: softmax for the classes of a table, sigmoid for others,
    identity for numbers."""
    cost: CostName | None = None
    """Cost of one example; training minimises its average. If not given: cross_entropy for the classes of a table, else
    quadratic."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """How examples are drawn."""

    batch_size: int = 100
    """Examples in a mini-batch."""
    seed: int = 0
    """Seed of all random numbers: the same seed gives the same numbers."""


@dataclass(frozen=True, kw_only=True)
class Training(Cached, Batches, Problem):
    """Settings of train and of sweep."""

    preset: PresetName = "lesson"
    """Settings to start from. Other options change single ones. lesson: the network of the lessons and plain
    SGD. sixteen: the same sizes, trained as well as we can. ninety-eight: a wide hidden layer. nielsen: the network
    and the settings of Nielsen's book. table: two hidden layers of 128, early stopping; the default with --target."""
    epochs: int = 30
    """How often each training example is used."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Whether the learning rate stays constant or falls to 0 along a cosine."""
    optimizer: str = "sgd"
    """Name of the optimiser in Optax: sgd, adam, adamw, lion, rmsprop and so on."""
    weight_decay: float = 0.0
    """L2 weight decay, of weights and not of biases; 0 for none. With sgd, adam and most others it is coupled: weight
    decay times the weight, the gradient of half the weight decay times the sum of squared weights, is added to the
    gradient. With adamw, lion and others that have their own it is decoupled: each step also subtracts learning rate
    times weight decay times the weight."""
    standard_normal: bool = False
    """Whether initial weights have a standard deviation of 1, as in Nielsen's book, instead of 1/sqrt(inputs)."""
    shift: int = 0
    """Move each training image by up to this many pixels each way, anew in each epoch."""
    validation: int | float = 0
    """How many training examples to hold out and validate with after each epoch, instead of the test examples: to
    choose settings by. Below 1: which fraction of them."""
    out: Path | None = None
    """Directory to keep the run in, new or empty. If not given: a new one in runs/."""
    resume: Path | None = None
    """Directory of an earlier run to resume from its last checkpoint, with its settings. --epochs can be raised."""
    checkpoint_every: float = 2.0
    """Seconds of training between checkpoints, at least; 0 for one after every epoch."""


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a network and keep it in a directory of its own."""

    learning_rate: float | None = None
    """Learning rate. If not given: 0.001 with any optimiser but sgd. With sgd 3, but 0.3 if hidden layers have other
    functions than sigmoid and softmax, 0.1 if outputs go beyond 0 to 1, and less if the layer before the last is
    wide."""
    gradient: RuleName = "manual"
    """The backward pass written by hand, jax.grad, or another rule of mlp_jax.gradients.rules."""
    step: float = 0.5
    """Step of suggested_activations; 0.5 makes it backpropagation."""
    members: int = 1
    """How many networks to train at once, from different initial parameters. The run is then a committee: the outputs
    of its members are averaged. With --patience each member stops on its own."""
    vary: bool = False
    """Whether members also differ, at random, in learning rate (up to 5 times more or less), weight decay if there is
    any (up to 100 times) and scale of the initial weights (up to 2 times). The quarter of them with the lowest cost of
    the examples that --validation holds out is kept."""
    patience: int | None = None
    """Stop after this many epochs without a lower cost of the examples that --validation holds out, and keep the
    parameters of the best epoch. If not given: never stop early, but after 30 epochs with preset table."""
    angles: bool = False
    """Whether to show and log, after each epoch, the angle between the rule's gradient and the true one, in degrees,
    layer by layer, on 1,000 training examples."""
    tensorboard: bool = False
    """Whether to log for TensorBoard after each epoch: metrics, and histograms of weights, biases and deltas."""
    stream: int | None = None
    """How many training examples to have on the device at a time, for data larger than its memory. If not given: all,
    or, if all would take more than half of the memory, as many as fill a quarter."""
    devices: int = 1
    """How many of this machine's devices share each mini-batch. Several processes use all that they have."""
    distributed: bool = False
    """Whether this is one of several processes, started by SLURM, Open MPI, Kubernetes or on a TPU pod, that train one
    network together."""
    coordinator: str | None = None
    """With any other launcher: the address of process 0, HOST:PORT, the same for all processes."""
    num_processes: int | None = None
    """With --coordinator: how many processes there are."""
    process_id: int | None = None
    """With --coordinator: the number of this process, from 0. Only process 0 prints and keeps the run."""
    timeout: int = 60
    """Seconds that processes wait for one another."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Training):
    """Train many networks at once, one for each combination of settings, and keep each as a run of its own."""

    seeds: int = 8
    """How many networks for each combination, from different initial parameters: seeds from --seed on."""
    learning_rate: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    """Learning rates."""
    scale: tuple[float, ...] = (1.0,)
    """Factors that the initial weights are multiplied by."""
    own_batches: bool = False
    """Whether each seed draws its own mini-batches. Mini-batches shared by all are faster."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun, Cached):
    """Show how well a trained network does on the test examples."""


@dataclass(frozen=True, kw_only=True)
class Predict(OfRun, Cached):
    """Ask a trained network for its answers: to pictures, or to the rows of a table."""

    files: Annotated[tuple[Path, ...], "FILE..."]
    """Image files of any kind and folders of them, or one table with the columns that the network learned from."""
    out: Path | None = None
    """A CSV file to write the answers to, a row for each. If not given, they are printed: of a table the first ten."""
    json: bool = False
    """Print a line of JSON for each answer, with the activation of each output."""
    seen: Path | None = None
    """Of pictures: a directory to write to what the network saw of each, as PNG files."""
    spread: bool = False
    """Of a table, with a committee: whether to say how far its members' answers lie apart, as a standard deviation, and
    of numbers between which bounds nine of ten true numbers are expected."""


@dataclass(frozen=True, kw_only=True)
class Export(OfRun):
    """Write a trained network as a StableHLO program, which JAX runs without this package."""

    out: Path | None = None
    """File to write. If not given: predict.stablehlo in the run's directory."""


@dataclass(frozen=True, kw_only=True)
class Report(OfRun, Cached):
    """Write a page to look at a trained network with: one file that opens in any browser."""

    out: Path | None = None
    """File to write. If not given: report.html in the run's directory."""


@dataclass(frozen=True, kw_only=True)
class Serve(OfRun, Cached):
    """Show the page of a trained network in the browser, from this machine to this machine only, until Control-C."""

    port: int = 0
    """Port of 127.0.0.1 to serve it on; 0 for a free one."""
    open: bool = True
    """Whether to open the browser too."""


@dataclass(frozen=True, kw_only=True)
class Compare(Cached, Batches, Problem):
    """Compare the gradient by hand, or that of another rule, with jax.grad on one mini-batch.

    The exit status is 1 if the gradients by hand, by jax.grad and by finite differences, as far as they are asked for,
    disagree.
    """

    run: Path | None = None
    """Directory of a run, whose trained network and data are used in place of --data, --sizes, --hidden, --output and
    --cost."""
    rules: tuple[Literal[RuleName, "numerical"], ...] = ("manual",)
    """What to compare with jax.grad; numerical is finite differences in float64."""
    step: float = 0.5
    """Step of suggested_activations; 0.5 makes it backpropagation."""
    dtype: Literal["float16", "bfloat16", "float32", "float64"] = "float32"
    """Type of the parameters, the inputs and all that is computed from them."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Cached):
    """Run a claim of the lessons: print the finding, draw NAME.png and write the numbers to NAME.json."""

    name: Annotated[str | None, "[NAME]"] = None
    """Which claim, or all. If not given: they are listed."""
    run: Path | None = None
    """Directory of a run, whose trained network and data are used by the claims that need one. If not given: the
    network of the lessons is trained on MNIST from eight seeds."""
    out: Path | None = None
    """Directory to write to. If not given: the run's, or experiments."""
    image: int | None = None
    """For one-example and each-output: the number of the test image, from 0."""


DATA_OPTIONS = ("target", "task", "ignore", "scaling", "test", "test_fraction", "split", "image_size", "unreadable")
"""The settings that say how `data` are read; None if not given."""

GROUPS = {
    "training": (
        *("preset", "epochs", "learning_rate", "batch_size", "seed", "seeds", "own_batches", "members", "vary"),
        *("optimizer", "schedule", "weight_decay", "gradient", "step"),
    ),
    "network": ("sizes", "hidden", "output", "cost", "scale", "standard_normal"),
    "data": ("data", *DATA_OPTIONS, "validation", "patience", "shift", "stream"),
    "run": ("out", "resume", "checkpoint_every", "tensorboard", "angles", "cache"),
    "several devices and processes": (
        "devices",
        "distributed",
        "coordinator",
        "num_processes",
        "process_id",
        "timeout",
    ),
}
"""The settings of train and sweep as their help shows them: by purpose, the common ones first."""

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
    # Nielsen's cost has the factor 1/2 that ours has not: his learning rate 3.0 is half as much here.
    "nielsen": {
        "sizes": (0, 30, 0),
        "learning_rate": 1.5,
        "schedule": "constant",
        "batch_size": 10,
        "standard_normal": True,
    },
    "table": {
        "sizes": (0, 128, 128, 0),
        "hidden": "silu",
        "optimizer": "adam",
        "learning_rate": 0.003,
        "weight_decay": 0.001,
        "batch_size": 64,
        "epochs": 200,
        "validation": 0.15,
        "patience": 30,
    },
}
"""The settings of each preset that differ from the defaults."""

Kind = TypeVar("Kind", bound=Training)


def preset(kind: type[Kind], name: PresetName) -> Kind:
    """The settings of this name for a command, Train or Sweep."""
    known = {field.name for field in fields(kind)}
    settings: dict[str, Any] = {key: value for key, value in PRESETS[name].items() if key in known}
    settings["preset"] = name
    if issubclass(kind, Sweep) and "learning_rate" in settings:
        settings["learning_rate"] = (settings["learning_rate"],)
    return kind(**settings)


def command_of(config: Mapping[str, Any]) -> str:
    """The command line that repeats a run, with only the settings that differ from the defaults.

    config: the contents of config.json. A run that was resumed with more epochs is repeated only roughly, because its
    learning rate followed another schedule at first. Empty if `mlp-jax train` did not make the run, but a sweep did.
    """
    name = config.get("preset")
    if "checkpoint_every" not in config or name not in tuple(PRESETS):
        return ""
    usual = asdict(preset(Train, name)) | {"preset": "table" if config.get("target") else "lesson"}
    words = ["mlp-jax", "train"]
    for setting, value in config.items():
        values = value if isinstance(value, list) else [value]
        if setting not in usual or value is None or usual[setting] in (value, tuple(values)):
            continue
        flag = setting.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{flag}")
        elif isinstance(value, str) and value.startswith("-"):
            words.append(f"--{flag}={value}")
        else:
            words += [f"--{flag}", *map(str, values)]
    return shlex.join(words)
