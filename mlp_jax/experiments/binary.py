"""Neurons range continuously because descent needs a smooth cost; neurons that are on or off give it none.

A step instead of the sigmoid: on if the weighted sum is above 0. Where its slope exists it is 0, so a gradient is 0 and
descent stays at its start; that is an identity. So the cost itself is measured, which needs no slopes: how often a
small nudge of all parameters changes it at all, and its course along a line. Between the two are sigmoids of k times
the weighted sum: the larger k, the nearer to a step. Each learns at the best of three rates, the usual one, over k and
over k squared, because a slope k times as steep makes longer steps.

Source: lesson 2, minute 10.
Holds if:
- binary neurons leave no slope to follow: most small nudges of all parameters do not change the cost of an image at
  all, and with sigmoids nearly all do.
- the steeper, the worse: networks of the steepest sigmoids learn less than those of the lessons' sigmoid, by a tenth of
  the training images or more, in the median.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.activations import Activation, sigmoid
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import ALIKE, MOST, NEARLY_ALL, SIZES, Finding, batch_of, check_classes, mesh_for
from mlp_jax.network import Model, Params, feedforward, init_params
from mlp_jax.training import LEARNING_RATE, fit_population, init_population, make_optimizer
from mlp_jax.training.plan import count_steps

IMAGES, NUDGES, NUDGE = 500, 20, 1e-4  # a nudge: Gaussian, with this standard deviation in each parameter
ALONG, REACH = 400, 0.5  # points of the line from the start, and how far from it in each parameter, in the same sense
STEEPNESS, SEEDS = (1, 4, 16, 64), (0, 1)
LEARNED, EPOCHS, BATCH = 10_000, 10, 100


def steep(k: int) -> Activation:
    """The sigmoid of k times the weighted sum."""
    return Activation(lambda z: sigmoid.value(k * z), lambda z: k * sigmoid.derivative(k * z), range=(0, 1))


step = Activation(lambda z: (z > 0).astype(z.dtype), jnp.zeros_like, range=(0, 1))
MODELS = Model(step, step), Model()


class Measurement(NamedTuple):
    """The cost around a network's start, with binary neurons and with sigmoids; and what steeper sigmoids learn."""

    changed: Float[np.ndarray, " models"]  # the share of nudges and images for which the image's cost changes
    line: Float[np.ndarray, "models along"]  # the cost of all images, along a line through the start
    reach: float
    steepness: tuple[int, ...]
    accuracy: Float[np.ndarray, "steepness seeds"]  # on the training images, after training, 0 to 1


def measure(dataset: Dataset) -> Measurement:
    """Nudge and move one network, and train others by sigmoids of several steepnesses."""
    check_classes(dataset)
    sizes = (dataset.n_in, *SIZES[1:-1], dataset.n_out)
    start, few = init_params(jax.random.key(0), sizes), dataset.train.rows(slice(IMAGES))
    inputs, targets = batch_of(few, start)
    draw = np.random.default_rng(0)
    leaves, tree = jax.tree.flatten(start)

    def moved(size: float) -> list[np.ndarray]:
        return [(size * draw.normal(size=leaf.shape)).astype(np.float32) for leaf in leaves]

    def costs(model: Model, way: list[np.ndarray], share: float = 1) -> Float[Array, " images"]:
        params = tree.unflatten([leaf + share * change for leaf, change in zip(leaves, way, strict=True)])
        return _costs(params, inputs, targets, model)

    nudges, way = [moved(NUDGE) for _ in range(NUDGES)], moved(REACH)
    still = [leaf * 0 for leaf in way]
    changed = [np.mean([costs(model, nudge) != costs(model, still) for nudge in nudges]) for model in MODELS]
    line = [[costs(model, way, share).mean() for share in np.linspace(-1, 1, ALONG)] for model in MODELS]
    train = dataset.train.rows(slice(LEARNED))
    learned = replace(dataset, train=train, test=train)
    initial, accuracy = init_population(SEEDS, sizes), []
    steps = count_steps(EPOCHS, len(train), BATCH)
    for k in STEEPNESS:
        scores = []
        for rate in sorted({LEARNING_RATE / k**power for power in (0, 1, 2)}):
            optimizer, model = make_optimizer("sgd", rate, "cosine", steps), Model(steep(k), steep(k))
            settings = {"epochs": EPOCHS, "batch_size": BATCH, "optimizer": optimizer, "mesh": mesh_for(len(SEEDS))}
            scores.append(fit_population(initial, learned, model, **settings)[1].score)
        accuracy.append(np.max(scores, axis=0))
    return Measurement(np.array(changed), np.array(line), REACH, STEEPNESS, np.array(accuracy))


def judge(measured: Measurement) -> Finding:
    """Which parts hold."""
    binary, smooth = measured.changed
    accuracy = np.median(measured.accuracy, axis=1)
    return Finding(
        f"A small nudge changes an image's cost in {binary:.2%} of cases with binary neurons, and in {smooth:.2%} "
        "with sigmoids.",
        {
            "binary neurons leave no slope to follow": bool(1 - binary > MOST and smooth >= NEARLY_ALL),
            "the steeper, the worse": bool(accuracy[0] - accuracy[-1] >= ALIKE),
        },
        {
            "the nudge of every parameter, about": f"{NUDGE:g}",
            **{
                f"training accuracy of sigmoids {steep} times as steep": f"{share:.0%}"
                for steep, share in zip(measured.steepness, accuracy, strict=True)
            },
            "networks of each, at the best of three learning rates": f"{measured.accuracy.shape[1]}",
            "gradient of binary neurons, wherever there is one": "0",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The cost along a line, far and near, and what steeper sigmoids learn."""
    figure, ((far, near, learned),) = figures.page(1, 3)
    share = measured.reach * np.linspace(-1, 1, measured.line.shape[1])
    middle = np.abs(share) <= measured.reach / 20
    for panel, where, title in ((far, slice(None), "along a line"), (near, middle, "the same, nearer")):
        for cost, name, colour, style in zip(
            measured.line, ("on or off", "sigmoid"), (figures.RED, figures.BLUE), ("-", "--"), strict=True
        ):
            panel.plot(share[where], cost[where], style, color=colour, drawstyle="steps-mid", linewidth=1, label=name)
        figures.name_axes(panel, "distance a parameter", "cost of all images" if panel is far else "", title)
    far.legend(fontsize="small")
    figures.members(learned, measured.steepness, 100 * measured.accuracy.T, "o-")
    learned.set_xscale("log", base=4)
    learned.set_xticks(measured.steepness, [str(k) for k in measured.steepness])
    figures.name_axes(learned, "steepness of the sigmoid, k", "training accuracy, %", "after training", ylim=(0, 102))
    return figure


@jax.jit
def _costs(params: Params, inputs: Array, targets: Array, model: Model) -> Float[Array, " images"]:
    return model.cost.value(feedforward(params, inputs, model), targets)
