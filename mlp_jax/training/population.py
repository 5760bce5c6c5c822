"""Many networks at once: the same training over a leading axis of members.

Members differ in their initial parameters, in the optimiser's hyperparameters, in those of the model's functions, in
the order of their examples, or in all of these. Where they share their mini-batches the data are read once for all, and
the first layers are one wide matrix product.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Integer

from mlp_jax.backward import GradientRule, backprop
from mlp_jax.data import Augment, Dataset
from mlp_jax.data.dataset import check_dataset
from mlp_jax.network import Model, Params, check_layers, init_params, sizes_of
from mlp_jax.training.loop import Callback, EpochMetrics, run_epochs, start_or_continue
from mlp_jax.training.optimizer import make_optimizer, usual_rate, with_rates
from mlp_jax.training.plan import Plan, TrainState, count_steps, member
from mlp_jax.training.sharding import count_examples

Made = TypeVar("Made")
Numbers = ArrayLike | Sequence[float | int]
Values = Mapping[str, Numbers]
"""For each name the members' values, (members,)."""


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
    callback: Callback | None = None,
    progress: bool | None = None,
) -> tuple[TrainState, EpochMetrics]:
    """Train many networks at once, each as `fit` would train it alone.

    params: those of all members, as `init_population` makes them; or the state of all after some epochs of an earlier
        call, from which training goes on. epochs: how many there are in all, those behind a given state included.
    model: one for all members, or a function that makes one of a member's `model_params`.
    optimizer: one for all members: of `make_optimizer`, or any with its hyperparameters in its state; or a function
        that makes one of a member's `hyperparams`: `optax.adam`, say. By default plain SGD with cosine decay.
    hyperparams, model_params: the values of all members under each name, (members,).
    seed: one, and the members share their mini-batches, which is the fast way; or one for each member's own order.
    mesh: devices that share the members along the mesh's axis "population", or every mini-batch along its axis
        "batch", as in `fit`, or both. On several processes each gives the whole population.
    augment: as for `fit`; all members see the same inputs, so they have to share their mini-batches.
    callback, progress: as for `fit`; the line shows the cost and the score of the best member.

    Returns the last state, arrays with the leading axis of members, and the last metrics. A member that stops being
    finite does not stop the others. A population of one, without a mesh, is what `fit` gives, bit for bit.

    Raises ValueError for settings of different lengths, and whatever `fit` refuses; DivergenceError, with the state
    after the last good epoch, when no member is finite any more.

    >>> from mlp_jax import Dataset, Examples, Model, fit_population, identity, init_population, make_optimizer
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> line, params = Examples(x, 2 * x + 1), init_population(range(3), (1, 1))
    >>> settings = {"batch_size": 5, "optimizer": make_optimizer(), "hyperparams": {"learning_rate": [0, 0.2, 1e9]}}
    >>> state, metrics = fit_population(params, Dataset(line, line), Model(output=identity), **settings)
    >>> metrics.best, metrics.ranking.tolist()
    (1, [1, 0])
    """
    check_dataset(dataset)
    members = _count_members(params.params if isinstance(params, TrainState) else params)
    alone = members == 1 and mesh is None  # model and optimiser are then constants of the program, as for `fit`
    if optimizer is None:
        steps = count_steps(epochs, count_examples(len(dataset.train), mesh), batch_size)
        layers = params.params if isinstance(params, TrainState) else params
        rate = usual_rate(model, sizes_of(member(layers, 0)))
        optimizer = make_optimizer("sgd", rate, "cosine", steps)
    elif not isinstance(optimizer, optax.GradientTransformation):
        if alone:
            optimizer, hyperparams = _made_by(optimizer, hyperparams), None
        else:
            optimizer = _with_hyperparams_in_state(optimizer, tuple(hyperparams or {}))
    if isinstance(model, Model):
        if model_params:
            raise ValueError(
                f"the model is one for all members, but there are values of {', '.join(model_params)}: give a "
                "function that makes a member's model of them"
            )
    elif alone:
        model, model_params = _made_by(model, model_params), None
    start = partial(start_population, optimizer=optimizer, hyperparams=hyperparams, model_params=model_params)
    plan = Plan(model, optimizer, batch_size, gradient, mesh)
    state, last = start_or_continue(params, start, epochs), None
    for last in run_epochs(state, dataset, plan, epochs, seed, augment=augment, progress=progress):
        if callback is not None and callback(last[0](), last[1]):
            break
    assert last is not None  # there is one epoch at least
    return last[0](), last[1]


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

    >>> from mlp_jax import init_population
    >>> init_population(range(8), (2, 3))
    (Layer(weights=float32[8, 3, 2], biases=float32[8, 3]),)
    """
    if not len(seeds):
        raise ValueError("there are no seeds: give one for each member of the population")
    params = jax.vmap(lambda seed: init_params(jax.random.key(seed), sizes, standard_normal=standard_normal))(
        np.asarray(seeds, np.uint32)
    )
    if scales is None:
        return params
    scales = _one_each("scales", scales, len(seeds), jnp.float32)
    if not jnp.isfinite(scales).all():
        raise ValueError(f"the scales are {scales}: expected finite numbers")
    return tuple(layer._replace(weights=scales[:, None, None] * layer.weights) for layer in params)


def start_population(
    params: Params,
    optimizer: optax.GradientTransformation,
    hyperparams: Values | None = None,
    model_params: Values | None = None,
) -> TrainState:
    """The state of all members before the first epoch.

    hyperparams, model_params: their values under each name, (members,): of the optimiser, whose state holds them, and
    of the function that makes a member's model.

    Raises ValueError for values of another length, or hyperparameters that are not in the optimiser's state.

    >>> from mlp_jax import init_population, make_optimizer
    >>> from mlp_jax.training import start_population
    >>> rates = {"learning_rate": [0.5, 1.0, 2.0]}
    >>> state = start_population(init_population(range(3), (2, 3)), make_optimizer("sgd"), rates)
    >>> state.epoch.tolist()
    [0, 0, 0]
    """
    members, dtype = _count_members(params), params[0].weights.dtype
    real = jax.dtypes.canonicalize_dtype(float)
    own = {name: _one_each(name, values, members, real) for name, values in (hyperparams or {}).items()}
    values = {name: _one_each(name, values, members, dtype) for name, values in (model_params or {}).items()}
    state = jax.vmap(partial(TrainState.start, optimizer=optimizer))(params)
    return state._replace(optimizer_state=with_rates(state.optimizer_state, own), model_params=values)


def _count_members(params: Params) -> int:
    """How many members there are. Raises ValueError unless every array has one leading axis for them."""
    check_layers(params)
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(params)}
    fits = all((layer.weights.ndim, layer.biases.ndim) == (3, 2) for layer in params)
    if len(lengths) != 1 or lengths == {0} or not fits:
        shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(params))
        raise ValueError(
            f"the parameters have shapes {shapes}: expected (members, n_out, n_in) and (members, n_out) for each "
            "layer, with the same number of members, as init_population makes them"
        )
    return lengths.pop()


def _one_each(name: str, values: Numbers, members: int, dtype: DTypeLike) -> Array:
    """The values as an array, (members,). Raises ValueError for another length."""
    array = jnp.asarray(values, dtype)
    if array.shape != (members,):
        raise ValueError(f"{name} has shape {array.shape} for {members} members: give one value for each, ({members},)")
    return array


def _made_by(maker: Callable[..., Made], values: Values | None) -> Made:
    """What a function makes of the only member's values, as they were given. Raises ValueError for several values."""
    for name, value in (values or {}).items():
        _one_each(name, value, 1, float)
    return maker(**{name: np.ravel(value)[0].item() for name, value in (values or {}).items()})


@cache  # made once, so that its compiled program is found again
def _with_hyperparams_in_state(
    maker: Callable[..., optax.GradientTransformation], names: tuple[str, ...]
) -> optax.GradientTransformation:
    """The optimiser that a function makes, with what it takes in its state."""
    return optax.inject_hyperparams(maker)(**dict.fromkeys(names, 0.0))
