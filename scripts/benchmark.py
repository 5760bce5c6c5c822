"""How long the package takes, beside what people would write or pick instead.

    python scripts/benchmark.py epoch --rounds 9
    python scripts/benchmark.py gradients --rounds 9 --out gradients.json

Contestants take turns, so that a machine whose speed drifts drifts for all of them; the first call of each, which
compiles or warms up, is not counted. PyTorch and BackPACK take part where they are installed:
`pip install -e '.[bench]'`. Each benchmark is a module of `benchmarks/`, imported when it is run.
"""

from pathlib import Path

import tyro


def epoch(rounds: int = 7, batch_size: int = 100, learning_rate: float = 3.0) -> None:
    """An epoch of training beside NumPy and PyTorch.

    Args:
        rounds: epochs of each contestant that are timed.
        batch_size: examples in a mini-batch.
        learning_rate: of plain stochastic gradient descent.
    """
    from benchmarks.epoch import main

    main(rounds, batch_size, learning_rate)


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


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"epoch": epoch, "gradients": gradients}, description=__doc__)
