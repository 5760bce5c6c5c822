"""Large networks learn shuffled labels by heart, slowly and almost in a line; true ones they learn fast.

Of other images the network then knows nothing. The interviewee speaks of the accuracy curve, which "went down":
accuracy and cost are both drawn. The lesson follows Zhang et al. 2017 (arXiv 1611.03530) and Arpit et al. 2017 (arXiv
1706.05394), whose networks had millions of weights; these have 24 for each image. The line is judged up to 90 %
accuracy: no accuracy can rise in a line beyond 100 %. That with true labels one has to "fiddle around" in the beginning
is too short to be seen from epoch to epoch.

Source: lesson 2, minute 18.
Holds if:
- learned by heart: the median network learns shuffled labels to 99 % of the training images, as it does true ones.
- slowly: to get there takes five times as many epochs as with true labels, or more, in the median.
- almost in a line: up to 90 % accuracy a straight line explains 95 % of the variance of the accuracy and of the cost,
  or more, in the median.
- fast with true labels: most of the way from chance to 99 % is made in the first epoch, in the median.
- no better than chance on test images: their accuracy after shuffled labels is within 3 points of chance, in the
  median.
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
from mlp_jax.experiments.subject import MOST, NEARLY_ALL, Finding, batch_of, check_classes, mesh_for, outputs_of_all
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


class Measurement(NamedTuple):
    """The same networks, the same images in the same order, and two sets of labels."""

    true: Curves
    shuffled: Curves
    images: int  # how many they learned
    parameters: int  # of each network
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
    (true, parameters), (by_heart, _) = _learn(dataset, train), _learn(dataset, shuffled)
    chance, guessing = float(shares @ test_shares), float(-present @ np.log(present))
    return Measurement(true, by_heart, len(train), parameters, chance, guessing)


def judge(measured: Measurement) -> Finding:
    """Which parts hold, in the median of the networks."""
    true, shuffled = measured.true, measured.shuffled
    reached = [float(np.median(curves.accuracy.max(axis=1))) for curves in (true, shuffled)]
    fast, slow = (float(np.median(epochs_to(LEARNED, curves.accuracy))) for curves in (true, shuffled))
    accuracy, cost = (float(np.median(share)) for share in straightness(shuffled))
    half, most = (np.median(epochs_to(level, shuffled.accuracy)) for level in (NEARLY_ALL / 2, NEARLY_ALL))
    first, test = float(np.median(true.accuracy[:, 0])), float(np.median(shuffled.test_accuracy))
    took = [f"in {epochs:.0f} epochs" if np.isfinite(epochs) else "at best" for epochs in (fast, slow)]
    line = f"{half:.0f} epochs bring 45 % and {most:.0f} bring 90 %" if np.isfinite(most) else "90 % is never reached"
    return Finding(
        f"Networks learn shuffled labels to {reached[1]:.1%} {took[1]}, and true ones to {reached[0]:.1%} {took[0]}.",
        {
            "learned by heart": min(reached) >= LEARNED,
            "slowly": np.isfinite(slow) and slow >= SLOWER * fast,
            "almost in a line": min(accuracy, cost) >= LINE,
            "fast with true labels": first - measured.chance > MOST * (LEARNED - measured.chance),
            "no better than chance on test images": abs(test - measured.chance) <= NEAR_CHANCE,
        },
        {
            "networks, parameters, training images": (
                f"{len(shuffled.cost)}, {measured.parameters:,}, {measured.images:,}"
            ),
            "shuffled labels": line,
            "accuracy and cost explained by a line so far": f"{accuracy:.0%}, {cost:.0%}",
            "true labels: training accuracy after the first epoch": f"{first:.0%}",
            "test accuracy after shuffled labels": f"{test:.1%} (chance {measured.chance:.1%})",
            "test accuracy after true labels": f"{np.median(true.test_accuracy):.1%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Cost and accuracy on the training images, epoch by epoch: medians in bands from lowest to highest seed."""
    figure, ((cost, accuracy),) = figures.page(1, 2)
    shuffled = "shuffled labels", measured.shuffled, figures.RED, "--"
    for name, curves, colour, style in (shuffled, ("true labels", measured.true, figures.BLUE, "-")):
        epochs = np.arange(1, curves.cost.shape[1] + 1)
        figures.band(cost, epochs, curves.cost, style, colour, name)
        figures.band(accuracy, epochs, 100 * curves.accuracy, style, colour, name)
    for panel, rows in ((cost, measured.shuffled.cost), (accuracy, 100 * measured.shuffled.accuracy)):
        median = np.median(rows, axis=0)
        end = _ends(np.median(measured.shuffled.accuracy, axis=0)[None])[0]
        straight = np.polyfit(np.arange(1, end + 1), median[:end], min(1, end - 1))
        panel.plot(
            [1, end], np.polyval(straight, [1, end]), "-", color="black", linewidth=1, label="line up to 90 % accuracy"
        )
    cost.axhline(measured.guessing, color="gray", linestyle=":", linewidth=1, label="guessing")
    accuracy.axhline(100 * measured.chance, color="gray", linestyle=":", linewidth=1, label="guessing")
    figures.name_axes(cost, "epoch", "training cost, nats an image", ylim=(0, None))
    figures.name_axes(accuracy, "epoch", "training accuracy, %", ylim=(0, 102))
    cost.legend(fontsize="small")
    return figure


def epochs_to(level: float, accuracy: Float[np.ndarray, "seeds epochs"]) -> Float[np.ndarray, " seeds"]:
    """After how many epochs each network first has this accuracy; infinite if it never does."""
    return np.where((accuracy >= level).any(axis=1), np.argmax(accuracy >= level, axis=1) + 1.0, np.inf)


def straightness(curves: Curves) -> tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]:
    """The share of variance that the best straight line explains, R^2, up to 90 % accuracy: of accuracy and of cost."""
    ends = _ends(curves.accuracy)
    accuracy, cost = (
        np.array([_explained(row[:end]) for row, end in zip(rows, ends, strict=True)])
        for rows in (curves.accuracy, curves.cost)
    )
    return accuracy, cost


def _ends(accuracy: Float[np.ndarray, "seeds epochs"]) -> np.ndarray:
    """The epoch in which each network reaches 90 %, or the last."""
    return np.minimum(epochs_to(NEARLY_ALL, accuracy), accuracy.shape[1]).astype(int)


def _explained(curve: Float[np.ndarray, " epochs"]) -> float:
    straight = len(curve) < 3 or np.ptp(curve) == 0  # two points lie on a line
    return 1.0 if straight else float(np.corrcoef(np.arange(len(curve)), curve)[0, 1] ** 2)


def _learn(dataset: Dataset, train: Examples) -> tuple[Curves, int]:
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
    curves = Curves(
        np.stack(costs, axis=1), np.stack(accuracies, axis=1), np.mean(answers == dataset.test.targets, axis=1)
    )
    return curves, sum(layer.weights[0].size + layer.biases[0].size for layer in state.params)
