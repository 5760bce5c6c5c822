"""Many networks at once: the same training over a leading axis of members.

Members differ in their initial parameters, in the optimiser's hyperparameters, in those of the model's functions, in
the order of their examples, or in all of these. Where they share their mini-batches the data are read once for all, and
the first layers are one wide matrix product.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float, Integer

from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.data import Augment, Dataset
from mlp_jax.network import Model, Params, init_params, predict, sizes_of
from mlp_jax.training.augment import images_of_epochs
from mlp_jax.training.blame import all_finite, first_failure, memory_of
from mlp_jax.training.devices import bring_back, count_examples, place, place_examples, place_order
from mlp_jax.training.epoch import BATCH, POPULATION, TrainState, as_inputs
from mlp_jax.training.loop import DivergenceError, EpochMetrics, check_fit, fit, start_or_go_on
from mlp_jax.training.optimizer import optimizer_maker
from mlp_jax.training.population_epoch import train_population

Numbers = ArrayLike | Sequence[float | int]
Values = Mapping[str, Numbers]
"""For each name the members' values, (members,)."""


class PopulationMetrics(NamedTuple):
    """What is known of every member at the end of an epoch; NaN for one whose cost or parameters are not finite.

    epoch: from 1.
    loss: the mean cost of the training examples, each just before the update it took part in, (members,).
    test_accuracy: the fraction of the test images whose brightest output is their label, (members,), 0 to 1.
    seconds: the wall-clock time of the epoch's updates of all members; those of the first include compiling.
    """

    epoch: int
    loss: Float[np.ndarray, " members"]
    test_accuracy: Float[np.ndarray, " members"]
    seconds: float

    @property
    def ranking(self) -> Integer[np.ndarray, " ranked"]:
        """The members that are still finite, by test accuracy, the best first."""
        order = np.argsort(-self.test_accuracy, kind="stable")  # NaN comes last
        return order[np.isfinite(self.test_accuracy[order])]

    @property
    def best(self) -> int:
        """The member with the highest test accuracy."""
        return int(self.ranking[0])

    @property
    def spread(self) -> tuple[float, float, float]:
        """Lowest, median and highest test accuracy, 0 to 1."""
        accuracies = self.test_accuracy[self.ranking]
        return float(accuracies[-1]), float(np.median(accuracies)), float(accuracies[0])


PopulationCallback = Callable[[TrainState, PopulationMetrics], bool | None]


def init_population(
    seeds: Sequence[int],
    sizes: Sequence[int] = (784, 16, 16, 10),
    scales: Numbers | None = None,
    *,
    standard_normal: bool = False,
) -> Params:
    """Random parameters of several networks, in arrays with a leading axis of members.

    seeds: a member starts from `init_params(jax.random.key(seed), sizes, standard_normal=standard_normal)`.
    scales: what each member's weights are multiplied by, (members,); 1 if not given.

    Raises ValueError for no seeds, for scales of another number or not finite, or sizes that `init_params` refuses.
    """
    if not len(seeds):
        raise ValueError("there are no seeds: give one for each member of the population")
    params = jax.vmap(lambda seed: init_params(jax.random.key(seed), sizes, standard_normal=standard_normal))(
        np.asarray(seeds, np.uint32)
    )
    scales = _as_arrays({"scales": np.ones(len(seeds)) if scales is None else scales}, len(seeds), jnp.float32)[
        "scales"
    ]
    if not jnp.isfinite(scales).all():
        raise ValueError(f"the scales are {scales}: expected finite numbers")
    return tuple(layer._replace(weights=scales[:, None, None] * layer.weights) for layer in params)


@partial(jax.jit, static_argnames="make_optimizer")
def start_population(
    params: Params, hyperparams: Mapping[str, Array], make_optimizer: Callable[..., optax.GradientTransformation]
) -> TrainState:
    """The state of all members before the first epoch.

    hyperparams: their values under each name, (members,), of which `make_optimizer` makes a member's optimiser.
    """
    return jax.vmap(lambda params, own: TrainState.start(params, make_optimizer(**own)))(params, dict(hyperparams))


def member(tree: Any, number: int) -> Any:
    """One member's part, from 0, of parameters or of a state that have the leading axis."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


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
    members, seeds = _count_members(initial), np.ravel(seed).tolist()
    if np.ndim(seed) and len(seeds) != members:
        raise ValueError(f"there are {len(seeds)} seeds for {members} members: give one for each, or one for all")
    for one in seeds:
        check_fit(sizes_of(member(initial, 0)), dataset, epochs, batch_size, one, mesh, members)
    examples = count_examples(len(dataset.train_labels), mesh)
    if optimizer is None:
        optimizer = optimizer_maker(schedule="cosine", steps=epochs * -(-examples // batch_size))
    dtype = initial[0].weights.dtype
    own_model = _as_arrays(model_params or {}, members, dtype)
    own_optimizer = _as_arrays(hyperparams or {}, members, dtype)
    make_model, make_optimizer = _maker("model", model, own_model), _maker("optimizer", optimizer, own_optimizer)
    if members == 1 and mesh is None:  # constants of the program, not its arguments: the bits that `fit` gives
        model, optimizer = make_model(**_constants(model_params)), make_optimizer(**_constants(hyperparams))
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


def _maker(name: str, thing: Any, values: Mapping[str, Any]) -> Callable[..., Any]:
    """A function that makes each member's own of its values. Raises ValueError for values that nothing is made of."""
    if values and not callable(thing):
        raise ValueError(
            f"the {name} is one for all members, but there are values of {', '.join(values)}: give a function that "
            f"makes a member's {name} of them"
        )
    return thing if callable(thing) else _always(thing)


@cache
def _always(thing: Any) -> Callable[[], Any]:
    """A function that makes the same for every member; the same function for the same thing, so that jit knows it."""
    return lambda: thing


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


def _count_members(params: Params) -> int:
    """How many members there are. Raises ValueError unless every array has one leading axis for them."""
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(params)}
    if (
        len(lengths) != 1
        or lengths == {0}
        or any(layer.weights.ndim != 3 or layer.biases.ndim != 2 for layer in params)
    ):
        shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(params))
        raise ValueError(
            f"the parameters have shapes {shapes}: expected (members, n_out, n_in) and (members, n_out) for each "
            "layer, with the same number of members, as init_population makes them"
        )
    return lengths.pop()


def _as_arrays(values: Values, members: int, dtype: DTypeLike) -> dict[str, Array]:
    """The values as arrays, (members,). Raises ValueError for those of another length."""
    arrays = {name: jnp.asarray(value, dtype) for name, value in values.items()}
    for name, array in arrays.items():
        if array.shape != (members,):
            raise ValueError(
                f"{name} has shape {array.shape} for {members} members: give one value for each, ({members},)"
            )
    return arrays


def _constants(values: Values | None) -> dict[str, float]:
    """The values of the only member, as they were given."""
    return {name: np.ravel(value)[0].item() for name, value in (values or {}).items()}
