"""Shuffled labels are learned by heart, slowly and almost in a line; true ones fast.

Of other images the network then knows nothing. The lesson follows Zhang et al. 2017 (arXiv 1611.03530) and Arpit et al.
2017 (arXiv 1706.05394).

Source: lesson 2.
Refuted if: shuffled labels cannot be learned, or are learned about as fast; if their cost falls along another curve
than a line; or if test images are named better than by chance.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.activations import relu, softmax
from mlp_jax.costs import cross_entropy
from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments.subject import Finding, batch_of, check_classes, mesh_for, outputs_of_all
from mlp_jax.network import Model
from mlp_jax.training import EpochMetrics, TrainState, fit_population, init_population, make_optimizer

IMAGES = 5_000
HIDDEN = (128, 128)  # 118,282 parameters for MNIST, 24 an image
SEEDS = (0, 1, 2, 3)
MODEL = Model(relu, softmax, cross_entropy)
RATE, BATCH, EPOCHS = 2e-3, 50, 100
LEARNED = 0.99  # the training accuracy at which labels are learned, and training ends once all networks have it
LINE, SLOWER, NEAR_CHANCE = 0.95, 5, 0.03


class Curves(NamedTuple):
    """How networks learned labels, until the last one had."""

    cost: Float[np.ndarray, "seeds epochs"]  # of the training images: the mean over the epoch, each before its update
    accuracy: Float[np.ndarray, "seeds epochs"]  # on the training images after each epoch, 0 to 1
    test_accuracy: Float[np.ndarray, " seeds"]  # in the end, on the true labels of the test images, 0 to 1
    straightness: Float[np.ndarray, " seeds"]  # of the cost up to the epoch in which the network has learned


class Measurement(NamedTuple):
    """The same networks, the same images in the same order, and two sets of labels."""

    true: Curves
    shuffled: Curves
    images: int  # how many they learned
    chance: float  # how often a guess is right that is one of the training labels, 0 to 1
    guessing: float  # the cost of answering each class as often as it occurs


def measure(dataset: Dataset) -> Measurement:
    """Train networks from each of SEEDS on the true labels, and on the same labels in an order drawn once."""
    check_classes(dataset)
    train = dataset.train.rows(slice(IMAGES))
    shares, test_shares = (
        np.bincount(some, minlength=dataset.n_out) / len(some) for some in (train.targets, dataset.test.targets)
    )
    present = shares[shares > 0]
    shuffled = replace(train, targets=np.random.default_rng(0).permutation(train.targets))
    curves = _learn(dataset, train), _learn(dataset, shuffled)
    return Measurement(*curves, len(train), float(shares @ test_shares), float(-present @ np.log(present)))


def judge(measured: Measurement) -> Finding:
    """Holds if shuffled labels are learned as well as true ones, slowly, along a line, and to no use: in the median.

    Well: to LEARNED. Slowly: in SLOWER times the epochs. Along a line: it explains LINE of the cost's variance, and
    more than for true labels. To no use: the test accuracy is within NEAR_CHANCE of chance.
    """
    true, shuffled = measured.true, measured.shuffled
    reached = [float(np.median(curves.accuracy.max(axis=1))) for curves in (true, shuffled)]
    fast, slow = (float(np.median(epochs_to_learn(curves.accuracy))) for curves in (true, shuffled))
    straight, bent = (float(np.median(curves.straightness)) for curves in (shuffled, true))
    test = float(np.median(shuffled.test_accuracy))
    learned, slowly = min(reached) >= LEARNED, slow >= SLOWER * fast
    line, useless = straight >= LINE and straight > bent, abs(test - measured.chance) <= NEAR_CHANCE
    took = [f"in {epochs:.0f} epochs" if np.isfinite(epochs) else "at best" for epochs in (fast, slow)]
    return Finding(
        f"{'' if slowly else 'not '}slowly, {'and' if slowly == line else 'but'} {'' if line else 'not '}in a line: "
        f"shuffled labels of {measured.images:,} images are learned to {reached[1]:.1%} {took[1]}, true ones to "
        f"{reached[0]:.1%} {took[0]} (medians of {len(shuffled.cost)} networks); a straight line explains "
        f"{straight:.1%} of how the cost falls with shuffled labels, {bent:.1%} with true ones; {test:.1%} of the test "
        f"images are then named right (chance is {measured.chance:.1%}), after true labels "
        f"{np.median(true.test_accuracy):.1%}",
        bool(learned and slowly and line and useless),
    )


def draw(measured: Measurement) -> Figure:
    """Cost and accuracy on the training images, epoch by epoch: medians in bands from lowest to highest seed."""
    figure, ((cost, accuracy),) = figures.page(1, 2)
    shuffled = "shuffled labels", measured.shuffled, figures.RED, "--"
    for name, curves, colour, style in (shuffled, ("true labels", measured.true, figures.BLUE, "-")):
        epochs = np.arange(1, curves.cost.shape[1] + 1)
        figures.band(cost, epochs, curves.cost, style, colour, name)
        figures.band(accuracy, epochs, 100 * curves.accuracy, style, colour, name)
    cost.axhline(measured.guessing, color="gray", linestyle=":", linewidth=1, label="guessing")
    figures.name_axes(cost, "epoch", "training cost, nats an image", ylim=(0, None))
    figures.name_axes(accuracy, "epoch", "training accuracy, %")
    cost.legend(fontsize="small")
    return figure


def epochs_to_learn(accuracy: Float[np.ndarray, "seeds epochs"]) -> Float[np.ndarray, " seeds"]:
    """After how many epochs each network first has the accuracy LEARNED; infinite if it never does."""
    return np.where((accuracy >= LEARNED).any(axis=1), np.argmax(accuracy >= LEARNED, axis=1) + 1.0, np.inf)


def straightness(cost: Float[np.ndarray, " epochs"]) -> float:
    """The share of a curve's variance that its best straight line explains, R^2: 1 for two points or fewer."""
    straight = len(cost) < 3 or np.ptp(cost) == 0
    return 1.0 if straight else float(np.corrcoef(np.arange(len(cost)), cost)[0, 1] ** 2)


def _learn(dataset: Dataset, train: Examples) -> Curves:
    costs, accuracies = [], []

    def after_epoch(_: TrainState, metrics: EpochMetrics) -> bool:
        costs.append(metrics.loss)
        accuracies.append(metrics.score)
        return bool((np.max(accuracies, axis=0) >= LEARNED).all())

    # The accuracy after each epoch is that on the test images: here, on those that are learned.
    state, _ = fit_population(
        init_population(SEEDS, (dataset.n_in, *HIDDEN, dataset.n_out)),
        replace(dataset, train=train, test=train),
        MODEL,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=make_optimizer("adam", RATE),
        mesh=mesh_for(len(SEEDS)),
        callback=after_epoch,
    )
    inputs, _ = batch_of(dataset.test, state.params)
    answers = np.argmax(outputs_of_all(state.params, inputs, MODEL), axis=2)
    cost, accuracy = np.stack(costs, axis=1), np.stack(accuracies, axis=1)
    ends = np.minimum(epochs_to_learn(accuracy), cost.shape[1]).astype(int)
    return Curves(
        cost,
        accuracy,
        np.mean(answers == dataset.test.targets, axis=1),
        np.array([straightness(row[:end]) for row, end in zip(cost, ends, strict=True)]),
    )
