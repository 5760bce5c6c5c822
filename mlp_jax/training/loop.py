"""Training from random parameters to trained ones."""

import operator
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.data import Augment, Dataset
from mlp_jax.network import Model, Params, sizes_of
from mlp_jax.training.augment import images_of_epochs
from mlp_jax.training.blame import first_failure, memory_of
from mlp_jax.training.devices import (
    bring_back,
    check_mesh,
    count_examples,
    place,
    place_examples,
    place_order,
)
from mlp_jax.training.epoch import BATCH, POPULATION, TrainState, train_epoch
from mlp_jax.training.evaluation import evaluate
from mlp_jax.training.optimizer import make_optimizer
from mlp_jax.training.stream import images_in_chunk, stream_epoch


class EpochMetrics(NamedTuple):
    """What is known at the end of an epoch.

    epoch: from 1.
    loss: the mean cost of the training examples, each just before the update it took part in.
    test_accuracy: the fraction of the test images whose brightest output is their label, 0 to 1.
    seconds: the wall-clock time of the epoch's updates; those of the first include compiling.
    """

    epoch: int
    loss: float
    test_accuracy: float
    seconds: float


class DivergenceError(ArithmeticError):
    """Training stopped because a cost, a parameter or the optimiser's memory was no longer finite.

    state: the TrainState after the last good epoch.
    """

    def __init__(self, message: str, state: TrainState) -> None:
        super().__init__(message)
        self.state = state


Callback = Callable[[TrainState, EpochMetrics], bool | None]


def fit(
    params: Params | TrainState,
    dataset: Dataset,
    model: Model = Model(),
    *,
    epochs: int = 30,
    batch_size: int = 100,
    optimizer: optax.GradientTransformation | None = None,
    gradient: GradientRule = backprop,
    seed: SupportsIndex = 0,
    mesh: Mesh | None = None,
    stream: int | None = None,
    augment: Augment | None = None,
    callback: Callback | None = None,
) -> TrainState:
    """Train by mini-batch gradient descent (lesson 3), evaluating on the test images after each epoch.

    params: initial parameters; or the state after some epochs of an earlier call, from which training goes on to the
        same bits as if it had never stopped, the other arguments being the same.
    epochs: how many there are in all, those behind a given state included.
    optimizer: any Optax transformation; plain SGD with cosine decay by default.
    gradient: the rule, `backprop` by default; `jax.grad(loss)` does as well.
    seed: the order of the examples in an epoch depends on the seed and the epoch's number alone.
    mesh: devices that share each mini-batch along the mesh's axis "batch", as in `jax.make_mesh((4,), ("batch",))`;
        if not given, one device trains. Each device has an equal part of the training images and draws its part of
        every mini-batch from it, so the order depends on their number too. On several processes each gives its own
        part of the training images, of the same length as any other's, and all of the test images.
    stream: how many training images lie on the device, or on all of the mesh, at a time, for sets that are larger than
        its memory: twice the batch size or more. The images may be an `np.memmap`. If not given, all lie there.
    augment: makes the images of an epoch of the training images and a seed, which has that of the order, the epoch and
        the process in it; `mlp_jax.data.shifted`, say. If not given, every epoch shows them as they are.
    callback: called after each epoch with the state, which it may keep, and the metrics; a true return stops training.

    Returns the last state. Raises ValueError for parameters that do not fit the data, no epoch to train, a batch size
    that is not 1 to the number of training images, a seed that is not 0 to 2^32 - 1, fewer images to stream than two
    mini-batches, images both streamed and augmented, a state of another optimiser, or a mesh over which batch or images
    do not divide; and DivergenceError, with the state after the last good epoch, when a cost, a parameter or what the
    optimiser remembers stops being finite.
    """
    seed = operator.index(seed)
    sizes = sizes_of(params.params if isinstance(params, TrainState) else params)
    check_fit(sizes, dataset, epochs, batch_size, seed, mesh)
    examples = count_examples(len(dataset.train_labels), mesh)
    if optimizer is None:
        optimizer = make_optimizer(schedule="cosine", steps=epochs * -(-examples // batch_size))
    images, labels, train = dataset.train_images, dataset.train_labels, train_epoch
    if stream is None:
        images, labels = place_examples((images, labels), mesh)
    elif augment is not None:
        raise ValueError("images are to be both streamed and augmented, which would need all in memory: do one of them")
    else:
        images_in_chunk(stream, batch_size)
        train = partial(stream_epoch, stream=stream)
    test_images, test_labels = jax.device_put((dataset.test_images, dataset.test_labels))
    state = start_or_go_on(params, lambda initial: TrainState.start(initial, optimizer), epochs)
    left = range(int(state.epoch), epochs)
    for epoch, shown in zip(left, images_of_epochs(dataset.train_images, left, augment, seed, mesh), strict=True):
        start = time.perf_counter()
        if augment is not None:
            images = place_examples(shown, mesh)
        spare = place(state, mesh)  # a copy to donate; `state` remains, in case this epoch fails
        order = place_order(seed, epoch, examples, mesh)
        after, cost = bring_back(train(spare, images, labels, order, model, optimizer, batch_size, gradient, mesh))
        if not is_finite((after.params, cost, memory_of(state, after))):
            first = first_failure(
                state,
                shown,
                dataset.train_labels,
                order,
                model,
                optimizer,
                batch_size,
                gradient,
                mesh,
            )
            raise DivergenceError(
                f"in epoch {epoch + 1} numbers stopped being finite{f', first the {first}' if first else ''}: lower "
                f"the learning rate; the parameters of {epoch} epochs of training are the last good ones",
                state,
            )
        state, seconds = after, time.perf_counter() - start
        accuracy = evaluate(state.params, test_images, test_labels, model).accuracy
        if callback is not None and callback(state, EpochMetrics(epoch + 1, float(cost), accuracy, seconds)):
            break
    return state


def start_or_go_on(params: Params | TrainState, start: Callable[[Params], TrainState], epochs: int) -> TrainState:
    """The state before the first epoch, which `start` makes of initial parameters, or the one given.

    Raises ValueError for a state of another optimiser, or one that has all epochs behind it.
    """
    if not isinstance(params, TrainState):
        return start(params)
    behind, expected = int(np.max(params.epoch)), jax.eval_shape(start, params.params)
    if behind >= epochs:
        raise ValueError(f"{behind} of {epochs} epochs are behind the state already, and none is left: ask for more")
    if jax.tree.structure(params) != jax.tree.structure(expected):
        raise ValueError(
            f"the state is one of another optimiser: it remembers {jax.tree.structure(params.optimizer_state)}, "
            f"but this one {jax.tree.structure(expected.optimizer_state)}"
        )
    return params


def is_finite(tree: Any) -> bool:
    """Whether all numbers are finite."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return all(np.isfinite(leaf).all() for leaf in numbers)


def check_fit(
    sizes: Sequence[int],
    dataset: Dataset,
    epochs: int,
    batch_size: int,
    seed: int,
    mesh: Mesh | None = None,
    members: int | None = None,
) -> None:
    """Raises ValueError, saying what to change, for settings that `fit` cannot train with.

    sizes: neurons of each layer, which must start at the data's pixels and end at its classes. epochs: 1 or more.
    batch_size: from 1 to the number of training images. seed: from 0 to 2^32 - 1.
    mesh: has the axis "batch", over which batch and images divide, or, for a population, the axis "population", over
    which the members divide, or both. members: of a population.
    """
    pixels, examples = dataset.train_images.shape[1], count_examples(len(dataset.train_labels), mesh)
    if len(sizes) < 2 or (sizes[0], sizes[-1]) != (pixels, dataset.classes):
        raise ValueError(
            f"the sizes are {tuple(sizes)}, but the data have {pixels} pixels and {dataset.classes} classes: "
            f"let the sizes start at {pixels} and end at {dataset.classes}"
        )
    if not 1 <= batch_size <= examples:
        raise ValueError(f"the batch size is {batch_size}: expected 1 to {examples}, the number of training examples")
    if epochs < 1:
        raise ValueError(f"the number of epochs is {epochs}: expected 1 or more")
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed is {seed}: expected 0 to {2**32 - 1}")
    if mesh is not None:
        axes = {BATCH: {"the batch size": batch_size, "the number of training examples": examples}}
        if members is not None:
            axes[POPULATION] = {"the number of members": members}
        check_mesh(mesh, axes)
