"""Many networks at once: the same training over a leading axis of members.

Members differ in their initial parameters, in the optimiser's hyperparameters, in those of the model's functions, in
the order of their examples, or in all of these. Where they share their mini-batches the data are read once for all, and
the first layers are one wide matrix product.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Integer

from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.data import Augment, Dataset
from mlp_jax.network import Model, Params, predict, sizes_of
from mlp_jax.training.augment import images_of_epochs
from mlp_jax.training.blame import all_finite, first_failure, memory_of
from mlp_jax.training.devices import bring_back, count_examples, place, place_examples, place_order
from mlp_jax.training.epoch import BATCH, POPULATION, TrainState, as_inputs
from mlp_jax.training.loop import DivergenceError, EpochMetrics, check_fit, fit, start_or_go_on
from mlp_jax.training.members import (
    PopulationMetrics,
    Values,
    as_arrays,
    constants,
    count_members,
    maker_of,
    member,
    start_population,
)
from mlp_jax.training.optimizer import optimizer_maker
from mlp_jax.training.population_epoch import train_population

PopulationCallback = Callable[[TrainState, PopulationMetrics], bool | None]


def fit_population(
    params: Params | TrainState,
    dataset: Dataset,
    model: Model | Callable[..., Model] = Model(),
    *,
    epochs: int = 30,
    batch_size: int = 100,
    optimizer: optax.GradientTransformation | Callable[..., optax.GradientTransformation] | None = None,
    hyperparams: Values | None = None,
    model_params: Values | None = None,
    gradient: GradientRule = backprop,
    seed: int | np.integer | Sequence[int] | Integer[np.ndarray, " members"] = 0,
    mesh: Mesh | None = None,
    augment: Augment | None = None,
    callback: PopulationCallback | None = None,
) -> tuple[TrainState, PopulationMetrics]:
    """Train many networks at once, each as `fit` would train it alone.

    params: those of all members, as `init_population` makes them; or the state of all after some epochs of an earlier
        call, from which training goes on. epochs: how many there are in all, those behind a given state included.
    model: one for all members, or a function that makes one of a member's `model_params`.
    optimizer: one for all members, or a function that makes one of a member's `hyperparams`: `optax.adam`, say, or
        `optax.inject_hyperparams(optax.adam)`, in whose state they can then be read. By default plain SGD with cosine
        decay, which takes the hyperparameter learning_rate.
    hyperparams, model_params: the values of all members under each name, (members,).
    seed: one, and the members share their mini-batches, which is the fast way; or one for each member's own order.
    mesh: devices that share the members along the mesh's axis "population", or every mini-batch along its axis
        "batch", as in `fit`, or both. On several processes each gives the whole population.
    augment: as for `fit`; all members see the same images, so they have to share their mini-batches.
    callback: called after each epoch with the state, which it may keep, and the metrics; a true return stops training.

    Returns the last state, arrays with the leading axis of members, and the last metrics. A member that stops being
    finite does not stop the others. A population of one, without a mesh, is what `fit` gives, bit for bit.

    Raises ValueError for settings of different lengths, and whatever `fit` refuses; DivergenceError, with the state
    after the last good epoch, when no member is finite any more.
    """
    initial = params.params if isinstance(params, TrainState) else params
    members, seeds = count_members(initial), np.ravel(seed).tolist()
    if np.ndim(seed) and len(seeds) != members:
        raise ValueError(f"there are {len(seeds)} seeds for {members} members: give one for each, or one for all")
    for one in seeds:
        check_fit(sizes_of(member(initial, 0)), dataset, epochs, batch_size, one, mesh, members)
    examples = count_examples(len(dataset.train_labels), mesh)
    if optimizer is None:
        optimizer = optimizer_maker(schedule="cosine", steps=epochs * -(-examples // batch_size))
    dtype = initial[0].weights.dtype
    own_model = as_arrays(model_params or {}, members, dtype)
    own_optimizer = as_arrays(hyperparams or {}, members, dtype)
    make_model, make_optimizer = maker_of("model", model, own_model), maker_of("optimizer", optimizer, own_optimizer)
    if members == 1 and mesh is None:  # constants of the program, not its arguments: the bits that `fit` gives
        model, optimizer = make_model(**constants(model_params)), make_optimizer(**constants(hyperparams))
        return _fit_one(
            member(params, 0),
            callback,
            dataset=dataset,
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            gradient=gradient,
            seed=seeds[0],
            augment=augment,
        )
    if augment is not None and np.ndim(seed):
        raise ValueError(f"there are {len(seeds)} seeds, but augmented images are the same for all members: give one")

    images, labels = place_examples((dataset.train_images, dataset.train_labels), mesh)
    test_images, test_labels = jax.device_put((dataset.test_images, dataset.test_labels))
    own_values = place((own_model, own_optimizer), mesh, POPULATION)
    start_all = partial(start_population, hyperparams=own_optimizer, make_optimizer=make_optimizer)
    state, metrics = start_or_go_on(params, start_all, epochs), None
    alive = np.asarray(_finite_members(state.params))
    left = range(int(np.max(state.epoch)), epochs)
    for epoch, shown in zip(left, images_of_epochs(dataset.train_images, left, augment, seeds[0], mesh), strict=True):
        start = time.perf_counter()
        spare = place(state, mesh, POPULATION)  # a copy to donate; `state` remains, in case no member survives
        if augment is not None:
            images = place_examples(shown, mesh)
        order = place_order(seeds if np.ndim(seed) else seeds[0], epoch, examples, mesh)
        after, costs = bring_back(
            train_population(
                spare, images, labels, order, *own_values, make_model, make_optimizer, batch_size, gradient, mesh
            )
        )
        finite, costs = np.asarray(_finite_members((after.params, costs, memory_of(state, after)))), np.asarray(costs)
        if not finite.any():
            last = int(np.argmax(alive))
            raise _divergence(
                state,
                last,
                mesh,
                images=shown,
                labels=dataset.train_labels,
                order=place_order(seeds[last % len(seeds)], epoch, examples, None),
                model=make_model(**member(own_model, last)),
                optimizer=make_optimizer(**member(own_optimizer, last)),
                batch_size=batch_size,
                gradient=gradient,
            )
        alive = finite
        state, seconds = after, time.perf_counter() - start
        right = np.asarray(_right_answers(state.params, own_model, test_images, test_labels, make_model))
        costs, accuracies = (np.where(finite, numbers, np.nan) for numbers in (costs, right / len(test_labels)))
        metrics = PopulationMetrics(epoch + 1, costs, accuracies, seconds)
        if callback is not None and callback(state, metrics):
            break
    assert metrics is not None  # there is one epoch at least
    return state, metrics


def _divergence(state: TrainState, last: int, mesh: Mesh | None, **of_last: Any) -> DivergenceError:
    """What to raise after an epoch in which all members diverged that were still finite, `last` the first of them.

    state: of all members before the epoch. of_last: the settings of that member, as `first_failure` takes them.
    """
    where, (members,) = "", state.epoch.shape
    if mesh is None or BATCH not in mesh.axis_names:
        first = first_failure(member(state, last), **of_last)
        where = f", in member {last} first the {first}" if first else ""
    return DivergenceError(
        f"in epoch {int(np.max(state.epoch)) + 1} the last of {members} members stopped being finite{where}: lower "
        "the learning rates",
        state,
    )


def _fit_one(
    params: Params | TrainState, callback: PopulationCallback | None, **settings: Any
) -> tuple[TrainState, PopulationMetrics]:
    """A population of one: `fit`, and what it says with the leading axis."""
    last = []

    def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool | None:
        loss, accuracy = np.array([metrics.loss]), np.array([metrics.test_accuracy])
        last[:] = [_as_population(state), PopulationMetrics(metrics.epoch, loss, accuracy, metrics.seconds)]
        return callback(*last) if callback is not None else None

    try:
        fit(params, **settings, callback=after_epoch)
    except DivergenceError as error:
        raise DivergenceError(str(error), _as_population(error.state)) from error
    return last[0], last[1]


def _as_population(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


_finite_members = jax.jit(jax.vmap(all_finite))


@partial(jax.jit, static_argnames="make_model")
def _right_answers(
    params: Params, model_params: dict[str, Array], images: Array, labels: Array, make_model: Callable[..., Model]
) -> Integer[Array, " members"]:
    """How many of these images each member names right. A few members at a time: all would fill memory."""
    inputs = as_inputs(images, params)

    def right(own: tuple[Params, dict[str, Array]]) -> Integer[Array, ""]:
        return jnp.sum(predict(own[0], inputs, make_model(**own[1])) == labels)

    return jax.lax.map(right, (params, model_params), batch_size=16)
