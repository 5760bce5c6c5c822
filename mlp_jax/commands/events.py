"""What `mlp-jax train --tensorboard` keeps of each epoch."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from mlp_jax import arguments, training
from mlp_jax.backprop import deltas_and_activations
from mlp_jax.data import Dataset
from mlp_jax.network import Model, Params
from mlp_jax.runs.tensorboard import EventWriter
from mlp_jax.training import EpochMetrics

DELTA_EXAMPLES = 1_000


def event_keeper(
    directory: Path,
    epoch: int,
    dataset: Dataset,
    model: Model,
    *,
    settings: arguments.Train,
    learning_rate: float,
    examples: int,
) -> Callable[[Params, EpochMetrics], None]:
    """A function that keeps an epoch in an event file: its numbers, and how the parameters and errors are distributed.

    directory: the run's. epoch: how many epochs are behind, 0 for a new run. dataset: the errors are those of its first
    1,000 training images. settings: they have the schedule of the learning rate. learning_rate: the one to start with.
    examples: how many an epoch trains on.

    The process that calls the function need not have the other processes' devices. Raises ValueError where the package
    tensorboard is missing.
    """
    writer = EventWriter(directory, epoch)
    steps = -(-examples // settings.batch_size)
    rate_of = optax.constant_schedule(learning_rate)
    if settings.schedule == "cosine":
        rate_of = optax.cosine_decay_schedule(learning_rate, settings.epochs * steps)
    images, labels = (jnp.asarray(of[:DELTA_EXAMPLES]) for of in (dataset.train_images, dataset.train_labels))

    def keep(params: Params, metrics: EpochMetrics) -> None:
        numbers = {
            "cost": metrics.loss,
            "test_accuracy": metrics.test_accuracy,
            "examples_per_second": examples / metrics.seconds,
            "learning_rate": jnp.asarray(rate_of(metrics.epoch * steps - 1)).item(),  # of the epoch's last step
        }
        params = jax.device_get(params)
        writer.write(metrics.epoch, numbers, params, _deltas(params, images, labels, model))

    return keep


@jax.jit
def _deltas(params: Params, images: jax.Array, labels: jax.Array, model: Model) -> tuple[jax.Array, ...]:
    """The error of every neuron for each image."""
    inputs = training.as_inputs(images, params)
    targets = jax.nn.one_hot(labels, len(params[-1].biases), dtype=inputs.dtype)
    deltas, _ = deltas_and_activations(params, inputs, targets, model)
    return deltas
