"""How long the package takes, beside what people would write or pick instead.

    python scripts/benchmark.py epoch --readme README.md --figure epoch.png
    python scripts/benchmark.py epoch --sizes 784 2048 2048 10 --batch-size 512 --examples 6144 --peers mlp_jax numpy
    python scripts/benchmark.py population --readme README.md
    python scripts/benchmark.py gradients --rounds 9 --out gradients.json
    python scripts/benchmark.py scaling --figure scaling.png
    python scripts/benchmark.py startup --out startup.json
    python scripts/benchmark.py checkpoints --rounds 15
    python scripts/benchmark.py stream --scratch /var/tmp --out stream.json
    python scripts/benchmark.py page --rounds 100

Contestants take turns, so that a machine whose speed drifts drifts for all of them; the first call of each, which
compiles or warms up, is not counted. Other packages take part where they are installed:
`pip install -e '.[bench]'`. Each benchmark is a module of `benchmarks/`, imported when it is run.
"""

import sys
from pathlib import Path
from typing import Literal, get_args

import tyro

Peer = Literal["mlp_jax", "nielsen", "numpy", "sklearn", "torch", "torch_compile", "flax", "equinox", "jax"]
Axis = Literal["examples", "width", "depth", "batch", "population", "devices"]


def epoch(
    sizes: tuple[int, ...] = (784, 16, 16, 10),
    batch_size: int = 100,
    examples: int = 60_000,
    learning_rate: float = 3.0,
    rounds: int = 7,
    peers: tuple[Peer, ...] = get_args(Peer),
    peer_threads: int | None = None,
    out: Path | None = None,
    figure: Path | None = None,
    readme: Path | None = None,
    operations: bool = False,
) -> None:
    """An epoch of training beside Nielsen's program, NumPy, scikit-learn, PyTorch, Flax, Equinox and plain JAX.

    Args:
        sizes: neurons in each layer, inputs first: 784 inputs and 10 outputs, for the data are MNIST.
        batch_size: examples in a mini-batch.
        examples: how many, from the start of the training images.
        learning_rate: of plain stochastic gradient descent.
        rounds: epochs of each peer that are timed; of Nielsen's, a third as many.
        peers: who takes part.
        peer_threads: for the peers that do not run on JAX; as many as those that do, if not given.
        out: a file for the same as JSON, with the machine and the versions.
        figure: a file for a bar chart, PNG, SVG or PDF.
        readme: a Markdown file, to put the table between the lines <!-- benchmark: epoch --> and <!-- end -->.
        operations: whether to list the operations of the compiled epoch with their times as well.
    """
    from benchmarks.epoch import main

    main(sizes, batch_size, examples, learning_rate, rounds, peers, peer_threads, out, figure, readme, operations)


def population(
    members: tuple[int, ...] = (16, 64),
    sizes: tuple[int, ...] = (784, 16, 16, 10),
    batch_size: int = 100,
    examples: int = 60_000,
    rounds: int = 5,
    out: Path | None = None,
    readme: Path | None = None,
) -> None:
    """An epoch of many networks at once, divided by their number, beside one network alone.

    Args:
        members: numbers of networks, a population of each.
        sizes: neurons in each layer, inputs first: 784 inputs and 10 outputs, for the data are MNIST.
        batch_size: examples in a mini-batch.
        examples: how many, from the start of the training images.
        rounds: epochs of each that are timed.
        out: a file for the same as JSON, with the machine and the versions.
        readme: a Markdown file, to put the table between the lines <!-- benchmark: population --> and <!-- end -->.
    """
    from benchmarks.population import main

    main(members, sizes, batch_size, examples, rounds, out, readme)


def gradients(
    examples: int = 1000, sizes: tuple[int, ...] = (784, 256, 256, 10), rounds: int = 9, out: Path | None = None
) -> None:
    """What a backward pass can tell, beside jax.grad, vmap(jax.grad) and BackPACK.

    Args:
        examples: the batch, from the start of the training images.
        sizes: neurons in each layer, inputs first: 784 inputs and 10 outputs, for the data are MNIST.
        rounds: calls of each contestant that are timed; of the slow ones, a third as many.
        out: a file for the same as JSON, with the machine and the versions.
    """
    from benchmarks.gradients import main

    main(examples, sizes, rounds, out)


def scaling(
    axes: tuple[Axis, ...] = get_args(Axis),
    largest_examples: int = 6_000_000,
    rounds: int = 5,
    out: Path | None = None,
    figure: Path | None = None,
) -> None:
    """How the time of an epoch grows with examples, width, depth, batch, members of a population and devices.

    Args:
        axes: what to vary.
        largest_examples: where the axis of examples ends, as far as memory allows; 6000 or more.
        rounds: epochs that are timed at each point.
        out: a file for the same as JSON, with the machine and the versions.
        figure: a file for a log-log chart with the fitted exponents, PNG, SVG or PDF.
    """
    from benchmarks.scaling import main

    main(axes, largest_examples, rounds, out, figure)


def startup(rounds: int = 5, out: Path | None = None) -> None:
    """How long the command line takes to start, and where the time of a run of one epoch goes.

    Args:
        rounds: processes of each kind that are timed.
        out: a file for the same as JSON, with the machine and the versions.
    """
    from benchmarks.startup import main

    main(rounds, out)


def checkpoints(rounds: int = 9, out: Path | None = None) -> None:
    """What checkpoints cost a run of 30 epochs: the whole command, with them, and with none.

    Args:
        rounds: processes of each kind that are timed.
        out: a file for the same as JSON, with the machine and the versions.
    """
    from benchmarks.checkpoints import main

    main(rounds, out)


def stream(
    repeat: int = 100,
    stream: int = 120_000,
    sizes: tuple[int, ...] = (784, 16, 16, 10),
    batch_size: int = 100,
    rounds: int = 5,
    scratch: Path | None = None,
    out: Path | None = None,
) -> None:
    """An epoch on images that stay on disk or with the host, beside one on images that all lie on the device.

    Args:
        repeat: how often the 60,000 images of MNIST are repeated, 47 MB each time.
        stream: how many images lie on the device at a time.
        sizes: neurons in each layer, inputs first: 784 inputs and 10 outputs, for the data are MNIST.
        batch_size: examples in a mini-batch.
        rounds: epochs of each that are timed.
        scratch: a directory on a real disk for the repeated images, deleted at the end; the system's, if not given.
        out: a file for the same as JSON, with the machine and the versions.
    """
    from benchmarks.stream import main

    main(repeat, stream, sizes, batch_size, rounds, scratch, out)


def page(rounds: int = 60, out: Path | None = None) -> None:
    """The page of a run in a browser: first paint, and frames that show what a visitor does.

    Args:
        rounds: how often each thing is done.
        out: a file for the same as JSON, with the machine and the versions.
    """
    from benchmarks.page import main

    main(rounds, out)


if __name__ == "__main__":
    commands = {
        "epoch": epoch,
        "population": population,
        "gradients": gradients,
        "scaling": scaling,
        "startup": startup,
        "checkpoints": checkpoints,
        "stream": stream,
        "page": page,
    }
    try:
        tyro.extras.subcommand_cli_from_dict(commands, description=__doc__)
    except (ValueError, OSError) as error:
        print("benchmark.py:", *str(error).split(), file=sys.stderr)
        sys.exit(2)
