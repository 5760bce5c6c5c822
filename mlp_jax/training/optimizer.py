"""Optimisers by name, whose rates are numbers in their state: another rate compiles nothing new.

Half the default rate of plain SGD:

    >>> from mlp_jax.training import LEARNING_RATE, make_optimizer
    >>> sgd = make_optimizer("sgd", LEARNING_RATE / 2)
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from mlp_jax.network import Layer, Model, Params, float32_or_finer
from mlp_jax.training.plan import TrainState

Schedule = Literal["constant", "cosine"]

LEARNING_RATE = 3.0
"""The rate that serves plain SGD best on 784-16-16-10 with batches of 100 and cosine decay over 30 epochs, chosen on
10,000 of the training images over eight seeds: of 1, 2, 3, 4, 6 and 8 the one whose worst seed does best (94.6 %), with
a median (94.90 %) next to that of 4 (94.95 %)."""

USUAL = ("sgd", "adam", "adamw", "lion", "rmsprop")
"""Names that Optax has for certain."""


def usual_rate(model: Any, sizes: Sequence[int]) -> float:
    """A learning rate with which plain SGD trains a network of these sizes well, by MNIST and batches of 100.

    3 divided by what makes steps longer: outputs beyond 0 to 1 (identity), hidden functions steeper than sigmoid, and
    many neurons n in the layer before the last. At most 3 and 128 / n with sigmoid or softmax in the hidden layers, 0.3
    with others, 0.1 and 4 / n with outputs beyond 0 to 1. After 8 epochs that gives 784-10 90.7 %, where 3 gives 48 %;
    784-128-10 94.0 %, not 39 %; with relu, softmax and cross-entropy 784-16-16-10 95 %, not 11 %.

    >>> from mlp_jax import Model, identity, relu
    >>> from mlp_jax.training import usual_rate
    >>> usual_rate(Model(), (784, 16, 16, 10)), usual_rate(Model(), (784, 128, 10))
    (3.0, 1.0)
    >>> usual_rate(Model(relu), (784, 128, 10)), usual_rate(Model(output=identity), (5, 16, 1))
    (0.3, 0.1)
    """
    if not isinstance(model, Model):  # one of each member
        return LEARNING_RATE
    unit, before_last = (0, 1), max(1, sizes[-2])
    if model.output.range != unit:
        return min(0.1, 4 / before_last)
    if len(sizes) > 2 and model.hidden.range != unit:
        return 0.3
    return min(LEARNING_RATE, 128 / before_last)


def make_optimizer(
    name: str = "sgd",
    learning_rate: float = LEARNING_RATE,
    schedule: Schedule = "constant",
    steps: int | None = None,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """The optimiser that Optax has under this name, "sgd" or "adam" for instance.

    learning_rate: above 0.
    schedule: "constant", or "cosine", which falls from the learning rate to 0 over `steps` updates, as many as
        training makes (Loshchilov and Hutter 2017).
    weight_decay: 0 or more: how strongly weights, but not biases, are drawn to 0. Optimisers with a weight decay of
        their own, adamw and lion for instance, decay by `learning_rate * weight_decay * w` beside their step. For all
        others, sgd and adam for instance, `weight_decay * w` is added to the gradient: L2 regularisation, as in
        Nielsen's chapter 3, whose lambda / n it is.

    The rates are in the state's `hyperparams`, by the names learning_rate, phase (pi / steps, or 0) and, if it is not
    0, weight_decay: `update` reads them there, and is the same function for all of them. Raises ValueError for a name
    under which Optax has nothing that goes downhill by a learning rate and gradients alone, rates out of their range,
    another schedule, or a cosine without steps.

    >>> from mlp_jax import init_params, make_optimizer
    >>> optimizer = make_optimizer("sgd", 0.5, weight_decay=0.1)
    >>> state = optimizer.init(init_params(jax.random.key(0), (3, 2)))
    >>> {name: round(float(rate), 3) for name, rate in state.hyperparams.items()}
    {'learning_rate': 0.5, 'phase': 0.0, 'weight_decay': 0.1}
    """
    if not (0 < learning_rate < float("inf")):
        raise ValueError(f"the learning rate is {learning_rate}: expected a finite number above 0")
    if not (0 <= weight_decay < float("inf")):
        raise ValueError(f"the weight decay is {weight_decay}: expected a finite number of 0 or more")
    if schedule not in get_args(Schedule) or (schedule == "cosine" and (steps is None or steps < 1)):
        raise ValueError(
            f"the schedule is {schedule!r} over {steps} steps: expected constant, or cosine over 1 or more"
        )
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(float))  # never bfloat16, which cannot count the steps of an epoch
    phase = dtype.type(np.pi) * (1 / dtype.type(steps)) if schedule == "cosine" else 0.0  # rounded as XLA rounds it
    rates = {"learning_rate": learning_rate, "phase": phase} | ({"weight_decay": weight_decay} if weight_decay else {})
    template = _with_rates_in_state(name, tuple(rates), dtype.name)

    def init(params: Any) -> Any:
        return with_rates(template.init(params), rates)

    return optax.GradientTransformationExtraArgs(init, template.update)


def with_rates(optimizer_state: Any, rates: Mapping[str, ArrayLike]) -> Any:
    """The state of an optimiser with other values of its hyperparameters, in their dtypes.

    Raises ValueError for a name that it does not have.
    """
    held = getattr(optimizer_state, "hyperparams", {})
    if unknown := [name for name in rates if name not in held]:
        raise ValueError(
            f"the optimiser's state has no {', '.join(unknown)}: expected {', '.join(held) or 'no names at all'}; "
            "make_optimizer makes optimisers with rates in their state, as optax.inject_hyperparams does"
        )
    if not rates:
        return optimizer_state
    new = {name: jnp.asarray(value, held[name].dtype) for name, value in rates.items()}
    return optimizer_state._replace(hyperparams=held | new)


def with_rates_of(state: TrainState, other: TrainState) -> TrainState:
    """The state with the rates of another one of the same optimiser.

    >>> from mlp_jax import TrainState, init_params, make_optimizer
    >>> from mlp_jax.training import with_rates_of
    >>> params = init_params(jax.random.key(0), (2, 3))
    >>> slow, fast = (TrainState.start(params, make_optimizer("sgd", rate)) for rate in (0.1, 3.0))
    >>> round(current_rate(with_rates_of(slow, fast)), 3)
    3.0
    """
    rates = getattr(other.optimizer_state, "hyperparams", {})
    return state._replace(optimizer_state=with_rates(state.optimizer_state, rates))


def current_rate(state: TrainState) -> float | None:
    """The learning rate of the last step, None for an optimiser without rates in its state.

    >>> from mlp_jax import TrainState, init_params, make_optimizer
    >>> from mlp_jax.training import current_rate
    >>> current_rate(TrainState.start(init_params(jax.random.key(0), (2, 3)), make_optimizer("sgd", 0.5)))
    0.5
    """
    held: Any = state.optimizer_state
    rates = getattr(held, "hyperparams", {})
    if not {"learning_rate", "phase"} <= rates.keys():
        return None
    return float(_rate(rates["learning_rate"], rates["phase"])(held.count - 1))


@cache  # made once, so that its compiled program is found again
def _with_rates_in_state(name: str, rates: tuple[str, ...], dtype: str) -> optax.GradientTransformationExtraArgs:
    """The optimiser of this name with the rates of these names in its state."""

    def make(learning_rate: Array, phase: Array, weight_decay: Array | None = None) -> Any:
        maker = getattr(optax, name)
        if _decays_itself(maker):
            decay = 0.0 if weight_decay is None else weight_decay
            return maker(_rate(learning_rate, phase), weight_decay=decay, mask=_is_weight)
        before = [] if weight_decay is None else [_decay(weight_decay)]
        rule = _sgd(learning_rate, phase) if name == "sgd" else maker(_rate(learning_rate, phase))
        return optax.chain(*before, rule)

    reason = ""
    try:
        with jax.numpy_dtype_promotion("standard"):  # on which Optax's optimisers rely
            template = optax.inject_hyperparams(make, hyperparam_dtype=jnp.dtype(dtype))(**dict.fromkeys(rates, 0.0))
            if _goes_downhill(name):
                return optax.GradientTransformationExtraArgs(jax.jit(template.init), template.update)
    except (AttributeError, TypeError, ValueError) as error:
        if name in USUAL:  # the name is right: something else is wrong
            raise ValueError(f"the optimiser {name} of Optax cannot be used: {error}") from error
        reason = f" ({name} says: {error})" if hasattr(optax, name) else ""
    raise ValueError(
        f"Optax has no optimiser {name!r} that goes downhill by a learning rate and gradients alone: "
        f"try {', '.join(USUAL[:-1])} or {USUAL[-1]}{reason}"
    )


def _rate(learning_rate: Array, phase: Array) -> Callable[[Any], Array]:
    """The learning rate after `count` steps: learning_rate (1 + cos(phase count)) / 2."""
    return lambda count: (1 + jnp.cos(jnp.minimum(count * phase, jnp.pi))) * (0.5 * learning_rate)


def _sgd(learning_rate: Array, phase: Array) -> optax.GradientTransformationExtraArgs:
    """`optax.sgd`, but with `examples`, m: eta / m times the sum over a mini-batch (Nielsen, chapter 1, equation 20).

    A gradient is that sum times the constant 1 / m, which XLA cancels: a step is then one product for each number, with
    the same rounding as if the learning rate were a constant of the program too.
    """

    def update(updates: Any, state: Any, params: Any = None, *, examples: int = 1, **_: Any) -> tuple[Any, Any]:
        rate = _rate(learning_rate / examples, phase)(state)

        def step(g: Array) -> Array:  # in float32 or finer, because a sum in float16 ends at 65,504
            fine = float32_or_finer(g.dtype)
            return ((g.astype(fine) * examples) * -rate.astype(fine)).astype(g.dtype)

        return jax.tree.map(step, updates), optax.safe_increment(state)

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), jnp.int32), update)


def _decay(weight_decay: Array) -> optax.GradientTransformation:
    """`optax.add_decayed_weights` for weights alone, in the dtype of the gradient."""

    def add(updates: Any, params: Any) -> Any:
        def decayed(gradient: Layer, layer: Layer) -> Layer:
            rate = weight_decay.astype(gradient.weights.dtype)
            return gradient._replace(weights=gradient.weights + rate * layer.weights)

        return tuple(map(decayed, updates, params))

    return optax.stateless(add)


def _decays_itself(maker: Any) -> bool:
    return {"weight_decay", "mask"} <= set(inspect.signature(maker).parameters)


def _is_weight(params: Params) -> Any:
    """Which leaves are weights, and not biases."""
    return tuple(layer._replace(weights=True, biases=False) for layer in params)


@cache
def _goes_downhill(name: str) -> bool:
    """Whether gradients of 1 lower a parameter; two of them, for some optimisers wait for the second."""
    optimizer = getattr(optax, name)(lambda count: 1.0)

    @jax.jit
    def two_changes() -> jax.Array:
        params, state, changes = jnp.ones(1), optimizer.init(jnp.ones(1)), []
        for _ in range(2):
            change, state = optimizer.update(jnp.ones(1), state, params)
            changes.append(change)
        return jnp.concatenate(changes)

    changes = np.asarray(two_changes())
    return bool((changes <= 0).all() and (changes < 0).any())
