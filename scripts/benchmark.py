"""How long an epoch takes, beside what people would write or pick instead.

Every contestant trains 784-16-16-10 (sigmoid, quadratic cost, plain SGD) on the same 60,000 images in the same
mini-batches. They take turns, an epoch each, so that a machine whose speed drifts drifts for all of them; the first
epoch of each, which compiles or warms up, is not counted. Accuracy stands beside each time: a fast wrong network is no
contestant.

    python scripts/benchmark.py --rounds 9
"""

import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from mlp_jax import Layer, Model, Params, TrainState, init_params, load_dataset, make_optimizer, predict, train_epoch
from mlp_jax.training import epoch_order, use_one_thread_if_small

Epochs = Iterator[list[np.ndarray]]  # trains one more epoch when asked for the next parameters
DATA = load_dataset()
INPUTS = (DATA.train_images / np.float32(255)).astype(np.float32)
TARGETS = np.eye(10, dtype=np.float32)[DATA.train_labels]


def package(params: list[np.ndarray], batch_size: int, rate: float) -> Epochs:
    """This package's train_epoch."""
    optimizer = make_optimizer("sgd", rate)
    state = TrainState.start(as_layers(params), optimizer)
    images, labels = jax.device_put((DATA.train_images, DATA.train_labels))
    for epoch in range(1_000_000):
        order = epoch_order(0, epoch, len(INPUTS))
        state, _ = train_epoch(state, images, labels, order, Model(), optimizer, batch_size)
        yield [np.array(leaf) for leaf in jax.tree.leaves(state.params)]


def numpy_by_batches(params: list[np.ndarray], batch_size: int, rate: float) -> Epochs:
    """NumPy, vectorised over the batch."""
    weights, biases = [array.copy() for array in params[0::2]], [array.copy() for array in params[1::2]]
    for epoch in range(1_000_000):
        for batch in epoch_order(0, epoch, len(INPUTS)).reshape(-1, batch_size):
            a = [INPUTS[batch]]
            for w, b in zip(weights, biases, strict=True):
                a += [1 / (1 + np.exp(-(a[-1] @ w.T + b)))]
            delta = 2 * (a[-1] - TARGETS[batch]) * a[-1] * (1 - a[-1])
            for layer in reversed(range(len(weights))):
                change = delta.T @ a[layer], delta.sum(axis=0)
                if layer:
                    delta = delta @ weights[layer] * a[layer] * (1 - a[layer])
                weights[layer] -= rate / batch_size * change[0]
                biases[layer] -= rate / batch_size * change[1]
        yield [array for layer in zip(weights, biases, strict=True) for array in layer]


def torch_eager(params: list[np.ndarray], batch_size: int, rate: float) -> Epochs:
    """PyTorch, eager, with torch.optim.SGD."""
    import torch
    from torch import nn

    layers = [nn.Linear(*weights.shape[::-1]) for weights in params[0::2]]
    network = nn.Sequential(*(module for layer in layers for module in (layer, nn.Sigmoid())))
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), params, strict=True):
            parameter.copy_(torch.from_numpy(array.copy()))
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    inputs, targets = torch.from_numpy(INPUTS), torch.from_numpy(TARGETS)
    for epoch in range(1_000_000):
        order = torch.from_numpy(epoch_order(0, epoch, len(INPUTS)).astype(np.int64))
        for batch in order.reshape(-1, batch_size):
            optimizer.zero_grad()
            ((network(inputs[batch]) - targets[batch]) ** 2).sum(dim=1).mean().backward()
            optimizer.step()
        yield [parameter.detach().numpy().copy() for parameter in network.parameters()]


def as_layers(arrays: list[np.ndarray]) -> Params:
    """Weights and biases in turn, as the package's parameters."""
    return tuple(map(Layer, map(jnp.asarray, arrays[0::2]), map(jnp.asarray, arrays[1::2])))


CONTESTANTS: dict[str, Callable[[list[np.ndarray], int, float], Epochs]] = {
    "mlp_jax": package,
    "NumPy by batches": numpy_by_batches,
    "PyTorch eager": torch_eager,
}


def main(rounds: int = 7, batch_size: int = 100, learning_rate: float = 3.0) -> None:
    """Time `rounds` epochs of each contestant, in turn, and print the medians."""
    use_one_thread_if_small((784, 16, 16, 10), batch_size)
    params = [np.array(leaf) for leaf in jax.tree.leaves(init_params(jax.random.key(0)))]
    running, seconds, last = {}, {}, {}
    for name, contestant in CONTESTANTS.items():
        epochs = contestant(params, batch_size, learning_rate)
        try:
            next(epochs)
        except ImportError:
            continue
        running[name], seconds[name] = epochs, []
    for _ in range(rounds):
        for name, epochs in running.items():
            start = time.perf_counter()
            last[name] = next(epochs)
            seconds[name].append(time.perf_counter() - start)

    table = Table(title=f"one epoch, 784-16-16-10, batches of {batch_size}: {rounds} epochs each, in turn")
    for heading in ("", "median ms", "fastest", "slowest", "ratio", "accuracy"):
        table.add_column(heading, justify="right" if heading else "left")
    ours = np.median(seconds["mlp_jax"])
    for name in CONTESTANTS:
        if name not in running:
            table.add_row(name, "not installed: pip install -e '.[bench]'")
            continue
        answers = predict(as_layers(last[name]), DATA.test_images / np.float32(255))
        median, fastest, slowest = (f"{1e3 * f(seconds[name]):.0f}" for f in (np.median, min, max))
        ratio, accuracy = np.median(seconds[name]) / ours, np.mean(answers == DATA.test_labels)
        table.add_row(name, median, fastest, slowest, f"{ratio:.2f}", f"{accuracy:.2%}")
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(main)
