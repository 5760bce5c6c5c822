"""How long an epoch takes, beside what people would write or pick instead.

Every contestant trains 784-16-16-10 (sigmoid, quadratic cost, plain SGD) on the same 60,000 images in the same
mini-batches, an epoch each in turn. Accuracy stands beside each time: a fast wrong network is no contestant.
"""

from collections.abc import Callable, Iterator
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax import Layer, Model, Params, TrainState, init_params, load_dataset, make_optimizer, predict, train_epoch
from mlp_jax.training import epoch_order, use_one_thread_if_small

from .timing import print_table, take_turns

Epochs = Iterator[list[np.ndarray]]  # trains one more epoch when asked for the next parameters
load = cache(load_dataset)


@cache
def examples() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of the training images."""
    data = load()
    inputs = (data.train_images / np.float32(255)).astype(np.float32)
    return inputs, np.eye(10, dtype=np.float32)[data.train_labels]


def package(params: list[np.ndarray], batch_size: int, rate: float) -> Epochs:
    """This package's train_epoch."""
    data = load()
    optimizer = make_optimizer("sgd", rate)
    state = TrainState.start(as_layers(params), optimizer)
    images, labels = jax.device_put((data.train_images, data.train_labels))
    for epoch in range(1_000_000):
        order = epoch_order(0, epoch, len(images))
        state, _ = train_epoch(state, images, labels, order, Model(), optimizer, batch_size)
        yield [np.array(leaf) for leaf in jax.tree.leaves(state.params)]


def numpy_by_batches(params: list[np.ndarray], batch_size: int, rate: float) -> Epochs:
    """NumPy, vectorised over the batch."""
    inputs, targets = examples()
    weights, biases = [array.copy() for array in params[0::2]], [array.copy() for array in params[1::2]]
    for epoch in range(1_000_000):
        for batch in epoch_order(0, epoch, len(inputs)).reshape(-1, batch_size):
            a = [inputs[batch]]
            for w, b in zip(weights, biases, strict=True):
                a += [1 / (1 + np.exp(-(a[-1] @ w.T + b)))]
            delta = 2 * (a[-1] - targets[batch]) * a[-1] * (1 - a[-1])
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
    inputs, targets = map(torch.from_numpy, examples())
    for epoch in range(1_000_000):
        order = torch.from_numpy(epoch_order(0, epoch, len(inputs)).astype(np.int64))
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


def main(rounds: int, batch_size: int, learning_rate: float) -> None:
    """Time `rounds` epochs of each contestant, in turn, and print the medians."""
    use_one_thread_if_small((784, 16, 16, 10), batch_size)
    params = [np.array(leaf) for leaf in jax.tree.leaves(init_params(jax.random.key(0)))]
    last: dict[str, list[np.ndarray]] = {}

    def call(name: str, epochs: Epochs) -> Callable[[], None]:
        def train() -> None:
            last[name] = next(epochs)

        return train

    calls = {}
    for name, contestant in CONTESTANTS.items():
        train = call(name, contestant(params, batch_size, learning_rate))
        try:
            train()
        except ImportError:
            continue
        calls[name] = train
    seconds = take_turns(calls, rounds)

    title = f"one epoch, 784-16-16-10, batches of {batch_size}: {rounds} epochs each, in turn"
    headings = ("", "median ms", "fastest", "slowest", "ratio", "accuracy")
    print_table(title, headings, (_cells(name, seconds, last) for name in CONTESTANTS))


def _cells(name: str, seconds: dict[str, list[float]], last: dict[str, list[np.ndarray]]) -> tuple[str, ...]:
    if name not in seconds:
        return name, "not installed: pip install -e '.[bench]'"
    data = load()
    answers = predict(as_layers(last[name]), data.test_images / np.float32(255))
    median, fastest, slowest = (f"{1e3 * f(seconds[name]):.0f}" for f in (np.median, min, max))
    ratio, accuracy = np.median(seconds[name]) / np.median(seconds["mlp_jax"]), np.mean(answers == data.test_labels)
    return name, median, fastest, slowest, f"{ratio:.2f}", f"{accuracy:.2%}"
