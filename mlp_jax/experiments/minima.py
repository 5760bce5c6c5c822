"""The local minima that training finds are of about equal quality.

The lesson says "equal", of a paper with "a lot more simplifications" than practice has: Choromanska et al. 2015 (arXiv
1412.0233), whose theory is of large networks. Widths, seeds and halved images follow that paper's own experiment on
MNIST; its networks had up to 500 hidden neurons, these have at most 32. Quality is the cost that training ends with, on
the training images and on others. The end of training stands for a minimum, though the gradient is only nearly 0 there.

Source: lesson 2, minute 19.
Holds if:
- about equal on training images: one standard deviation of the costs is at most a tenth of their mean, at every width.
- about equal on test images: the same of the costs of test images.
- equal at the greatest width: with the most neurons both are at most a thousandth.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments.subject import ALIKE, EQUAL, Finding, batch_of, check_classes, mesh_for
from mlp_jax.network import Model, Params, loss
from mlp_jax.training import fit_population, init_population

MODEL = Model()
WIDTHS = (2, 4, 8, 16, 32)
SEEDS = tuple(range(64))
IMAGES = 5_000
EPOCHS, BATCH = 30, 25
EVALUATED = 100  # test images that training evaluates on after each epoch: few, for nobody looks at the result


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
    """Which parts hold."""
    spread, test_spread = relative_spread(measured.cost), relative_spread(measured.test_cost)
    widest = measured.cost[-1]
    return Finding(
        f"The costs that {len(widest)} networks of each width end with have standard deviations of "
        f"{spread.min():.1%} to {spread.max():.1%} of their mean.",
        {
            "about equal on training images": bool((spread <= ALIKE).all()),
            "about equal on test images": bool((test_spread <= ALIKE).all()),
            "equal at the greatest width": bool(max(spread[-1], test_spread[-1]) <= EQUAL),
        },
        {
            "training images, pixels": f"{measured.images:,}, {measured.pixels}",
            **{
                f"{width} hidden neurons: standard deviation, training and test": f"{some:.1%}, {others:.1%}"
                for width, some, others in zip(measured.widths, spread, test_spread, strict=True)
            },
            f"lowest and highest cost with {measured.widths[-1]} neurons": (
                f"{widest.min():.3f} (seed {widest.argmin()}), {widest.max():.3f} (seed {widest.argmax()})"
            ),
        },
    )


def draw(measured: Measurement) -> Figure:
    """Every network's cost, on training and on test images, and how much costs differ at each width."""
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
    spreads.axhline(100 * ALIKE, color="black", linewidth=0.8, linestyle=":", label="a tenth")
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
