"""What experiments are made on, and what they find."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from mlp_jax.data import Dataset
from mlp_jax.network import Model, Params, sizes_of
from mlp_jax.training import PopulationMetrics, TrainState, fit_population, init_population

SIZES = (784, 16, 16, 10)
SEEDS = tuple(range(8))


class SubjectError(ValueError):
    """An experiment that cannot be made on the networks or the data at hand; the message says what it needs."""


class Subject(NamedTuple):
    """What an experiment is made on: trained networks of one kind, and the data that they learned.

    networks: parameters with a leading axis of members, as `init_population` makes them; a claim about one network is
        checked on all, and pictures show the first.
    initial: the same before training.
    model: of all networks. dataset: what they learned.
    image: the test image that an experiment on a single one looks at, from 0; None for one of its own choice.
    """

    networks: Params
    initial: Params
    model: Model
    dataset: Dataset
    image: int | None = None

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

    def images_as(self, pixels: Float[np.ndarray, "*n pixels"]) -> Float[np.ndarray, "*n height width"]:
        """Rows of pixels, or of weights for them, as pictures of one channel.

        Raises SubjectError where the inputs are no such images.
        """
        shape = self.dataset.image_shape
        if shape is None or shape[2] != 1:
            what = f"{self.sizes[0]} inputs" if shape is None else f"images of {shape[2]} channels"
            raise SubjectError(f"this experiment needs inputs that are images of one channel: the data have {what}")
        return np.reshape(pixels, (*np.shape(pixels)[:-1], *shape[:2]))


class Finding(NamedTuple):
    """What an experiment's numbers mean for its claim.

    text: one or two sentences with the numbers that matter. holds: whether they are what the claim says.
    """

    text: str
    holds: bool


def lesson_networks(
    dataset: Dataset,
    seeds: Sequence[int] = SEEDS,
    callback: Callable[[TrainState, PopulationMetrics], bool | None] | None = None,
) -> Subject:
    """The network of the lessons, 784-16-16-10 with sigmoids, trained from each of these seeds as `mlp-jax train` does.

    Its first and last sizes are those of the data. They share their mini-batches.
    """
    sizes = (dataset.train_images.shape[1], *SIZES[1:-1], dataset.classes)
    initial = init_population(seeds, sizes)
    state, _ = fit_population(initial, dataset, mesh=mesh_for(len(seeds)), callback=callback)
    return Subject(jax.device_get(state.params), initial, Model(), dataset)


def mesh_for(members: int) -> Mesh | None:
    """As many of this machine's devices as share so many members evenly, for `fit_population`; None for one."""
    devices = jax.local_devices()
    count = max(count for count in range(1, len(devices) + 1) if members % count == 0)
    return jax.make_mesh((count,), ("population",), devices=devices[:count]) if count > 1 else None


def batch_of(
    dataset: Dataset, rows: slice | np.ndarray, *, test: bool = False
) -> tuple[Float[Array, "batch pixels"], Float[Array, "batch classes"]]:
    """Some of the training images, or of the test images, as inputs from 0 to 1 and wanted outputs."""
    images = dataset.test_images if test else dataset.train_images
    labels = dataset.test_labels if test else dataset.train_labels
    inputs = jnp.asarray(images[rows], jnp.float32) / 255
    return inputs, jax.nn.one_hot(labels[rows], dataset.classes)
