"""Small data of every kind, one way to train on them, and the same training in NumPy.

All data have the same shapes and tests share the plan, so that most of them run programs that another has compiled.
"""

import jax
import numpy as np
import pytest

from mlp_jax import Dataset, Examples, Layer, Model, Plan, identity, init_params, make_optimizer, tanh
from mlp_jax.training import epoch_order, member

TRAIN, TEST, N_IN, N_OUT, BATCH = 46, 10, 6, 3, 8
SIZES = (N_IN, 4, N_OUT)
DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (TRAIN + TEST, N_IN), np.uint8)
FLOATS = (DRAW.normal(size=(TRAIN + TEST, N_IN)) * DRAW.choice([1, 10], (TRAIN + TEST, N_IN))).astype(np.float32)
CLASSES = DRAW.integers(0, N_OUT, TRAIN + TEST)
NUMBERS = np.stack([10 * np.sin(FLOATS[:, 0]), FLOATS[:, 1] - 5, PIXELS[:, 0] / 50], axis=1)
WEIGHTS = DRAW.choice([0, 0.5, 1, 2], TRAIN + TEST).astype(np.float32)


def make_data(inputs, targets, weights=None):
    examples = Examples(inputs, targets, weights)
    return Dataset(examples.rows(slice(TRAIN)), examples.rows(slice(TRAIN, None)))


KINDS = {
    "pixels-classes": make_data(PIXELS, CLASSES),
    "floats-classes-weights": make_data(FLOATS, CLASSES, WEIGHTS),
    "floats-numbers": make_data(FLOATS, NUMBERS.astype(np.float32)),
    "pixels-numbers-weights": make_data(PIXELS, NUMBERS, WEIGHTS),
}
PICTURES, WEIGHTED, TABLE, _ = KINDS.values()
each_kind = pytest.mark.parametrize("kind", KINDS)

PARAMS = init_params(jax.random.key(0), SIZES)
MODEL = Model(tanh, identity)
RATE = 0.002
SGD = make_optimizer("sgd", RATE)
PLAN = Plan(MODEL, SGD, BATCH)
SETTINGS = {"model": MODEL, "batch_size": BATCH, "epochs": 2, "optimizer": SGD}


def mesh_of(*axes):
    """A mesh over both CPU devices that tests have, the first axis across both."""
    return jax.make_mesh((2,) + (1,) * (len(axes) - 1), axes)


def own_copy(params):
    """Parameters whose buffers may be donated."""
    return jax.device_put(params, may_alias=False)


def one_device_order(epoch, seed=0):
    return epoch_order(seed, epoch, TRAIN)


def two_devices_order(epoch, seed=0):
    """Which example comes when, if two devices draw half of every batch each from its own half of the examples."""
    half, share = TRAIN // 2, BATCH // 2
    halves = [device * half + epoch_order(seed, epoch, half, shard=device) for device in range(2)]
    return np.concatenate([own[step : step + share] for step in range(0, half, share) for own in halves])


VALUE = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "identity": lambda z: z,
}
DERIVATIVE_AT = {"sigmoid": lambda a: a * (1 - a), "tanh": lambda a: 1 - a**2, "identity": np.ones_like}
COST = {
    "quadratic": lambda a, y: np.sum((a - y) ** 2, axis=-1),
    "cross_entropy": lambda a, y: -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a), axis=-1),
}


def arrays_of(examples, params=PARAMS):
    """Inputs, wanted outputs and weights in float64."""
    inputs = examples.inputs / 255 if examples.inputs.dtype == np.uint8 else examples.inputs
    targets = np.eye(len(params[-1].biases))[examples.targets] if examples.has_classes else examples.targets
    weights = np.ones(len(examples)) if examples.weights is None else examples.weights
    return [np.asarray(array, np.float64) for array in (inputs, targets, weights)]


def activations_by_numpy(params, inputs, hidden="tanh", output="identity"):
    activations = [inputs]
    for number, (w, b) in enumerate(params, start=1):
        z = activations[-1] @ np.asarray(w, np.float64).T + b
        activations.append(VALUE[output if number == len(params) else hidden](z))
    return activations


def epoch_by_numpy(
    params, examples, order, rate=RATE, batch_size=BATCH, decay=0.0, hidden="tanh", output="identity", cost="quadratic"
):
    """Nielsen's algorithm in float64, a mini-batch after another: the parameters, and the mean cost."""
    inputs, targets, weights = arrays_of(examples, params)
    layers = [(np.asarray(w, np.float64), np.asarray(b, np.float64)) for w, b in params]
    total = 0
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        share = (weights[batch] / max(weights[batch].sum(), 1e-300))[:, None]
        a, y = activations_by_numpy(layers, inputs[batch], hidden, output), targets[batch]
        total += weights[batch] @ COST[cost](a[-1], y)
        error = a[-1] - y if cost == "cross_entropy" else 2 * (a[-1] - y) * DERIVATIVE_AT[output](a[-1])
        for number in reversed(range(len(layers))):
            w, b = layers[number]
            layers[number] = (
                w - rate * ((share * error).T @ a[number] + decay * w),
                b - rate * (share * error).sum(axis=0),
            )
            error = (error @ w) * DERIVATIVE_AT[hidden](a[number])
    return tuple(Layer(*layer) for layer in layers), total / weights[order].sum()


def scores_by_numpy(params, examples):
    """The mean cost, the score and the root mean squared error, as scikit-learn defines them."""
    inputs, targets, weights = arrays_of(examples, params)
    outputs = activations_by_numpy(params, inputs)[-1]
    loss = np.average(COST["quadratic"](outputs, targets), weights=weights)
    if examples.has_classes:
        return loss, np.average(outputs.argmax(axis=1) == examples.targets, weights=weights), None
    squares = np.average((outputs - targets) ** 2, axis=0, weights=weights)
    means = np.average(targets, axis=0, weights=weights)
    r2 = 1 - squares / np.average((targets - means) ** 2, axis=0, weights=weights)
    return loss, r2.mean(), np.sqrt(squares).mean()


def assert_close(one, other, tolerance=4e-6):
    """To float32 rounding over a dozen steps, of numbers near 1."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), one, other)


def assert_same(one, other):
    """The same bits."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_trained(history, data, order=one_device_order, params=PARAMS, **settings):
    """States and metrics of each epoch are those of the training in NumPy."""
    for epoch, (state, metrics) in enumerate(history):
        params, cost = epoch_by_numpy(params, data.train, order(epoch), **settings)
        assert (int(state.epoch), metrics.epoch) == (epoch + 1, epoch + 1)
        assert_close(state.params, params)
        loss, score, rmse = scores_by_numpy(params, data.test)
        assert_close([metrics.loss, metrics.test_loss, metrics.score], [cost, loss, score], 2e-5)
        assert (metrics.rmse is None) == (rmse is None)
        if rmse is not None:
            assert_close(metrics.rmse, rmse, 2e-5)


def member_of(history, number):
    """The states and metrics of one member of a population."""
    numbers = ("loss", "test_loss", "score", "rmse")

    def only(metrics):
        found = {name: getattr(metrics, name) for name in numbers}
        return metrics._replace(**{name: None if each is None else each[number] for name, each in found.items()})

    return [(member(state, number), only(metrics)) for state, metrics in history]
