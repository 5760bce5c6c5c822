"""What people write or pick instead, each training the same network on the same data.

A peer is a generator. Its first `next` makes the network with the parameters given; each `send` of an order trains an
epoch in that order and yields the parameters. All work in float32, on inputs that are from 0 to 1 already but for
`mlp_jax`, whose images are uint8.

What is not the same:

- scikit-learn has no quadratic cost for its classifier. With one label a class it has sigmoids at the outputs, as here,
  and cross-entropy as their cost: as much work a step. (Its regressor has the quadratic cost, but linear outputs.) It
  gets half the learning rate, which makes a step from an output of 1/2, where all begin, as long as here.
  `partial_fit` is an epoch; it draws the order itself, which is faster than being handed the images in another order.
- Nielsen's cost has a factor 1/2, so his eta is twice the learning rate here. His own program works in float64.
"""

import warnings
from collections.abc import Callable, Generator, Iterable
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_jax import Dataset, Layer, Model, Params, Plan, TrainState, loss, train_epoch

MODEL = Model()
Name = Literal["mlp_jax", "nielsen", "numpy", "sklearn", "torch", "torch_compile", "flax", "equinox", "jax"]
Epochs = Generator[list[Any], np.ndarray, None]


class Problem(NamedTuple):
    """What every peer is given.

    params: weights, (n_out, n_in), and biases of each layer in turn, float32; not to be written to.
    dataset: the images as uint8, and their labels.
    inputs: the training images from 0 to 1, (n, pixels) float32. targets: (n, classes) float32.
    plan: of plain gradient descent with that learning_rate.
    threads: for those that have a setting of their own; BLAS is kept to as many from outside.
    """

    params: list[np.ndarray]
    dataset: Dataset
    inputs: np.ndarray
    targets: np.ndarray
    plan: Plan
    learning_rate: float
    threads: int

    @property
    def batch_size(self) -> int:
        """Examples of a mini-batch, the last of an epoch excepted."""
        return self.plan.batch_size

    @property
    def sizes(self) -> list[int]:
        """Neurons of each layer, inputs first."""
        return [self.params[0].shape[1], *(len(biases) for biases in self.params[1::2])]

    def batches(self, order: np.ndarray) -> Iterable[np.ndarray]:
        """The mini-batches of an epoch, as indices of examples."""
        return (order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size))


def as_params(arrays: list[Any]) -> Params:
    """Weights and biases in turn, as the package's parameters; copies, for training donates them."""
    return tuple(map(Layer, map(jnp.array, arrays[0::2]), map(jnp.array, arrays[1::2])))


def package(problem: Problem) -> Epochs:
    """An epoch is one compiled program."""
    state = TrainState.start(as_params(problem.params), problem.plan.optimizer)
    examples = jax.device_put(problem.dataset.train)
    while True:
        order = yield jax.tree.leaves(state.params)
        state, _ = train_epoch(state, examples.inputs, examples.targets, order, problem.plan)
        jax.block_until_ready(state)


def nielsen(problem: Problem) -> Epochs:
    """The steps of chapter 1 of his book: columns, a gradient for each example, sums of them for each mini-batch."""
    weights = [array.copy() for array in problem.params[0::2]]
    biases = [array[:, None].copy() for array in problem.params[1::2]]
    examples = [(x[:, None], y[:, None]) for x, y in zip(problem.inputs, problem.targets, strict=True)]
    eta = 2 * problem.learning_rate

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    def slope(z: np.ndarray) -> np.ndarray:
        return sigmoid(z) * (1 - sigmoid(z))

    def backprop(x: np.ndarray, y: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        for_weights, for_biases = ([np.zeros_like(array) for array in arrays] for arrays in (weights, biases))
        a, z = [x], []
        for w, b in zip(weights, biases, strict=True):
            z.append(np.dot(w, a[-1]) + b)
            a.append(sigmoid(z[-1]))
        delta = (a[-1] - y) * slope(z[-1])
        for layer in range(1, len(a)):  # from the last
            if layer > 1:
                delta = np.dot(weights[1 - layer].T, delta) * slope(z[-layer])
            for_weights[-layer], for_biases[-layer] = np.dot(delta, a[-layer - 1].T), delta
        return for_weights, for_biases

    while True:
        order = yield [array for w, b in zip(weights, biases, strict=True) for array in (w, b[:, 0])]
        for batch in problem.batches(order):
            sums = [np.zeros_like(array) for array in (*weights, *biases)]
            for example in batch:
                for_weights, for_biases = backprop(*examples[example])
                sums = [total + part for total, part in zip(sums, (*for_weights, *for_biases), strict=True)]
            for array, total in zip((*weights, *biases), sums, strict=True):
                array -= eta / len(batch) * total


def numpy_by_batches(problem: Problem) -> Epochs:
    """The same equations for all the examples of a mini-batch at once."""
    params = [array.copy() for array in problem.params]
    weights, biases = params[0::2], params[1::2]
    while True:
        order = yield params
        for batch in problem.batches(order):
            a = [problem.inputs[batch]]
            for w, b in zip(weights, biases, strict=True):
                a += [1 / (1 + np.exp(-(a[-1] @ w.T + b)))]
            delta = 2 * (a[-1] - problem.targets[batch]) * a[-1] * (1 - a[-1])
            for layer in reversed(range(len(weights))):
                change = delta.T @ a[layer], delta.sum(axis=0)
                if layer:
                    delta = delta @ weights[layer] * a[layer] * (1 - a[layer])
                weights[layer] -= problem.learning_rate / len(batch) * change[0]
                biases[layer] -= problem.learning_rate / len(batch) * change[1]


def scikit_learn(problem: Problem) -> Epochs:
    """Its classifier with sigmoids, without momentum and penalty; the cost is cross-entropy."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(
        hidden_layer_sizes=problem.sizes[1:-1],
        activation="logistic",
        solver="sgd",
        alpha=0,
        batch_size=cast("Any", problem.batch_size),  # annotated as its default, "auto", is
        learning_rate_init=problem.learning_rate / 2,
        momentum=0,
        nesterovs_momentum=False,
        random_state=0,
    )
    classes = range(problem.sizes[-1])
    few = slice(problem.batch_size)  # it makes its arrays when it first sees data, and these examples count for nothing
    classifier.partial_fit(problem.inputs[few], problem.targets[few], classes=classes)
    for coefficients, array in zip(classifier.coefs_, problem.params[0::2], strict=True):
        coefficients[:] = array.T
    for intercepts, array in zip(classifier.intercepts_, problem.params[1::2], strict=True):
        intercepts[:] = array
    while True:
        layers = zip(classifier.coefs_, classifier.intercepts_, strict=True)
        yield [array for weights, biases in layers for array in (weights.T, biases)]
        classifier.partial_fit(problem.inputs, problem.targets, classes=classes)


def torch_eager(problem: Problem, compiled: bool = False) -> Epochs:
    """Modules, autograd and torch.optim.SGD. On a GPU if PyTorch sees one."""
    import torch
    from torch import nn

    torch.set_num_threads(problem.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layers = [(nn.Linear(n_in, n_out), nn.Sigmoid()) for n_in, n_out in pairwise(problem.sizes)]
    network = nn.Sequential(*(module for layer in layers for module in layer)).to(device)
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), problem.params, strict=True):
            parameter.copy_(torch.from_numpy(array.copy()))
    optimizer = torch.optim.SGD(network.parameters(), lr=problem.learning_rate)
    inputs, targets = (torch.from_numpy(array).to(device) for array in (problem.inputs, problem.targets))

    def cost(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((network(x) - y) ** 2).sum(dim=1).mean()

    if compiled:
        cost = torch.compile(cost)
    while True:
        order = yield [parameter.detach().cpu().numpy() for parameter in network.parameters()]
        for batch in torch.from_numpy(order.astype(np.int64)).to(device).split(problem.batch_size):
            optimizer.zero_grad()
            cost(inputs[batch], targets[batch]).backward()
            optimizer.step()


def torch_compiled(problem: Problem) -> Epochs:
    """The same with network and cost in one torch.compile; compiling the optimiser's step too gains nothing here."""
    import torch

    torch.compiler.config.force_disable_caches = True  # or compiling takes as long as an earlier run has left of it
    warnings.filterwarnings("ignore", "dynamo_pgo force disabled", UserWarning)
    return torch_eager(problem, compiled=True)


def flax_nnx(problem: Problem) -> Epochs:
    """A step under nnx.jit that updates model and optimiser in place, as in Flax's MNIST tutorial."""
    from flax import nnx

    layers: list[Any] = [nnx.Linear(n_in, n_out, rngs=nnx.Rngs(0)) for n_in, n_out in pairwise(problem.sizes)]
    for layer, weights, biases in zip(layers, problem.params[0::2], problem.params[1::2], strict=True):
        layer.kernel[...], layer.bias[...] = jnp.array(weights.T), jnp.array(biases)
    model = nnx.Sequential(*(part for layer in layers for part in (layer, nnx.sigmoid)))
    optimizer = nnx.Optimizer(model, optax.sgd(problem.learning_rate), wrt=nnx.Param)

    def cost(model: nnx.Sequential, x: Any, y: Any) -> jax.Array:
        return ((model(x) - y) ** 2).sum(axis=1).mean()

    @nnx.jit
    def train_step(model: nnx.Sequential, optimizer: nnx.Optimizer, x: Any, y: Any) -> jax.Array:
        value, gradient = nnx.value_and_grad(cost)(model, x, y)
        optimizer.update(model, gradient)
        return value

    while True:
        order = yield [array for layer in layers for array in (np.asarray(layer.kernel[...]).T, layer.bias[...])]
        for batch in problem.batches(order):
            train_step(model, optimizer, problem.inputs[batch], problem.targets[batch])
        jax.block_until_ready(nnx.state(model))


def equinox(problem: Problem) -> Epochs:
    """A step under eqx.filter_jit that returns model and optimiser's state, as in Equinox's MNIST example."""
    import equinox as eqx

    class Network(eqx.Module):
        layers: list[eqx.nn.Linear]

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers:
                x = jax.nn.sigmoid(layer(x))
            return x

    layers = [eqx.nn.Linear(n_in, n_out, key=jax.random.key(0)) for n_in, n_out in pairwise(problem.sizes)]
    model, leaves = Network(layers), list(map(jnp.array, problem.params))
    model = eqx.tree_at(
        lambda tree: [leaf for layer in tree.layers for leaf in (layer.weight, layer.bias)], model, leaves
    )
    optimizer = optax.sgd(problem.learning_rate)
    memory = optimizer.init(eqx.filter(model, eqx.is_array))

    def cost(model: Network, x: Any, y: Any) -> jax.Array:
        return ((jax.vmap(model)(x) - y) ** 2).sum(axis=1).mean()

    @eqx.filter_jit
    def make_step(model: Network, memory: optax.OptState, x: Any, y: Any) -> tuple[Any, ...]:
        value, gradient = eqx.filter_value_and_grad(cost)(model, x, y)
        change, memory = optimizer.update(gradient, memory, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, change), memory, value

    while True:
        order = yield [array for layer in model.layers for array in (layer.weight, layer.bias)]
        for batch in problem.batches(order):
            model, memory, _ = make_step(model, memory, problem.inputs[batch], problem.targets[batch])
        jax.block_until_ready(eqx.filter(model, eqx.is_array))


def jax_by_steps(problem: Problem) -> Epochs:
    """jax.grad and the update in one jitted call for each mini-batch."""
    params = as_params(problem.params)

    @jax.jit
    def step(params: Params, x: Any, y: Any) -> Params:
        gradient = jax.grad(loss)(params, x, y, MODEL)
        return jax.tree.map(lambda leaf, slope: leaf - problem.learning_rate * slope, params, gradient)

    while True:
        order = yield jax.tree.leaves(params)
        for batch in problem.batches(order):
            params = step(params, problem.inputs[batch], problem.targets[batch])
        jax.block_until_ready(params)


class Peer(NamedTuple):
    """How a peer is called in tables, and what makes its epochs."""

    name: str
    epochs: Callable[[Problem], Epochs]


PEERS: dict[Name, Peer] = {
    "mlp_jax": Peer("mlp_jax", package),
    "nielsen": Peer("Nielsen's, example by example in NumPy", nielsen),
    "numpy": Peer("NumPy over the batch", numpy_by_batches),
    "sklearn": Peer("scikit-learn MLPClassifier, cross-entropy", scikit_learn),
    "torch": Peer("PyTorch, eager", torch_eager),
    "torch_compile": Peer("PyTorch, torch.compile", torch_compiled),
    "flax": Peer("Flax NNX", flax_nnx),
    "equinox": Peer("Equinox", equinox),
    "jax": Peer("JAX, one jitted call a step", jax_by_steps),
}
"""By what `--peers` calls them."""
