"""Sigmoids are very difficult to train in deep networks, and ReLU seems to be much easier.

The lesson gives no reason. One is that on its way back each error is multiplied by the slope of the activation
function, at most 1/4 for a sigmoid and 1 for a ReLU that is on (Hochreiter 1991; Glorot and Bengio 2010; Nielsen,
chapter 5): the figure shows it, and no part depends on it. Eight hidden layers stand for "incredibly deep".

Deep networks of ReLU are chaotic: initial weights that differ by a millionth, or sums in another order on another
machine, make another network of the same seed. At a constant learning rate of 0.6 that moved the test accuracy of one
by up to 18 points, and the median of five at 0.3 from 83 to 87 %. So the rate falls along a cosine, 0.3 is among those
tried, and medians count: then the same millionth moves the median by less than half a point.

Source: lesson 1, minute 17.
Holds if:
- much easier to train: in the deepest networks the training cost with sigmoids is at least twice that with ReLU, each
  at its best learning rate.
- very difficult with sigmoids: the deepest networks of sigmoids get fewer than half of the test images right.
- very well when deep: the deepest networks of ReLU get as many test images right as those of one hidden layer, to
  a tenth.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.activations import Activation, relu, sigmoid
from mlp_jax.backward import deltas_and_activations
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import ALIKE, MOST, MUCH_MORE, Finding, batch_of, check_classes, layer_name, mesh_for
from mlp_jax.network import Model, Params
from mlp_jax.training import EpochMetrics, TrainState, count_steps, fit_population, init_population, make_optimizer

DEPTHS = (1, 2, 4, 8)
WIDTH = 32
FUNCTIONS = ("sigmoid", "ReLU")
SEEDS = (0, 1, 2, 3)
LEARNING_RATES = (0.3, 1.0, 3.0)  # 10 is too much for sigmoids of one layer and of four, 0.1 too little for ReLU
EXAMPLES, EPOCHS, BATCH_SIZE = 10_000, 10, 50
SHOWN = 1_000  # examples that errors are measured over
LEARNED = 1  # epochs behind the first look during training
WHEN = ("at the start", f"after {LEARNED} epoch", f"after {EPOCHS} epochs")


class Measurement(NamedTuple):
    """Errors of every layer, and the accuracy at the best learning rate, of networks of several depths.

    sizes: for each depth the root mean square of each layer's deltas over the examples; when: as WHEN says.
    rates: of those tried, that with the lowest cost in the last epoch, mean over the seeds.
    accuracies: of the test images, 0 to 1. costs: of the training examples in the last epoch.
    """

    depths: tuple[int, ...]  # hidden layers
    width: int  # neurons in each
    functions: tuple[str, ...]  # their activation functions
    sizes: tuple[Float[np.ndarray, "functions seeds when layers"], ...]
    rates: Float[np.ndarray, "depths functions"]
    accuracies: Float[np.ndarray, "depths functions seeds"]
    costs: Float[np.ndarray, "depths functions seeds"]


def measure(dataset: Dataset) -> Measurement:
    """Train networks of each depth with sigmoids and with ReLU, from the same parameters, at several learning rates."""
    check_classes(dataset)
    part = dataset.first(min(EXAMPLES, len(dataset.train)))
    sizes, rates, accuracies, costs = zip(*(_train(part, depth) for depth in DEPTHS), strict=True)
    return Measurement(DEPTHS, WIDTH, FUNCTIONS, sizes, np.stack(rates), np.stack(accuracies), np.stack(costs))


def judge(measured: Measurement) -> Finding:
    """Compare the deepest networks of each function with one another, and with the shallowest: medians of the seeds."""
    sigmoid_cost, relu_cost = np.median(measured.costs[-1], axis=1)
    (shallow_sigmoids, shallow_relus), (sigmoids, relus) = np.median(measured.accuracies, axis=2)[[0, -1]]
    sigmoids_thin, relus_thin = np.median(_first_over_last(measured.sizes[-1][:, :, 0]), axis=1)
    (sigmoids_low, relus_low), (sigmoids_high, relus_high) = (
        of_seeds(measured.accuracies[-1], axis=1) for of_seeds in (np.min, np.max)
    )
    return Finding(
        f"With {measured.depths[-1]} hidden layers, sigmoids get {sigmoids:.0%} of the test images right and ReLU "
        f"{relus:.0%}.",
        {
            "much easier to train": bool(sigmoid_cost >= MUCH_MORE * relu_cost),
            "very difficult with sigmoids": bool(sigmoids < MOST),
            "very well when deep": bool(relus >= (1 - ALIKE) * shallow_relus),
        },
        {
            f"sigmoids, lowest to highest of {measured.accuracies.shape[2]} seeds": (
                f"{sigmoids_low:.0%} to {sigmoids_high:.0%}"
            ),
            "ReLU, lowest to highest": f"{relus_low:.0%} to {relus_high:.0%}",
            f"with {measured.depths[0]} hidden layer, sigmoids and ReLU": (
                f"{shallow_sigmoids:.0%}, {shallow_relus:.0%}"
            ),
            "training cost of the deepest, sigmoids and ReLU": f"{sigmoid_cost:.2f}, {relu_cost:.2f}",
            f"errors in the {layer_name(1)} over the last layer's, sigmoids": f"{sigmoids_thin:.0e}",
            "the same, ReLU; both before training": f"{relus_thin:.2g}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The errors of every layer of the deepest networks, how they shrink with depth, and the accuracies."""
    figure, ((layers, thinned, learned),) = figures.page(1, 3, height=3.4)
    deepest, depths = measured.sizes[-1], np.array(measured.depths)
    numbers = np.arange(2, deepest.shape[-1] + 2)
    for number, colour in enumerate((figures.BLUE, figures.RED)):
        for when, style in ((0, "-"), (-1, "--")):
            label = f"{measured.functions[number]}, {WHEN[when]}"
            sizes = [np.nanmedian(_first_over_last(sizes)[number, :, when]) for sizes in measured.sizes]
            median = np.median(deepest[number, :, when], axis=0)
            layers.plot(numbers, median, f"o{style}", color=colour, markersize=4, label=label)
            thinned.plot(depths, sizes, f"o{style}", color=colour, markersize=4)
        accuracies = 100 * measured.accuracies[:, number]
        learned.plot(depths, accuracies, "o", color=colour, alpha=0.5, markersize=4)
        learned.plot(depths, np.median(accuracies, axis=1), "-", color=colour)
    layers.set(yscale="log", xticks=numbers)
    thinned.set(yscale="log", xticks=depths)
    learned.set(ylim=(0, 100), xticks=depths)
    title = f"{depths[-1]} hidden layers"
    figures.name_axes(layers, "layer; the first is the pixels", "size of errors (rms of delta)", title)
    figures.name_axes(thinned, "hidden layers", "second layer's errors / last layer's", "every depth")
    figures.name_axes(learned, "hidden layers", "test accuracy, %", "a dot for each seed")
    figure.legend(*layers.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    return figure


def _train(dataset: Dataset, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Networks of one depth, with each function and at every learning rate, in one population: one program for all.

    Returns, with the best rate for each function, sizes of errors, the rate, accuracies and costs, as in Measurement.
    """
    rectified, rates, seeds = zip(*product(range(len(FUNCTIONS)), LEARNING_RATES, SEEDS), strict=True)
    own_model = {"rectified": np.array(rectified, np.float32)}
    params = init_population(seeds, (dataset.n_in, *(WIDTH,) * depth, dataset.n_out))
    inputs, targets = batch_of(dataset.train.rows(slice(SHOWN)), params)
    sizes = [_sizes(params, own_model, inputs, targets)]

    def after_epoch(state: TrainState, metrics: EpochMetrics) -> None:
        if metrics.epoch in (LEARNED, EPOCHS):
            sizes.append(_sizes(state.params, own_model, inputs, targets))

    _, metrics = fit_population(
        params,
        dataset,
        _model,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        optimizer=make_optimizer("sgd", 1.0, "cosine", count_steps(EPOCHS, len(dataset.train), BATCH_SIZE)),
        hyperparams={"learning_rate": rates},
        model_params=own_model,
        mesh=mesh_for(len(rates)),
        callback=after_epoch,
    )
    kinds = len(FUNCTIONS), len(LEARNING_RATES), len(SEEDS)
    costs = np.reshape(metrics.loss, kinds)
    best = np.argmin(np.mean(np.where(np.isfinite(costs), costs, np.inf), axis=2), axis=1)
    chosen = np.arange(len(FUNCTIONS)), best
    return (
        np.stack([np.asarray(layers) for layers in sizes], axis=1).reshape(*kinds, len(sizes), -1)[chosen],
        np.array(LEARNING_RATES)[best],
        np.nan_to_num(metrics.score).reshape(kinds)[chosen],  # a diverged network gets nothing right
        costs[chosen],
    )


def _model(rectified: Float[ArrayLike, ""]) -> Model:
    """A network of sigmoids for 0, of ReLU for 1."""

    def either(of_relu: Callable[[Array], Array], of_sigmoid: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda z: jnp.where(rectified, of_relu(z), of_sigmoid(z))

    return Model(Activation(either(relu.value, sigmoid.value), either(relu.derivative, sigmoid.derivative)))


@jax.jit
def _sizes(params: Params, own_model: dict[str, Any], inputs: Array, targets: Array) -> Float[Array, "members layers"]:
    """The root mean square of every layer's deltas."""

    def of_one(params: Params, own_model: dict[str, Array]) -> Array:
        deltas, _ = deltas_and_activations(params, inputs, targets, _model(**own_model))
        return jnp.stack([jnp.sqrt(jnp.mean(delta**2)) for delta in deltas])

    return jax.vmap(of_one)(params, own_model)


def _first_over_last(sizes: Float[np.ndarray, "... layers"]) -> Float[np.ndarray, "..."]:
    return sizes[..., 0] / sizes[..., -1]
