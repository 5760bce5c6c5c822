"""784-16-16-10 gets about 96 %, and tweaks of the hidden layers get 98 %.

Claim: the network of the lessons, two hidden layers of 16 sigmoids, names about 96 % of new images right, and 98 % once
its hidden layers are tweaked. Beside it: Nielsen's network of 30 hidden neurons, whose best epoch had 95.42 %. Source:
lesson 2; Nielsen, chapter 1. Refuted if: no training of 784-16-16-10 comes within half a percentage point of 96 %, or
no tweak to 98 %.

The settings of each preset were chosen on training images held out, never on the test images: `mlp-jax sweep --preset
sixteen --validation 10000` and so on. What is reported is the accuracy after the last epoch, not after the best.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.arguments import PRESETS, Train, preset
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import Finding, SubjectError, mesh_for
from mlp_jax.settings import augment_of, learning_rate_of, model_of, sizes_for
from mlp_jax.training import fit_population, init_population, optimizer_maker

SEEDS = {"lesson": 8, "sixteen": 4, "ninety-eight": 1, "nielsen": 2}
"""How many networks of each preset: fewer of those that take longer. `mlp-jax sweep --preset NAME` trains as many of
any as are wanted."""
SAID = {"lesson": 0.96, "sixteen": 0.96, "ninety-eight": 0.98, "nielsen": 0.9542}


class Measurement(NamedTuple):
    """Test accuracy after the last epoch.

    presets: names. networks: sizes of each, "784-16-16-10" for instance. said: the accuracy in the source, 0 to 1.
    accuracies: of each preset, (seeds,), from seed 0 on.
    """

    presets: tuple[str, ...]
    networks: tuple[str, ...]
    said: tuple[float, ...]
    accuracies: tuple[Float[np.ndarray, " seeds"], ...]


def measure(dataset: Dataset) -> Measurement:
    """Train every preset from several seeds."""
    if dataset.image_shape is None:
        raise SubjectError(
            f"this experiment moves images by a pixel, and needs to know their height and width: the data have "
            f"{dataset.train_images.shape[1]} inputs"
        )
    trained = [train(preset(Train, name), dataset, SEEDS[name]) for name in PRESETS]
    networks = tuple("-".join(map(str, sizes)) for sizes, _ in trained)
    return Measurement(
        tuple(PRESETS), networks, tuple(SAID[name] for name in PRESETS), tuple(found for _, found in trained)
    )


def train(settings: Train, dataset: Dataset, seeds: int) -> tuple[tuple[int, ...], Float[np.ndarray, " seeds"]]:
    """Train networks from this many seeds as `mlp-jax sweep` would. Returns their sizes and test accuracies."""
    sizes = sizes_for(settings.sizes, dataset)
    steps = settings.epochs * -(-len(dataset.train_labels) // settings.batch_size)
    _, metrics = fit_population(
        init_population(range(seeds), sizes, standard_normal=settings.standard_normal),
        dataset,
        model_of(settings.hidden, settings.output, settings.cost),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=optimizer_maker(settings.optimizer, settings.schedule, steps),
        hyperparams={"learning_rate": [learning_rate_of(settings)] * seeds},
        mesh=mesh_for(seeds),
        augment=augment_of(settings, dataset),
    )
    return sizes, metrics.test_accuracy


def judge(measured: Measurement) -> Finding:
    """The claim holds where the median of a 784-16-16-10 is 95.5 % or more, and that of the wide network 98 %."""
    median = {name: float(np.median(found)) for name, found in zip(measured.presets, measured.accuracies, strict=True)}
    told = ", ".join(
        f"{network} with --preset {name} {median[name]:.2%}"
        + (f" (of {len(found)}; {found.min():.2%} to {found.max():.2%})" if len(found) > 1 else " (one network)")
        for name, network, found in zip(measured.presets, measured.networks, measured.accuracies, strict=True)
    )
    return Finding(
        f"median test accuracies: {told}; Nielsen published {SAID['nielsen']:.2%}, his best epoch on 50,000 images",
        max(median["lesson"], median["sixteen"]) >= 0.955 and median["ninety-eight"] >= 0.98,
    )


def draw(measured: Measurement) -> Figure:
    """A dot for each network, and what was said of it."""
    figure, ((panel,),) = figures.page(1, 1, height=2.6)
    for row, (said, found) in enumerate(zip(measured.said, measured.accuracies, strict=True)):
        panel.plot(100 * found, np.full(len(found), row), "o", color=figures.BLUE, alpha=0.6, label="a network")
        panel.plot(100 * said, row, "|", color=figures.RED, markersize=18, markeredgewidth=2, label="the source says")
    names = [f"{name}\n{network}" for name, network in zip(measured.presets, measured.networks, strict=True)]
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    figures.name_axes(panel, "test accuracy, %", "preset")
    handles, labels = panel.get_legend_handles_labels()
    panel.legend(handles[:2], labels[:2], fontsize="small", markerscale=0.5)
    return figure
