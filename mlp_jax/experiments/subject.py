"""What experiments are made on, and what they find."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Num

from mlp_jax.data import Dataset, Examples
from mlp_jax.network import Model, Params, as_inputs, as_targets, feedforward, sizes_of
from mlp_jax.training import EpochMetrics, TrainState, fit_population, init_population

SIZES = (784, 16, 16, 10)
SEEDS = tuple(range(8))


MOST, NEARLY_ALL, ALIKE, EQUAL, MUCH_MORE = 0.5, 0.9, 0.1, 1e-3, 2
"""What criteria mean by these words: see the docstring of `mlp_jax.experiments`."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class SubjectError(ValueError):
    """An experiment that cannot be made on the networks or the data at hand; the message says what it needs."""


class Subject(NamedTuple):
    """What an experiment is made on: trained networks of one kind, and the data that they learned.

    A claim about one network is checked on all, and pictures show the first.
    """

    networks: Params  # with a leading axis of members, as `init_population` makes them
    initial: Params  # the same before training
    model: Model
    dataset: Dataset
    image: int | None = None  # the test image that an experiment on one looks at, from 0; None for its own choice

    @property
    def first(self) -> Params:
        """The parameters of the first network."""
        return jax.tree.map(lambda leaf: leaf[0], self.networks)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each layer."""
        return sizes_of(self.first)

    @property
    def members(self) -> int:
        """How many networks there are."""
        return len(self.networks[0].biases)

    def images_as(self, pixels: Num[np.ndarray, "*n pixels"]) -> Num[np.ndarray, "*n height width"]:
        """Rows of pixels, or of weights for them, as pictures of one channel.

        Raises SubjectError if the inputs are no such images.
        """
        shape = self.dataset.image_shape
        if shape is None or shape[2] != 1:
            what = f"{self.sizes[0]} inputs" if shape is None else f"images of {shape[2]} channels"
            raise SubjectError(f"this experiment needs inputs that are images of one channel: the data have {what}")
        return np.reshape(pixels, (*np.shape(pixels)[:-1], *shape[:2]))


class Finding(NamedTuple):
    """What an experiment's numbers mean for its claim."""

    text: str  # one sentence of at most 25 words
    parts: dict[str, bool]  # which parts of the claim hold, by their names in the module's docstring
    table: dict[str, str]  # the numbers that matter, written out, by what they are

    @property
    def verdict(self) -> str:
        """Whether the claim "holds", "holds in part" or "does not hold"."""
        held = set(self.parts.values())
        return "holds" if held == {True} else "holds in part" if True in held else "does not hold"


def lesson_networks(
    dataset: Dataset,
    seeds: Sequence[int] = SEEDS,
    callback: Callable[[TrainState, EpochMetrics], bool | None] | None = None,
) -> Subject:
    """The network of the lessons, 784-16-16-10 with sigmoids, trained from each of these seeds as `mlp-jax train` does.

    Its first and last sizes are those of the data. All share their mini-batches.
    """
    initial, model = init_population(seeds, (dataset.n_in, *SIZES[1:-1], dataset.n_out)), Model()
    state, _ = fit_population(initial, dataset, model, mesh=mesh_for(len(seeds)), callback=callback)
    return Subject(jax.device_get(state.params), initial, model, dataset)


def layer_name(number: int) -> str:
    """A layer as the lessons count them, and what it is in Python: "second layer (params[0])" is the first hidden one.

    number: its place among the activations: 0 for the inputs, 1 for what params[0] makes of them.
    """
    name = ORDINALS[number] if number < len(ORDINALS) else f"{number + 1}th"
    return f"{name} layer ({f'params[{number - 1}]' if number else 'inputs'})"


def mesh_for(members: int) -> Mesh | None:
    """A mesh of as many devices as share the members evenly, for `fit_population`; None for one device."""
    devices = jax.local_devices()
    count = max(count for count in range(1, len(devices) + 1) if members % count == 0)
    return jax.make_mesh((count,), ("population",), devices=devices[:count]) if count > 1 else None


def batch_of(examples: Examples, params: Params) -> tuple[Float[Array, "batch n_in"], Float[Array, "batch n_out"]]:
    """The examples as inputs and wanted outputs of networks with these parameters, of one or of several members."""
    return as_inputs(examples.inputs, params), as_targets(examples.targets, params)


def both_times(subject: Subject) -> Params:
    """The networks as they were before training, and behind them the trained ones, in one population."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), subject.initial, subject.networks)


outputs_of_all: Callable[..., Float[Array, "members batch n_out"]] = jax.jit(jax.vmap(feedforward, (0, None, None)))
"""The outputs of each member: (networks, inputs, model)."""


def check_classes(dataset: Dataset) -> None:
    """Raises SubjectError for data whose targets are no classes."""
    if not dataset.has_classes:
        raise SubjectError(
            f"this experiment needs classes: the data have wanted outputs, {dataset.n_out} numbers for each example"
        )


def check_digits(dataset: Dataset) -> None:
    """Raises SubjectError for data other than classes 0 to 9, with test images of each."""
    check_classes(dataset)
    shown = len(np.unique(dataset.test.targets))
    if (dataset.n_out, shown) != (10, 10):
        raise SubjectError(f"this experiment needs ten digits: the data have {dataset.n_out} classes, {shown} to test")
