"""784-16-16-10 gets about 96 %, tweaks of the hidden layers 98 %.

Beside these: Nielsen's network of 30 hidden neurons, whose best epoch had 95.42 % (his chapter 1).

Source: lesson 2.
Refuted if: no training of 784-16-16-10 comes within half a percentage point of 96 %, or no tweak to 98 %.

The settings of each preset were chosen on training images held out, never on the test images: `mlp-jax sweep --preset
sixteen --validation 10000` and so on. What is reported is the accuracy after the last epoch, not after the best.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.build import augment_of, model_of, optimizer_of, sizes_for
from mlp_jax.config import PRESETS, Train, preset
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import Finding, SubjectError, check_classes, mesh_for
from mlp_jax.training import count_steps, fit_population, init_population

SEEDS = {"lesson": 8, "sixteen": 4, "ninety-eight": 1, "nielsen": 2}
"""How many networks of each preset: fewer of those that take longer. `mlp-jax sweep --preset NAME` trains as many of
any as are wanted."""
SAID = {"lesson": 0.96, "sixteen": 0.96, "ninety-eight": 0.98, "nielsen": 0.9542}


class Measurement(NamedTuple):
    """Test accuracy after the last epoch, 0 to 1."""

    presets: tuple[str, ...]
    networks: tuple[str, ...]  # sizes of each, "784-16-16-10" for instance
    said: tuple[float, ...]  # the accuracy in the source
    accuracies: tuple[Float[np.ndarray, " seeds"], ...]  # of each preset, from seed 0 on


def measure(dataset: Dataset) -> Measurement:
    """Train every preset from several seeds."""
    check_classes(dataset)
    if dataset.image_shape is None:
        raise SubjectError(
            f"this experiment moves images by a pixel, and needs to know their height and width: the data have "
            f"{dataset.n_in} inputs"
        )
    sizes, accuracies = zip(*(train(preset(Train, name), dataset, SEEDS[name]) for name in PRESETS), strict=True)
    networks = tuple("-".join(map(str, of_one)) for of_one in sizes)
    return Measurement(tuple(PRESETS), networks, tuple(SAID[name] for name in PRESETS), accuracies)


def train(settings: Train, dataset: Dataset, seeds: int) -> tuple[tuple[int, ...], Float[np.ndarray, " seeds"]]:
    """Train networks from this many seeds as `mlp-jax sweep` would. Returns their sizes and test accuracies."""
    sizes = sizes_for(settings.sizes, dataset)
    steps = count_steps(settings.epochs, len(dataset.train), settings.batch_size)
    _, metrics = fit_population(
        init_population(range(seeds), sizes, standard_normal=settings.standard_normal),
        dataset,
        model_of(settings.hidden, settings.output, settings.cost),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=optimizer_of(settings, steps),
        mesh=mesh_for(seeds),
        augment=augment_of(settings, dataset),
    )
    return sizes, np.asarray(metrics.score)


def judge(measured: Measurement) -> Finding:
    """The claim holds if the median of a 784-16-16-10 is 95.5 % or more, and that of the wide network 98 %."""
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
    figure, ((panel,),) = figures.page(height=2.6)
    for row, (said, found) in enumerate(zip(measured.said, measured.accuracies, strict=True)):
        panel.plot(100 * found, np.full(len(found), row), "o", color=figures.BLUE, alpha=0.6, label="a network")
        panel.plot(100 * said, row, "|", color=figures.RED, markersize=18, markeredgewidth=2, label="the source says")
    names = [f"{name}\n{network}" for name, network in zip(measured.presets, measured.networks, strict=True)]
    rows = {"yticks": range(len(names)), "yticklabels": names, "ylim": (len(names) - 0.5, -0.5)}
    figures.name_axes(panel, "test accuracy, %", "preset", **rows)
    panel.legend(*(part[:2] for part in panel.get_legend_handles_labels()), fontsize="small", markerscale=0.5)
    return figure
