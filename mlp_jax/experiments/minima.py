"""The local minima that training finds are of about equal quality.

The end of training stands for a minimum, though the gradient is only nearly 0 there. The lesson follows Choromanska et
al. 2015 (arXiv 1412.0233), who trained networks of one hidden layer on smaller images of MNIST from many starts.

Source: lesson 2.
Refuted if: the costs that training ends with differ much from start to start, or as much in wide networks as in narrow
ones.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments.subject import Finding, batch_of, check_classes, mesh_for
from mlp_jax.network import Model, Params, loss
from mlp_jax.training import fit_population, init_population

MODEL = Model()
WIDTHS = (2, 4, 8, 16, 32)
SEEDS = tuple(range(64))
IMAGES = 5_000
EPOCHS, BATCH = 30, 25
EVALUATED = 100  # test images that training evaluates on after each epoch: few, for nobody looks at the result
ALIKE = 0.1


class Measurement(NamedTuple):
    """What training from many starts ended with, for one hidden layer of several widths."""

    widths: tuple[int, ...]
    pixels: int  # of an image
    images: int  # how many were learned
    cost: Float[np.ndarray, "widths seeds"]  # mean of the training images
    test_cost: Float[np.ndarray, "widths seeds"]  # mean of the test images


def measure(dataset: Dataset) -> Measurement:
    """Train sigmoid networks with the quadratic cost from SEEDS, for each of WIDTHS, on some of the training images."""
    check_classes(dataset)
    small = smaller(dataset.first(min(IMAGES, len(dataset.train))))
    few = replace(small, test=small.test.rows(slice(EVALUATED)))
    costs = []
    for width in WIDTHS:
        initial = init_population(SEEDS, (small.n_in, width, small.n_out))
        state, _ = fit_population(initial, few, MODEL, epochs=EPOCHS, batch_size=BATCH, mesh=mesh_for(len(SEEDS)))
        parts = small.train, small.test.rows(slice(IMAGES))
        costs.append([np.asarray(_costs(state.params, *batch_of(part, state.params))) for part in parts])
    cost, test_cost = np.swapaxes(costs, 0, 1)
    return Measurement(WIDTHS, small.n_in, len(small.train), cost, test_cost)


def judge(measured: Measurement) -> Finding:
    """Holds if the widest networks' relative spread of training costs is at most ALIKE, and below the narrowest's."""
    spread, test_spread = relative_spread(measured.cost), relative_spread(measured.test_cost)
    (*narrower, width), widest = measured.widths, measured.cost[-1]
    others, test_others = (", ".join(f"{part:.1%}" for part in parts[:-1]) for parts in (spread, test_spread))
    return Finding(
        f"{len(widest)} networks of {width} hidden neurons end with training costs from {widest.min():.3f} (seed "
        f"{widest.argmin()}) to {widest.max():.3f} (seed {widest.argmax()}); one standard deviation is "
        f"{spread[-1]:.1%} of the mean, and for {', '.join(map(str, narrower))} neurons {others}; of test costs "
        f"{test_spread[-1]:.1%} after {test_others}",
        bool(spread[-1] <= ALIKE and spread[-1] < spread[0]),
    )


def draw(measured: Measurement) -> Figure:
    """Every network's cost, on training and on test images, and how the spread shrinks with width."""
    figure, ((costs, spreads),) = figures.page(1, 2)
    jitter = 2 ** np.random.default_rng(0).uniform(-0.14, 0.14, measured.cost.shape)
    widths = np.array(measured.widths)
    training = "training images", measured.cost, 0.87, figures.BLUE, "o"
    test = "test images", measured.test_cost, 1.15, figures.RED, "^"
    for name, cost, shift, colour, marker in (training, test):
        places = (widths[:, None] * shift * jitter**0.7).ravel()
        style = {"color": colour, "alpha": 0.35, "markersize": 3, "markeredgewidth": 0}
        costs.plot(places, cost.ravel(), marker, label=name, **style)
        spreads.plot(widths, 100 * relative_spread(cost), "-" + marker, color=colour, label=name)
    for panel in (costs, spreads):
        panel.set_xscale("log", base=2)
        panel.set_xticks(widths, measured.widths)
    costs.set_ylim(bottom=0)
    spreads.set_ylim(0, 130 * relative_spread(np.stack([measured.cost, measured.test_cost])).max())
    costs.legend(fontsize="small", markerscale=2)
    spreads.legend(fontsize="small")
    figures.name_axes(costs, "hidden neurons", "cost after training, mean of images", "a mark for each network")
    figures.name_axes(spreads, "hidden neurons", "standard deviation, % of the mean", "how much costs differ")
    return figure


def relative_spread(costs: Float[np.ndarray, "*widths seeds"]) -> Float[np.ndarray, "*widths"]:
    """One standard deviation as a part of the mean."""
    return costs.std(axis=-1, ddof=1) / costs.mean(axis=-1)


def smaller(dataset: Dataset) -> Dataset:
    """Images of half the height and width, each pixel the mean of four; as they are if that cannot be done."""
    if dataset.image_shape is None or dataset.image_shape[0] % 2 or dataset.image_shape[1] % 2:
        return dataset
    height, width, channels = dataset.image_shape

    def halve(examples: Examples) -> Examples:
        images = examples.inputs
        means = images.reshape(-1, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4)).reshape(len(images), -1)
        return replace(examples, inputs=means.round().astype(np.uint8) if images.dtype == np.uint8 else means)

    shape = (height // 2, width // 2, channels)
    return replace(dataset, train=halve(dataset.train), test=halve(dataset.test), image_shape=shape)


@jax.jit
def _costs(params: Params, inputs: Array, targets: Array) -> Float[Array, " members"]:
    return jax.lax.map(lambda one: loss(one, inputs, targets, MODEL), params, batch_size=16)
