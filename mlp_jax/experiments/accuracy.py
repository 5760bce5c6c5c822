"""784-16-16-10 gets about 96 % of new images right, and a couple of tweaks of the hidden layers up to 98 %.

The first number is judged on the network as the lesson describes it alone: sigmoids, the quadratic cost, plain
gradient descent on mini-batches. The lesson gives neither a learning rate nor a batch size. Ours were
chosen on 10,000 training images that were held out, never on the test images. Batches of 10, 20, 50 and 100 were tried,
each at two to four rates, for 30 to 100 epochs. Batches of 20 at a rate of 1 for 30 epochs had the highest median of
twelve networks, 94.79 %; the preset lesson had 94.58 %, as `mlp-jax sweep --validation 10000 --seeds 12
--batch-size 20 --learning-rate 1` shows.

Two rows are shown but not judged. "sixteen" has the lesson's sizes, but other functions and another optimiser.
"nielsen" is Nielsen's network of 30 hidden neurons; its best epoch in his book has 95.42 % (chapter 1). Our accuracies
are those after the last epoch, not after the best.

Source: lesson 2, minute 13.
Holds if:
- about 96 % as described: the median 784-16-16-10 of sigmoids, trained with the settings chosen on held-out images,
  gets 95.5 % of the test images right or more.
- 98 % with tweaks: a network with another hidden layer, 784-256-10, gets 98 % right or more.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.build import augment_of, model_for, optimizer_of, sizes_for, with_learning_rate
from mlp_jax.config import Train, preset
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import Finding, SubjectError, check_classes, mesh_for
from mlp_jax.training import count_steps, fit_population, init_population

DESCRIBED, TWEAKED = "lesson, batches of 20", "ninety-eight"
CHOSEN = replace(preset(Train, "lesson"), batch_size=20, learning_rate=1.0)
SETTINGS = {DESCRIBED: CHOSEN} | {
    name: preset(Train, name) for name in ("lesson", "sixteen", "ninety-eight", "nielsen")
}
SEEDS = {DESCRIBED: 8, "lesson": 4, "sixteen": 2, "ninety-eight": 1, "nielsen": 2}
"""How many networks of each: fewer of those that take longer. `mlp-jax sweep --preset NAME` trains as many of any as
are wanted."""
SAID = {DESCRIBED: 0.96, "lesson": 0.96, "sixteen": 0.96, "ninety-eight": 0.98, "nielsen": 0.9542}
ABOUT = 0.005


class Measurement(NamedTuple):
    """Test accuracy after the last epoch, 0 to 1."""

    presets: tuple[str, ...]  # the rows of SETTINGS
    networks: tuple[str, ...]  # sizes of each, "784-16-16-10" for instance
    said: tuple[float, ...]  # the accuracy in the source
    accuracies: tuple[Float[np.ndarray, " seeds"], ...]  # of each preset, from seed 0 on


def measure(dataset: Dataset) -> Measurement:
    """Train every row of SETTINGS from several seeds."""
    check_classes(dataset)
    if dataset.image_shape is None:
        raise SubjectError(
            f"this experiment moves images by a pixel, and needs to know their height and width: the data have "
            f"{dataset.n_in} inputs"
        )
    sizes, accuracies = zip(*(train(SETTINGS[name], dataset, SEEDS[name]) for name in SETTINGS), strict=True)
    networks = tuple("-".join(map(str, of_one)) for of_one in sizes)
    return Measurement(tuple(SETTINGS), networks, tuple(SAID[name] for name in SETTINGS), accuracies)


def train(settings: Train, dataset: Dataset, seeds: int) -> tuple[tuple[int, ...], Float[np.ndarray, " seeds"]]:
    """Train networks from this many seeds as `mlp-jax sweep` would. Returns their sizes and test accuracies."""
    sizes = sizes_for(settings.sizes, dataset)
    model = model_for(settings, dataset)
    settings = with_learning_rate(settings, model, sizes)
    steps = count_steps(settings.epochs, len(dataset.train), settings.batch_size)
    _, metrics = fit_population(
        init_population(range(seeds), sizes, standard_normal=settings.standard_normal),
        dataset,
        model,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=optimizer_of(settings, steps),
        mesh=mesh_for(seeds),
        augment=augment_of(settings, dataset),
    )
    return sizes, np.asarray(metrics.score)


def judge(measured: Measurement) -> Finding:
    """Compare the medians with what the lesson says: of the network as described, and of the wide one."""
    found = dict(zip(measured.presets, measured.accuracies, strict=True))
    median = {name: float(np.median(accuracies)) for name, accuracies in found.items()}
    described = found[DESCRIBED]
    return Finding(
        f"784-16-16-10 as described gets {median[DESCRIBED]:.2%} of the test images right, and 784-256-10 with "
        f"ReLU {median[TWEAKED]:.2%}.",
        {
            "about 96 % as described": median[DESCRIBED] >= SAID[DESCRIBED] - ABOUT,
            "98 % with tweaks": median[TWEAKED] >= SAID[TWEAKED],
        },
        {
            "as described: sigmoids, SGD, batches of 20, rate 1": f"{median[DESCRIBED]:.2%} ({_networks(described)})",
            "its lowest to highest": f"{described.min():.2%} to {described.max():.2%}",
            "preset lesson: batches of 100, rate 3": f"{median['lesson']:.2%} ({_networks(found['lesson'])})",
            "preset ninety-eight: 784-256-10, ReLU, softmax, Adam": (
                f"{median[TWEAKED]:.2%} ({_networks(found[TWEAKED])})"
            ),
            "not judged: preset sixteen, leaky ReLU, softmax, Adam": (
                f"{median['sixteen']:.2%} ({_networks(found['sixteen'])})"
            ),
            f"not judged: preset nielsen, {SAID['nielsen']:.2%} in his book": (
                f"{median['nielsen']:.2%} ({_networks(found['nielsen'])})"
            ),
        },
    )


def draw(measured: Measurement) -> Figure:
    """A dot for each network, and a mark for the accuracy in the source."""
    figure, ((panel,),) = figures.page(height=3.0)
    for row, (said, found) in enumerate(zip(measured.said, measured.accuracies, strict=True)):
        panel.plot(100 * found, np.full(len(found), row), "o", color=figures.BLUE, alpha=0.6, label="a network")
        panel.plot(100 * said, row, "|", color=figures.RED, markersize=18, markeredgewidth=2, label="the source says")
    names = [f"{name}\n{network}" for name, network in zip(measured.presets, measured.networks, strict=True)]
    rows = {"yticks": range(len(names)), "yticklabels": names, "ylim": (len(names) - 0.5, -0.5)}
    figures.name_axes(panel, "test accuracy, %", "", **rows)
    panel.legend(*(part[:2] for part in panel.get_legend_handles_labels()), fontsize="small", markerscale=0.5)
    return figure


def _networks(found: Float[np.ndarray, " seeds"]) -> str:
    return f"{len(found)} networks" if len(found) > 1 else "one network"
