"""How well a network does on examples."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Num

from mlp_jax.data.dataset import Dataset, Examples, check_examples
from mlp_jax.network import (
    Model,
    Params,
    as_inputs,
    as_targets,
    check_params,
    described,
    feedforward,
    float32_or_finer,
    loss,
    sizes_of,
)
from mlp_jax.training.plan import TrainState, check_targets, member

AT_ONCE = 16
"""Members of a population that are evaluated together: all would fill memory."""
TRAINING_EXAMPLES = 10_000
"""The most training examples that a score is measured on."""


class Evaluation(NamedTuple):
    """What `evaluate` finds; of a population, with a leading axis of members.

    loss: the mean cost.
    score: of classes the accuracy, the fraction of examples whose highest output is their class, 0 to 1; of wanted
        outputs R^2, 1 minus the squared error over that of always answering the mean, averaged over the outputs: 1 is
        perfect, 0 no better than the mean, and it may be negative.
    rmse: of wanted outputs the root of the mean squared error, in their unit, averaged over the outputs; else None.
    confusion: of classes how often an example of each (row) got each answer (column), (n_out, n_out) integers; else
        None, and for a population.

    If the examples have weights, loss, score and rmse are weighted; the confusion matrix counts examples.

    >>> from mlp_jax import Dataset, Examples, Model, evaluate, init_params
    >>> test = Examples(np.zeros((4, 2), np.float32), np.array([0, 1, 2, 0]))
    >>> found = evaluate(init_params(jax.random.key(0), (2, 3)), test, Model())
    >>> found.confusion.shape, int(found.confusion.sum())
    ((3, 3), 4)
    """

    loss: Any
    score: Any
    rmse: Any = None
    confusion: Integer[np.ndarray, "n_out n_out"] | None = None

    def __repr__(self) -> str:
        found = {name: number for name, number in self._asdict().items() if number is not None}
        shown = {name: f"{n:.5g}" if isinstance(n, float) else described(n) for name, n in found.items()}
        return f"Evaluation({', '.join(f'{name}={text}' for name, text in shown.items())})"

    @property
    def wrong(self) -> int:
        """How many examples got another answer than their class."""
        if self.confusion is None:
            raise ValueError("there are no wrong answers to count: the targets are numbers, or there are many networks")
        return int(self.confusion.sum() - np.trace(self.confusion))


def evaluate(params: Params, examples: Examples, model: Model) -> Evaluation:
    """The mean cost and the score of a network on examples.

    examples: in NumPy arrays, as `Dataset` takes them.

    Raises ValueError for examples that `check_examples` refuses, and those that do not fit the network.

    >>> from mlp_jax import Examples, Layer, Model, evaluate, identity
    >>> params = (Layer(weights=jnp.array([[-1.0], [1.0]]), biases=jnp.zeros(2)),)
    >>> examples = Examples(np.array([[-2.0], [0.5], [3.0], [1.0]]), np.array([0, 1, 1, 0]))
    >>> found = evaluate(params, examples, Model(output=identity))
    >>> found.score, found.wrong, found.confusion.tolist()
    (0.75, 1, [[1, 1], [0, 2]])
    """
    if isinstance(examples, Examples):
        examples = jax.tree.map(np.asarray, examples)
    check_params(params)
    check_examples(examples, n_out=sizes_of(params)[-1])
    check_targets(model, examples)
    return evaluator(examples, model)(TrainState(params, (), jnp.int32(0)))


def training_sample(dataset: Dataset) -> Examples:
    """Training examples, evenly spaced, to measure a score on beside the score of the test examples.

    As many as there are test examples, if possible, and 10,000 at most: then one compiled program evaluates both.

    >>> from mlp_jax import load_dataset
    >>> from mlp_jax.training import training_sample
    >>> len(training_sample(load_dataset("mnist")))
    10000
    """
    count = min(len(dataset.train), len(dataset.test), TRAINING_EXAMPLES)
    return dataset.train.rows(np.arange(count) * len(dataset.train) // count)


def evaluator(examples: Examples, model: Model | Callable[..., Model]) -> Callable[[TrainState], Evaluation]:
    """`evaluate` for the states of one network or of a population, again and again: the examples are placed once.

    >>> from mlp_jax import Examples, Model, TrainState, init_params, make_optimizer
    >>> from mlp_jax.training import evaluator
    >>> test = Examples(np.zeros((4, 2), np.float32), np.array([0, 1, 2, 0]))
    >>> score_of = evaluator(test, Model())
    >>> state = TrainState.start(init_params(jax.random.key(0), (2, 3)), make_optimizer())
    >>> 0 <= score_of(state).score <= 1
    True
    """
    inputs, targets = jax.device_put((examples.inputs, examples.targets))
    weights = None if examples.weights is None else jax.device_put(examples.weights)

    def evaluation(state: TrainState) -> Evaluation:
        found = _loss_and_answers(state.params, state.model_params, inputs, targets, weights, model)
        losses, answers = jax.device_get(found)
        if np.ndim(state.epoch):
            return Evaluation(losses, *scores_of_answers(answers, examples))
        return evaluation_of(losses[0], answers[0], examples, n_out=sizes_of(state.params)[-1])

    return evaluation


def evaluation_of(loss: Any, answers: Num[np.ndarray, " _"], examples: Examples, n_out: int) -> Evaluation:
    """The evaluation of one network with this mean cost and these answers, as `loss_and_answers` has them."""
    scores, errors = scores_of_answers(answers[None], examples)
    only = float(loss), float(scores[0]), None if errors is None else float(errors[0])
    if not examples.has_classes:
        return Evaluation(*only)
    confusion = np.zeros((n_out, n_out), np.int64)
    np.add.at(confusion, (np.asarray(examples.targets), answers), 1)
    return Evaluation(*only, confusion=confusion)


def scores_of_answers(
    answers: Num[np.ndarray, "*networks _"], examples: Examples
) -> tuple[Float[np.ndarray, "*networks"], Float[np.ndarray, "*networks"] | None]:
    """The score and, of numbers, the root mean squared error, of what `loss_and_answers` finds for networks."""
    if examples.has_classes:
        right = answers[..., : len(examples)] == examples.targets
        return np.average(right, axis=-1, weights=examples.weights), None
    return _scores_of_numbers(answers, examples)


def _scores_of_numbers(
    squared_errors: Float[np.ndarray, "*networks n_out"], examples: Examples
) -> tuple[Float[np.ndarray, "*networks"], Float[np.ndarray, "*networks"]]:
    """R^2 and the root mean squared error, each averaged over the outputs, from mean squared errors.

    Of an output whose targets are all the same, R^2 is 1 if it is always right and else 0, as scikit-learn has it.
    """
    targets = np.asarray(examples.targets, np.float64)
    mean = np.average(targets, axis=0, weights=examples.weights)
    variance = np.average((targets - mean) ** 2, axis=0, weights=examples.weights)
    squared_errors = squared_errors.astype(np.float64)
    varied = targets.max(axis=0) > targets.min(axis=0)  # a variance may be rounding alone
    r2 = np.where(varied, 1 - squared_errors / np.where(varied, variance, 1), squared_errors == 0)
    return r2.mean(axis=-1), np.sqrt(squared_errors).mean(axis=-1)


def loss_and_answers(
    params: Params, inputs: Array, targets: Array, model: Model, weights: Array | None
) -> tuple[Float[Array, ""], Array]:
    """The mean cost, and the class that a network answers to each example or the mean squared error of each output."""
    x, y = as_inputs(inputs, params), as_targets(targets, params)
    outputs, cost = feedforward(params, x, model), loss(params, x, y, model, weights)
    if targets.ndim == 1:
        return cost, jnp.argmax(outputs, axis=-1)
    fine = float32_or_finer(outputs.dtype)  # bfloat16 would round the targets
    squares = (outputs.astype(fine) - targets.astype(fine)) ** 2
    return cost, jnp.average(squares, axis=0, weights=weights)


@partial(jax.jit, static_argnames="model")
def _loss_and_answers(
    params: Params,
    model_params: dict[str, Array],
    inputs: Array,
    targets: Array,
    weights: Array | None,
    model: Model | Callable[..., Model],
) -> tuple[Float[Array, " members"], Array]:
    """`loss_and_answers` of each member; one network is a population of one, without the leading axis."""

    def of_one(own: tuple[Params, dict[str, Array]]) -> tuple[Array, Array]:
        params, values = own
        mine = model if isinstance(model, Model) else model(**values)
        return loss_and_answers(params, inputs, targets, mine, weights)

    own = params, model_params
    if params[0].weights.ndim == 3 and len(params[0].weights) > 1:
        return jax.lax.map(of_one, own, batch_size=AT_ONCE)
    only = own if params[0].weights.ndim == 2 else member(own, 0)
    return jax.tree.map(lambda leaf: leaf[None], of_one(only))
