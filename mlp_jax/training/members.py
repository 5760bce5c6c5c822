"""The members of a population: their parameters, the values that each has of its own, and what is known of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float, Integer

from mlp_jax.network import Params, init_params
from mlp_jax.training.epoch import TrainState

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
    scales = as_arrays({"scales": np.ones(len(seeds)) if scales is None else scales}, len(seeds), jnp.float32)["scales"]
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


def count_members(params: Params) -> int:
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


def as_arrays(values: Values, members: int, dtype: DTypeLike) -> dict[str, Array]:
    """The values as arrays, (members,). Raises ValueError for those of another length."""
    arrays = {name: jnp.asarray(value, dtype) for name, value in values.items()}
    for name, array in arrays.items():
        if array.shape != (members,):
            raise ValueError(
                f"{name} has shape {array.shape} for {members} members: give one value for each, ({members},)"
            )
    return arrays


def constants(values: Values | None) -> dict[str, float]:
    """The values of the only member, as they were given."""
    return {name: np.ravel(value)[0].item() for name, value in (values or {}).items()}


def maker_of(name: str, thing: Any, values: Mapping[str, Any]) -> Callable[..., Any]:
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
