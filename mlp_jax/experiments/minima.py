"""The local minima that training finds are of about equal quality.

Claim: where training ends depends on where it starts, but hardly how good the end is, the less so the more neurons
there are. Where training ends stands for a minimum: the learning rate has fallen to 0 there, the gradient only nearly.
Source: lesson 2, after Choromanska et al. 2015 (arXiv 1412.0233), who trained networks of one hidden layer on smaller
images of MNIST from many starts. Refuted if: the costs that training ends with differ much from start to start, or as
much in wide networks as in narrow ones.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import Finding, batch_of, mesh_for
from mlp_jax.network import Model, Params, loss
from mlp_jax.training import fit_population, init_population

WIDTHS = (2, 4, 8, 16, 32)
SEEDS = tuple(range(64))
IMAGES = 5_000
EPOCHS, BATCH = 30, 25
COUNTED = 100  # images whose right answers training counts after each epoch: few, for nobody looks at them
ALIKE = 0.1


class Measurement(NamedTuple):
    """What training from many starts ended with, for one hidden layer of several widths.

    widths: neurons of the hidden layer, (widths,). pixels: of an image. images: how many were learned.
    cost, test_cost: the mean cost of the training images, and of the test images, (widths, seeds).
    """

    widths: tuple[int, ...]
    pixels: int
    images: int
    cost: Float[np.ndarray, "widths seeds"]
    test_cost: Float[np.ndarray, "widths seeds"]


def measure(dataset: Dataset) -> Measurement:
    """Train sigmoid networks with the quadratic cost from SEEDS, for each of WIDTHS, on some of the training images."""
    small = smaller(
        Dataset(
            dataset.train_images[:IMAGES],
            dataset.train_labels[:IMAGES],
            dataset.test_images[:IMAGES],
            dataset.test_labels[:IMAGES],
            dataset.classes,
            dataset.image_shape,
        )
    )
    few = Dataset(
        small.train_images,
        small.train_labels,
        small.test_images[:COUNTED],
        small.test_labels[:COUNTED],
        small.classes,
    )
    train, test = batch_of(small, slice(None)), batch_of(small, slice(None), test=True)
    costs = []
    for width in WIDTHS:
        initial = init_population(SEEDS, (small.train_images.shape[1], width, small.classes))
        state, _ = fit_population(initial, few, epochs=EPOCHS, batch_size=BATCH, mesh=mesh_for(len(SEEDS)))
        costs.append([np.asarray(_costs(state.params, *examples)) for examples in (train, test)])
    cost, test_cost = np.swapaxes(costs, 0, 1)
    return Measurement(WIDTHS, small.train_images.shape[1], len(small.train_labels), cost, test_cost)


def judge(measured: Measurement) -> Finding:
    """Holds where the standard deviation of the widest networks' training costs is at most ALIKE of their mean.

    It must also be a smaller part of the mean than in the narrowest networks.
    """
    spread, test_spread = relative_spread(measured.cost), relative_spread(measured.test_cost)
    widest = measured.cost[-1]
    return Finding(
        f"{len(widest)} networks of {measured.widths[-1]} hidden neurons end with training costs from "
        f"{widest.min():.3f} (seed {widest.argmin()}) to {widest.max():.3f} (seed {widest.argmax()}); one standard "
        f"deviation is {spread[-1]:.1%} of the mean, and for {', '.join(map(str, measured.widths[:-1]))} neurons "
        f"{', '.join(f'{part:.1%}' for part in spread[:-1])}; of test costs {test_spread[-1]:.1%} after "
        f"{', '.join(f'{part:.1%}' for part in test_spread[:-1])}",
        bool(spread[-1] <= ALIKE and spread[-1] < spread[0]),
    )


def draw(measured: Measurement) -> Figure:
    """Every network's cost, on training and on test images, and how the spread shrinks with width."""
    figure, (panels,) = figures.page(1, 2)
    costs, spreads = panels
    jitter = 2 ** np.random.default_rng(0).uniform(-0.14, 0.14, measured.cost.shape)
    widths = np.array(measured.widths)
    for name, cost, shift, colour, marker in (
        ("training images", measured.cost, 0.87, figures.BLUE, "o"),
        ("test images", measured.test_cost, 1.15, figures.RED, "^"),
    ):
        costs.plot(
            (widths[:, None] * shift * jitter**0.7).ravel(),
            cost.ravel(),
            marker,
            color=colour,
            alpha=0.35,
            markersize=3,
            markeredgewidth=0,
            label=name,
        )
        spreads.plot(widths, 100 * relative_spread(cost), "-" + marker, color=colour, label=name)
    for panel in panels:
        panel.set_xscale("log", base=2)
        panel.set_xticks(widths, [str(width) for width in widths])
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
    """Images of half the height and width, each pixel the mean of four; as they are where that cannot be done."""
    if dataset.image_shape is None or dataset.image_shape[0] % 2 or dataset.image_shape[1] % 2:
        return dataset
    height, width, channels = dataset.image_shape

    def halve(images: np.ndarray) -> np.ndarray:
        squares = images.reshape(-1, height // 2, 2, width // 2, 2, channels)
        return squares.mean(axis=(2, 4)).round().astype(np.uint8).reshape(len(images), -1)

    return Dataset(
        halve(dataset.train_images),
        dataset.train_labels,
        halve(dataset.test_images),
        dataset.test_labels,
        dataset.classes,
        (height // 2, width // 2, channels),
    )


@jax.jit
def _costs(params: Params, inputs: Array, targets: Array) -> Float[Array, " members"]:
    return jax.lax.map(lambda one: loss(one, inputs, targets, Model()), params, batch_size=16)
