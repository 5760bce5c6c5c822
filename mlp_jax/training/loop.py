"""Training, epoch after epoch: the loop that everything uses."""

import operator
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, SupportsIndex

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Integer

from mlp_jax.backward import GradientRule, backprop
from mlp_jax.data import Augment, Dataset, Examples
from mlp_jax.data.dataset import check_dataset
from mlp_jax.network import Model, Params, check_params, sizes_of
from mlp_jax.training.divergence import DivergenceError, first_failure, still_finite
from mlp_jax.training.epoch import train_epoch, train_population
from mlp_jax.training.evaluation import evaluator, scores_of_answers
from mlp_jax.training.little import is_little, little_epochs, state_at
from mlp_jax.training.optimizer import make_optimizer, usual_rate, with_rates_of
from mlp_jax.training.plan import Plan, TrainState, check_patience, check_targets, check_training, count_steps, member
from mlp_jax.training.progress import with_progress
from mlp_jax.training.sharding import POPULATION, count_examples, place, place_examples, place_order, unshard
from mlp_jax.training.stream import examples_in_chunk, stream_epoch


class EpochMetrics(NamedTuple):
    """The metrics of an epoch. For a population, numbers are arrays (members,), NaN for one that diverged.

    epoch: from 1.
    loss: the mean cost of the training examples, each just before the update it took part in.
    test_loss: the mean cost of the test examples after the epoch.
    score: on the test examples: accuracy for classes, 0 to 1; R^2 for wanted outputs, at most 1.
    rmse: for wanted outputs the root of the mean squared error, else None.
    seconds: the wall-clock time of the epoch's updates; those of the first include compiling.

    >>> from mlp_jax.training import EpochMetrics
    >>> metrics = EpochMetrics(epoch=1, loss=0.4, test_loss=0.2, score=0.91, rmse=None, seconds=0.1)
    >>> f"epoch {metrics.epoch}: {metrics.score:.0%}"
    'epoch 1: 91%'
    """

    epoch: int
    loss: Any
    test_loss: Any
    score: Any
    rmse: Any
    seconds: float

    @property
    def ranking(self) -> Integer[np.ndarray, " ranked"]:
        """The members of a population that have not diverged, by score, the best first."""
        order = np.argsort(-self.score, kind="stable")
        return order[~np.isnan(self.score[order])]

    @property
    def best(self) -> int:
        """The member of a population with the highest score."""
        return int(self.ranking[0])

    @property
    def spread(self) -> tuple[float, float, float]:
        """Lowest, median and highest score of a population."""
        scores = self.score[self.ranking]
        return float(scores[-1]), float(np.median(scores)), float(scores[0])


Callback = Callable[[TrainState, EpochMetrics], bool | None]
Reached = Callable[[], TrainState]


def epochs(
    state: TrainState,
    dataset: Dataset,
    plan: Plan,
    until: int = 30,
    seed: SupportsIndex | Sequence[int] | Integer[np.ndarray, " members"] = 0,
    *,
    stream: int | None = None,
    augment: Augment | None = None,
    progress: bool | None = None,
) -> Iterator[tuple[TrainState, EpochMetrics]]:
    """Train one epoch after another: the state, which may be kept, and the metrics after each.

    state: before the first of them, of one network or of a population. until: how many epochs there are in all.
    seed: the order of the examples in an epoch depends on the seed and the epoch's number alone. For a population one
        seed, and the members share their mini-batches; or one for each member's own order.
    stream, augment, progress: as for `fit`; the first for one network, the second for one seed.

    Yields the state after each epoch, on one device, and its EpochMetrics. Raises ValueError for what cannot be
    trained, when called; and DivergenceError, with the state after the last good epoch, if no network is finite any
    more.

    >>> from mlp_jax import Dataset, Examples, Model, Plan, TrainState, epochs, init_params, make_optimizer
    >>> examples = Examples(np.array([[0.0], [0.2], [0.8], [1.0]]), np.array([0, 0, 1, 1]))
    >>> plan = Plan(Model(), make_optimizer("sgd", 5.0), batch_size=2)
    >>> state = TrainState.start(init_params(jax.random.key(0), (1, 2)), plan.optimizer)
    >>> for state, metrics in epochs(state, Dataset(examples, examples), plan, until=40):
    ...     if metrics.score == 1:
    ...         break
    >>> metrics.epoch < 40
    True
    """
    running = run_epochs(state, dataset, plan, until, seed, stream=stream, augment=augment, progress=progress)
    return ((reached(), metrics) for reached, metrics in running)


def run_epochs(
    state: TrainState,
    dataset: Dataset,
    plan: Plan,
    until: int,
    seed: SupportsIndex | Sequence[int] | Integer[np.ndarray, " members"],
    *,
    stream: int | None = None,
    augment: Augment | None = None,
    progress: bool | None = None,
) -> Iterator[tuple[Reached, EpochMetrics]]:
    """`epochs`, but with a function that gives the state: of little training, bringing each back takes the longest."""
    check_dataset(dataset)
    members = None if np.ndim(state.epoch) == 0 else len(state.epoch)
    given: Any = seed
    seeds = [operator.index(one) for one in np.ravel(given).tolist()]
    if np.ndim(given) and len(seeds) != (members or 1):
        raise ValueError(f"there are {len(seeds)} seeds for {members or 1} members: give one for each, or one for all")
    sizes = sizes_of(state.params if members is None else member(state.params, 0))
    for one in {min(seeds), max(seeds)}:
        check_training(sizes, dataset, plan, until, one, members)
    if not isinstance(plan.model, Model):
        check_targets(plan.model_of(state if members is None else member(state, 0)), dataset.train, dataset.test)
    if augment is not None and (stream is not None or len(seeds) > 1):
        why = "streamed, which would need all in memory" if stream is not None else f"the same for {len(seeds)} seeds"
        raise ValueError(f"the inputs are to be augmented, but they are {why}: do without one of the two")
    if stream is not None:
        examples_in_chunk(stream, plan.batch_size)
        if members is not None:
            raise ValueError("the examples are to be streamed to a population: train one network, or leave out stream")
    done = int(np.max(np.asarray(state.epoch)))
    running = _epochs(state, dataset, plan, range(done, until), seeds, stream, augment)
    return with_progress(running, done, until, progress)


def _epochs(
    state: TrainState,
    dataset: Dataset,
    plan: Plan,
    numbers: range,
    seeds: list[int],
    stream: int | None,
    augment: Augment | None,
) -> Iterator[tuple[Reached, EpochMetrics]]:
    """The epochs of these numbers, from 0."""
    if stream is None and augment is None and is_little(state, dataset, plan):
        yield from _little_epochs(state, dataset, plan, numbers, seeds)
        return
    population = np.ndim(state.epoch) > 0
    train = train_population if population else train_epoch
    if stream is not None:
        train = partial(stream_epoch, stream=stream)
    examples = count_examples(len(dataset.train), plan.mesh)
    placed = dataset.train if stream is not None else place_examples(dataset.train, plan.mesh)
    evaluation = evaluator(dataset.test, plan.model)
    alive = np.ones(np.shape(state.epoch), bool)
    for epoch, inputs in zip(
        numbers, _inputs_of_epochs(dataset.train.inputs, numbers, augment, seeds[0], plan), strict=True
    ):
        start = time.perf_counter()
        if augment is not None:
            placed = replace(placed, inputs=place_examples(inputs, plan.mesh))
        order = place_order(seeds if len(seeds) > 1 else seeds[0], epoch, examples, plan.mesh)
        spare = place(state, plan.mesh, *[POPULATION] * population)  # a copy to donate; `state` stays the last good one
        after, cost = unshard(train(spare, placed.inputs, placed.targets, order, plan, placed.weights))
        finite = np.asarray(still_finite(state, after, cost))
        if not finite.any():
            shown = replace(dataset.train, inputs=inputs)
            raise _diverged(state, shown, plan, seeds, int(np.argmax(alive)) if population else None)
        state, alive, seconds = after, finite, time.perf_counter() - start
        test = evaluation(state)
        numbers_now = (np.asarray(cost) if population else float(cost), test.loss, test.score, test.rmse)
        if population:
            numbers_now = [None if each is None else np.where(finite, each, np.nan) for each in numbers_now]
        yield partial(_itself, state), EpochMetrics(epoch + 1, *numbers_now, seconds)


def _itself(state: TrainState) -> TrainState:
    return state


def _little_epochs(
    state: TrainState, dataset: Dataset, plan: Plan, numbers: range, seeds: list[int]
) -> Iterator[tuple[Reached, EpochMetrics]]:
    """`_epochs` for little training."""
    population, start = np.ndim(state.epoch) > 0, time.perf_counter()
    alive, reached = np.ones(np.shape(state.epoch), bool), partial(_itself, state)
    for some, made in little_epochs(state, dataset, plan, numbers, seeds):
        seconds = (time.perf_counter() - start) / len(some)
        scores, errors = scores_of_answers(np.asarray(made.answers), dataset.test)
        of_epochs: list[Any] = [made.cost, made.test_loss, scores, errors]
        for which, each in enumerate(of_epochs):
            if each is not None:
                of_epochs[which] = np.where(made.finite, each, np.nan) if population else each.tolist()
        for turn, epoch in enumerate(some):
            finite = made.finite[turn]
            if not finite.any():
                raise _diverged(reached(), dataset.train, plan, seeds, int(np.argmax(alive)) if population else None)
            alive, reached = finite, partial(state_at, made, turn)
            numbers_now = (None if each is None else each[turn] for each in of_epochs)
            yield reached, EpochMetrics(epoch + 1, *numbers_now, seconds=seconds)
        start = time.perf_counter()


def _inputs_of_epochs(
    inputs: np.ndarray, numbers: range, augment: Augment | None, seed: int, plan: Plan
) -> Iterator[np.ndarray]:
    """The training inputs of each epoch; the next are made while the device trains on the last.

    The seed that `augment` gets is of the order, the epoch, and the process if several share the training examples;
    and a 1, because without it NumPy would draw the same numbers as for the order.
    """
    if augment is None or not numbers:
        yield from repeat(inputs, len(numbers))
        return
    process = jax.process_index() if plan.across else 0
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(augment, inputs, (seed, numbers[0], process, 1))
        for epoch in numbers:
            shown = coming.result()
            if epoch + 1 in numbers:
                coming = beside.submit(augment, inputs, (seed, epoch + 1, process, 1))
            yield shown


def _diverged(state: TrainState, examples: Examples, plan: Plan, seeds: list[int], last: int | None) -> DivergenceError:
    """What to raise after an epoch in which the network diverged, or the last members of a population did.

    state: before the epoch. examples: this process's training examples. last: a member that was finite before.
    """
    epoch = int(np.max(np.asarray(state.epoch)))
    if last is None:
        order = place_order(seeds[0], epoch, count_examples(len(examples), plan.mesh), plan.mesh)
        first = first_failure(state, examples, order, plan)
        return DivergenceError(
            f"in epoch {epoch + 1} numbers stopped being finite{f', first the {first}' if first else ''}: lower "
            f"the learning rate; the parameters of {epoch} epochs of training are the last good ones",
            state,
        )
    where = ""
    if not plan.across:  # each device would need the others' examples
        order = place_order(seeds[last % len(seeds)], epoch, len(examples), None)
        first = first_failure(member(state, last), examples, order, replace(plan, mesh=None))
        where = f", in member {last} first the {first}" if first else ""
    return DivergenceError(
        f"in epoch {epoch + 1} the last of {len(state.epoch)} members stopped being finite{where}: lower the "
        "learning rates",
        state,
    )


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
    weight_decay: float = 0.0,
    validation: int | float = 0,
    patience: int | None = None,
    callback: Callback | None = None,
    progress: bool | None = None,
) -> TrainState:
    """Train by mini-batch gradient descent (lesson 3), evaluating on the test examples after each epoch.

    params: initial parameters; or the state after some epochs of an earlier call, from which training goes on. The
        result is bit-identical to training without a stop if the other arguments are the same.
    epochs: how many there are in all, those behind a given state included.
    optimizer: any Optax transformation; plain SGD with `usual_rate` and cosine decay by default. `make_optimizer` makes
        those that share a compiled program with all others of the same name; any other is compiled for itself.
    gradient: the rule, `backprop` by default; `jax.grad(loss)` does as well.
    seed: the order of the examples in an epoch depends on the seed and the epoch's number alone.
    mesh: devices that share each mini-batch along the mesh's axis "batch", as in `jax.make_mesh((4,), ("batch",))`;
        if not given, one device trains. Each device has an equal part of the training examples and draws its part of
        every mini-batch from it, so the order depends on their number too. On several processes each gives its own
        part of the training examples, of the same length as any other's, and all of the test examples.
    stream: how many training examples lie on the device, or on all of the mesh, at a time, for sets that are larger
        than its memory: twice the batch size or more. The inputs may be an `np.memmap`. If not given, all lie there.
    augment: makes the inputs of an epoch of the training inputs and a seed, which has that of the order, the epoch and
        the process in it; `mlp_jax.data.shifted`, say. If not given, every epoch has them as they are.
    weight_decay: of the default optimiser, 0 or more; `make_optimizer` says what it does and gives it to others.
    validation: how many training examples to hold out and evaluate on instead of the test examples; below 1 which
        fraction; 0 for none. All training examples are then copied into memory. Not on several processes, each of
        which would hold out others.
    patience: stop after as many epochs without a lower mean cost of the held-out examples, and return the best state.
        What came before a given state does not count.
    callback: called after each epoch with the state, which it may keep, and the metrics; a true return stops training.
    progress: whether a line shows the epoch, cost, score and time left. If None: in a terminal and in a notebook.

    Returns the last state. Raises ValueError for parameters that do not fit the data, no epoch to train, a batch size
    that is not 1 to the number of training examples, a seed that is not 0 to 2^32 - 1, fewer examples to stream than
    two mini-batches, inputs both streamed and augmented, a state of another optimiser, a mesh over which batch or
    examples do not divide, or patience without examples held out; and DivergenceError, with the state after the last
    good epoch, if a cost, a parameter or what the optimiser remembers stops being finite.

    >>> from mlp_jax import Dataset, Examples, Model, fit, identity, init_params, make_optimizer
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> line = Examples(x, 2 * x + 1)
    >>> params, sgd = init_params(jax.random.key(0), (1, 1)), make_optimizer("sgd", 0.2)
    >>> state = fit(params, Dataset(line, line), Model(output=identity), batch_size=5, optimizer=sgd)
    >>> [(weights,)], [bias] = jax.device_get(state.params[0])
    >>> print(f"{weights:.3f} x + {bias:.3f}")
    2.000 x + 1.000
    """
    check_dataset(dataset)
    check_patience(patience, validation)
    if validation and jax.process_count() > 1:
        raise ValueError(f"validation is {validation}, but several processes cannot hold examples out: leave it out")
    if validation:
        dataset = dataset.held_out(validation)
    if optimizer is None:
        steps = count_steps(epochs, count_examples(len(dataset.train), mesh), batch_size)
        initial = params.params if isinstance(params, TrainState) else params
        check_params(initial)
        rate = usual_rate(model, sizes_of(initial))
        optimizer = make_optimizer("sgd", rate, "cosine", steps, weight_decay)
    elif weight_decay:
        raise ValueError(
            f"the weight decay is {weight_decay} beside an optimiser: give it to make_optimizer, or to the optimiser"
        )
    plan = Plan(model, optimizer, batch_size, gradient, mesh)
    start = start_or_continue(params, lambda initial: TrainState.start(initial, optimizer), epochs)
    last = best = partial(_itself, start)
    lowest, best_epoch = np.inf, int(start.epoch)
    running = run_epochs(start, dataset, plan, epochs, seed, stream=stream, augment=augment, progress=progress)
    for last, metrics in running:
        if metrics.test_loss < lowest:
            lowest, best, best_epoch = metrics.test_loss, last, metrics.epoch
        if callback is not None and callback(last(), metrics):
            break
        if patience is not None and metrics.epoch - best_epoch >= patience:
            break
    return last() if patience is None else best()


def start_or_continue(params: Params | TrainState, start: Callable[[Params], TrainState], until: int) -> TrainState:
    """The state before the first epoch, which `start` makes of initial parameters, or the one given.

    The given one gets the rates that `start` gives. Raises ValueError for a state of another optimiser, or one that
    has all epochs behind it.

    >>> from mlp_jax import TrainState, init_params, make_optimizer
    >>> from mlp_jax.training import start_or_continue
    >>> params, sgd = init_params(jax.random.key(0), (2, 3)), make_optimizer()
    >>> state = start_or_continue(params, lambda params: TrainState.start(params, sgd), until=3)
    >>> int(state.epoch)
    0
    """
    if not isinstance(params, TrainState):
        return start(params)
    behind, fresh = int(np.max(np.asarray(params.epoch))), start(params.params)
    if behind >= until:
        raise ValueError(f"{behind} of {until} epochs are behind the state already, and none is left: ask for more")
    if jax.tree.structure(params) != jax.tree.structure(fresh):
        raise ValueError(
            f"the state is one of another optimiser: it remembers {jax.tree.structure(params.optimizer_state)}, "
            f"but this one {jax.tree.structure(fresh.optimizer_state)}"
        )
    return with_rates_of(params, fresh)
