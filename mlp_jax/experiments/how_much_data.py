"""For this algorithm to work you need a lot of training data.

The lesson does not say how much. Here the same network makes the same number of steps, on mini-batches of the same
size, with a 600th of the training images, 100 of MNIST's, up to all: of fewer images each is seen more often. So the
number of different images is all that differs, and not how long the network trains.

Source: lesson 3, minute 12.
Holds if:
- a thousand are not enough: with one in 60 of the training images, 1,000 of MNIST's, the median network makes at least
  twice as many mistakes on the test images as with all.
- more help to the last: each larger number of images leaves the median network fewer mistakes on the test images.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import (
    MUCH_MORE,
    SIZES,
    Finding,
    batch_of,
    check_classes,
    mesh_for,
    outputs_of_all,
)
from mlp_jax.network import Model
from mlp_jax.training import fit_population, init_population

FEW = 60
ONE_IN = (600, 200, FEW, 20, 6, 2, 1)
SEEDS = (0, 1)
ORDERS = (0, 1)  # in which images are taken: seeds as well
EPOCHS, BATCH = 15, 100  # all sets of images get as many steps as these make with all images
WATCHED = 100  # test images that training evaluates on after each epoch: few, for nobody looks at the result


class Measurement(NamedTuple):
    """What networks learn from more and more images: one from each of SEEDS on images from each of ORDERS."""

    counts: tuple[int, ...]  # training images: all of them divided by ONE_IN
    steps: int  # of each training
    train_accuracy: Float[np.ndarray, "counts networks"]  # on the images that were learned, 0 to 1
    test_accuracy: Float[np.ndarray, "counts networks"]


def measure(dataset: Dataset) -> Measurement:
    """Train the lessons' network on the first images of a random order: on a few of them, on more, and on all."""
    check_classes(dataset)
    whole = len(dataset.train)
    counts = tuple(max(whole // part, 1) for part in ONE_IN)
    train, test = (np.stack(found) for found in zip(*(_learn(dataset, count) for count in counts), strict=True))
    return Measurement(counts, EPOCHS * -(-whole // BATCH), train, test)


def judge(measured: Measurement) -> Finding:
    """Compare the median networks' mistakes with more and more images, and say what doubling them takes away."""
    counts, few = measured.counts, ONE_IN.index(FEW)
    train, test = (np.median(found, axis=1) for found in (measured.train_accuracy, measured.test_accuracy))
    mistakes = 1 - test
    first, last = (
        _doubling(mistakes[larger - 1], mistakes[larger], ONE_IN[larger - 1] / ONE_IN[larger]) for larger in (1, -1)
    )
    return Finding(
        f"After {measured.steps:,} steps each, test accuracy is {test[0]:.0%} with {counts[0]:,} training images "
        f"and {test[-1]:.1%} with {counts[-1]:,}.",
        {
            "a thousand are not enough": bool(mistakes[few] >= MUCH_MORE * mistakes[-1]),
            "more help to the last": bool((np.diff(mistakes) < 0).all()),
        },
        {
            "networks for each number of images": f"{measured.test_accuracy.shape[1]}",
            f"test accuracy with {counts[few]:,} images": f"{test[few]:.1%}",
            f"accuracy on the training images, if they are {counts[0]:,}": f"{train[0]:.0%}",
            f"accuracy on the training images, if they are {counts[-1]:,}": f"{train[-1]:.1%}",
            f"mistakes removed by twice as many images, from {counts[0]:,} on": f"{first:.0%}",
            f"mistakes removed by twice as many images, from {counts[-2]:,} on": f"{last:.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Accuracy on the images that were learned and on test images, and the mistakes on both axes' logarithms."""
    figure, ((accuracy, mistakes),) = figures.page(1, 2)
    counts = np.array(measured.counts)
    kinds = {"training images": measured.train_accuracy, "test images": measured.test_accuracy}
    figures.curves(accuracy, counts, {name: 100 * found.T for name, found in kinds.items()})
    figures.band(mistakes, counts, 100 * (1 - measured.test_accuracy.T), "o--", figures.COLOURS[1], "test images")
    accuracy.set(xscale="log")
    mistakes.set(xscale="log", yscale="log")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if mistakes.get_ylim()[0] <= tick <= mistakes.get_ylim()[1]]
    mistakes.set_yticks(ticks, map(str, ticks))
    mistakes.set_yticks([], minor=True)
    title = f"{measured.steps:,} steps for each"
    figures.name_axes(accuracy, "training images", "accuracy, %", title)
    figures.name_axes(mistakes, "training images", "mistakes on test images, %", "each doubling buys less")
    return figure


def _learn(dataset: Dataset, count: int) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
    """Train on `count` images. Returns the accuracy of each network on them, and on the test images."""
    found = []
    for order in ORDERS:
        taken = np.random.default_rng(order).permutation(len(dataset.train))[:count]
        # Repeated up to as many rows as there are in all: epochs have as many steps, and are one compiled program.
        train = dataset.train.rows(np.resize(taken, len(dataset.train)))
        state, _ = fit_population(
            init_population(SEEDS, (dataset.n_in, *SIZES[1:-1], dataset.n_out)),
            replace(dataset, train=train, test=dataset.test.rows(slice(WATCHED))),
            Model(),
            epochs=EPOCHS,
            batch_size=min(BATCH, len(train)),
            mesh=mesh_for(len(SEEDS)),
        )
        right = []
        for examples in (train, dataset.test):
            inputs, _ = batch_of(examples, state.params)
            answers = np.argmax(outputs_of_all(state.params, inputs, Model()), axis=2)
            right.append(answers == examples.targets)
        found.append((right[0][:, :count].mean(axis=1), right[1].mean(axis=1)))
    train_accuracy, test_accuracy = (np.concatenate(of_orders) for of_orders in zip(*found, strict=True))
    return train_accuracy, test_accuracy


def _doubling(before: float | np.floating, after: float | np.floating, times: float) -> float:
    """The share of mistakes that each doubling of the images takes away, if so many times as many leave `after`."""
    return float(1 - (after / before) ** (1 / np.log2(times))) if before else 0.0
