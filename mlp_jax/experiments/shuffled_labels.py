"""Shuffled labels are learned by heart, slowly and almost in a line; true ones fast.

Claim: a network with enough weights learns images whose labels have been shuffled as completely as it learns the true
ones, though of other images it then knows nothing; but its cost falls slowly and almost in a straight line, while true
labels let it drop fast. Source: lesson 2, after Zhang et al. 2017 (arXiv 1611.03530) and Arpit et al. 2017 (arXiv
1706.05394). Refuted if: shuffled labels cannot be learned, or are learned about as fast; if their cost falls along
another curve than a line; or if test images are named better than by chance.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.activations import relu, softmax
from mlp_jax.costs import cross_entropy
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import Finding, batch_of, mesh_for
from mlp_jax.network import Model, predict
from mlp_jax.training import PopulationMetrics, TrainState, fit_population, init_population, make_optimizer

IMAGES = 5_000
HIDDEN = (128, 128)  # 118,282 parameters for MNIST, 24 an image
SEEDS = (0, 1, 2, 3)
MODEL = Model(relu, softmax, cross_entropy)
RATE, BATCH, EPOCHS = 2e-3, 50, 100
LEARNED = 0.99  # the training accuracy at which labels are learned, and training ends once all networks have it
LINE, SLOWER, NEAR_CHANCE = 0.95, 5, 0.03


class Curves(NamedTuple):
    """How networks learned labels, until the last one had.

    cost: on the training images, the mean over each epoch, each just before its update, (seeds, epochs).
    accuracy: on the training images after each epoch, 0 to 1, (seeds, epochs).
    test_accuracy: in the end, on the true labels of the test images, 0 to 1, (seeds,).
    straightness: the share of the cost's variance that a straight line through it explains, R^2, (seeds,): from the
        first epoch to that in which the network has learned.
    """

    cost: Float[np.ndarray, "seeds epochs"]
    accuracy: Float[np.ndarray, "seeds epochs"]
    test_accuracy: Float[np.ndarray, " seeds"]
    straightness: Float[np.ndarray, " seeds"]


class Measurement(NamedTuple):
    """The same networks, the same images in the same order, and two sets of labels.

    images: how many they learned. chance: how often a guess is right that is one of the training labels, 0 to 1.
    guessing: the cost of answering each class as often as it occurs.
    """

    true: Curves
    shuffled: Curves
    images: int
    chance: float
    guessing: float


def measure(dataset: Dataset) -> Measurement:
    """Train networks from each of SEEDS on the true labels, and on the same labels in an order drawn once."""
    images, labels = dataset.train_images[:IMAGES], dataset.train_labels[:IMAGES]
    shares, test_shares = (
        np.bincount(some, minlength=dataset.classes) / len(some) for some in (labels, dataset.test_labels)
    )
    present = shares[shares > 0]
    shuffled = np.random.default_rng(0).permutation(labels)
    return Measurement(
        _learn(dataset, images, labels),
        _learn(dataset, images, shuffled),
        len(images),
        float(shares @ test_shares),
        float(-present @ np.log(present)),
    )


def judge(measured: Measurement) -> Finding:
    """Holds where shuffled labels are learned as well as true ones, slowly, along a line, and to no use.

    That is, in the median network: both are learned to LEARNED; the shuffled ones take SLOWER times as many epochs,
    along a line that explains LINE of the cost's variance, and more than for true labels; and they leave the test
    accuracy within NEAR_CHANCE of chance.
    """
    true, shuffled = measured.true, measured.shuffled
    reached = [float(np.median(curves.accuracy.max(axis=1))) for curves in (true, shuffled)]
    fast, slow = (float(np.median(epochs_to_learn(curves.accuracy))) for curves in (true, shuffled))
    straight, bent = (float(np.median(curves.straightness)) for curves in (shuffled, true))
    test = float(np.median(shuffled.test_accuracy))
    learned, slowly = min(reached) >= LEARNED, slow >= SLOWER * fast
    line, useless = straight >= LINE and straight > bent, abs(test - measured.chance) <= NEAR_CHANCE
    took = [f"in {epochs:.0f} epochs" if np.isfinite(epochs) else "at best" for epochs in (fast, slow)]
    verdict = (
        f"{'' if slowly else 'not '}slowly, {'and' if slowly == line else 'but'} {'' if line else 'not '}in a line"
    )
    return Finding(
        f"{verdict}: shuffled labels of {measured.images:,} images are learned to {reached[1]:.1%} {took[1]}, true "
        f"ones to {reached[0]:.1%} {took[0]} (medians of {len(shuffled.cost)} networks); a straight line explains "
        f"{straight:.1%} of how the cost falls with shuffled labels, {bent:.1%} with true ones; {test:.1%} of the test "
        f"images are then named right (chance is {measured.chance:.1%}), after true labels "
        f"{np.median(true.test_accuracy):.1%}",
        bool(learned and slowly and line and useless),
    )


def draw(measured: Measurement) -> Figure:
    """Cost and accuracy on the training images, epoch by epoch: medians in bands from lowest to highest seed."""
    figure, (panels,) = figures.page(1, 2)
    for panel, quantity, scale in zip(panels, ("cost", "accuracy"), (1, 100), strict=True):
        for name, curves, colour, style in (
            ("shuffled labels", measured.shuffled, figures.RED, "--"),
            ("true labels", measured.true, figures.BLUE, "-"),
        ):
            y = scale * getattr(curves, quantity)
            epochs = np.arange(1, y.shape[1] + 1)
            panel.plot(epochs, np.median(y, axis=0), style, color=colour, label=name)
            panel.fill_between(epochs, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    cost, accuracy = panels
    cost.axhline(measured.guessing, color="gray", linestyle=":", linewidth=1, label="guessing")
    figures.name_axes(cost, "epoch", "training cost, nats an image")
    figures.name_axes(accuracy, "epoch", "training accuracy, %")
    cost.set_ylim(bottom=0)
    cost.legend(fontsize="small")
    return figure


def epochs_to_learn(accuracy: Float[np.ndarray, "seeds epochs"]) -> Float[np.ndarray, " seeds"]:
    """After how many epochs each network first has the accuracy LEARNED; infinite where it never does."""
    return np.where((accuracy >= LEARNED).any(axis=1), np.argmax(accuracy >= LEARNED, axis=1) + 1.0, np.inf)


def straightness(cost: Float[np.ndarray, " epochs"]) -> float:
    """The share of a curve's variance that its best straight line explains, R^2: 1 for two points or fewer."""
    epochs = np.arange(len(cost))
    if len(cost) < 3 or np.ptp(cost) == 0:
        return 1.0
    return float(np.corrcoef(epochs, cost)[0, 1] ** 2)


def _learn(dataset: Dataset, images: np.ndarray, labels: np.ndarray) -> Curves:
    costs, accuracies = [], []

    def after_epoch(_: TrainState, metrics: PopulationMetrics) -> bool:
        costs.append(metrics.loss)
        accuracies.append(metrics.test_accuracy)
        return bool((np.max(accuracies, axis=0) >= LEARNED).all())

    # The accuracy that is measured after each epoch is that of the test images: here, of those that are learned.
    by_heart = Dataset(images, labels, images, labels, dataset.classes)
    state, _ = fit_population(
        init_population(SEEDS, (images.shape[1], *HIDDEN, dataset.classes)),
        by_heart,
        MODEL,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=make_optimizer("adam", RATE),
        mesh=mesh_for(len(SEEDS)),
        callback=after_epoch,
    )
    inputs, _ = batch_of(dataset, slice(None), test=True)
    answers = jax.jit(jax.vmap(predict, in_axes=(0, None, None)))(state.params, inputs, MODEL)
    cost, accuracy = np.stack(costs, axis=1), np.stack(accuracies, axis=1)
    ends = np.minimum(epochs_to_learn(accuracy), cost.shape[1]).astype(int)
    return Curves(
        cost,
        accuracy,
        np.mean(np.asarray(answers) == dataset.test_labels, axis=1),
        np.array([straightness(row[:end]) for row, end in zip(cost, ends, strict=True)]),
    )
