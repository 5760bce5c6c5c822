"""Runs for commands to look at: an untrained network on MNIST, and one on numbers."""

import jax
import numpy as np
import pytest

from mlp_jax import init_params
from mlp_jax.runs import Run


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The run of a network 784-16-16-10, whose parameters are random."""
    config = {"data": "mnist", "hidden": "sigmoid", "output": "sigmoid", "cost": "quadratic", "seed": 0}
    run = Run.create(tmp_path_factory.mktemp("runs") / "digits", config)
    run.save(init_params(jax.random.key(0), (784, 16, 16, 10)))
    return run


@pytest.fixture(scope="session")
def numbers(tmp_path_factory):
    """The run of a network 3-4-2 that predicts numbers from numbers; its data are beside it, in numbers.npz."""
    directory, random = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)) * 100, random.normal(size=(30, 2)) - 5
    np.savez(directory / "numbers.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    config = {"data": str(directory / "numbers.npz"), "hidden": "tanh", "output": "identity", "cost": "quadratic"}
    run = Run.create(directory / "run", config)
    run.save(init_params(jax.random.key(1), (3, 4, 2)))
    return run
