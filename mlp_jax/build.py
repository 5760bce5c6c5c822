"""From settings, which are names and numbers, to the data, model, gradient rule and optimiser that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

import jax
import optax

from mlp_jax import activations, costs
from mlp_jax.activations import Activation
from mlp_jax.backward import GradientRule, backprop
from mlp_jax.config import DATA_OPTIONS, Compare, Problem, Sweep, Train, Training
from mlp_jax.data import Augment, Dataset, load_dataset, shifted
from mlp_jax.gradients import rules
from mlp_jax.network import Model, loss
from mlp_jax.training import make_optimizer, usual_rate

AUTOMATIC = jax.grad(loss)


def sizes_for(sizes: Sequence[int], dataset: Dataset) -> tuple[int, ...]:
    """The sizes of a network's layers; 0 for the first or the last becomes the number of inputs or outputs."""
    ends = {0: dataset.n_in, len(sizes) - 1: dataset.n_out}
    return tuple(size or ends.get(layer, 0) for layer, size in enumerate(sizes))


def data_of(settings: Training, part: int = 0, parts: int = 1) -> Dataset:
    """The data set of the settings, with its test examples: `held_out` puts others there."""
    if settings.validation and parts > 1:
        raise ValueError("--validation is for one process: leave it out, or train with one")
    return load_dataset(settings.data, part=part, parts=parts, **data_options(asdict(settings)))


def held_out(settings: Training, dataset: Dataset) -> Dataset:
    """The data set with the examples that --validation holds out as its test examples; with --split time the last."""
    if not settings.validation:
        return dataset
    return dataset.held_out(settings.validation, last=settings.split == "time")


def batch_size_for(settings: Training | Compare, dataset: Dataset) -> int:
    """The batch size of the settings, or all examples of a table or of folders of pictures if they are fewer."""
    return settings.batch_size if dataset.preprocessing is None else min(settings.batch_size, len(dataset.train))


def data_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `load_dataset` in settings, or in the contents of config.json, that were given."""
    given = {name: settings.get(name) for name in DATA_OPTIONS}
    size = given.pop("image_size")
    return {name: value for name, value in (given | {"size": size}).items() if value is not None}


def augment_of(settings: Training, dataset: Dataset) -> Augment | None:
    """The function that shifts the training images anew in each epoch; None without --shift."""
    if settings.shift == 0:
        return None
    if dataset.image_shape is None:
        raise ValueError(
            f"--shift needs images of a known height and width: {settings.data} has {dataset.n_in} numbers in a row"
        )
    augment = partial(shifted, shape=dataset.image_shape, pixels=settings.shift)
    augment(dataset.train.inputs[:1], (0,))  # which refuses a negative number now
    return augment


def model_for(settings: Problem, dataset: Dataset) -> Model:
    """The model of the settings, with the output and the cost that suit the data if they are not given."""
    table = dataset.preprocessing is not None and dataset.preprocessing.columns != ()
    output, cost = settings.output, settings.cost
    if output is None:
        output = ("softmax" if table else "sigmoid") if dataset.has_classes else "identity"
    if cost is None:
        cost = "cross_entropy" if table and output in ("softmax", "sigmoid") else "quadratic"
    return model_of(settings.hidden, output, cost)


def model_of(hidden: str, output: str, cost: str) -> Model:
    """The model with functions of these names. Raises ValueError if they do not go together."""
    model = Model(getattr(activations, hidden), getattr(activations, output), getattr(costs, cost))
    if not (isinstance(model.hidden, Activation) and isinstance(model.output, Activation)):
        raise ValueError(f"{hidden} and {output} are not both activation functions")
    return model


def rule_of(name: str, sizes: tuple[int, ...], settings: Train | Compare) -> GradientRule:
    """The gradient rule of that name."""

    def key() -> jax.Array:
        # Not the key of the parameters: feedback drawn from that would be the initial weights themselves.
        return jax.random.fold_in(jax.random.key(settings.seed), 1)

    made = {
        "manual": lambda: backprop,
        "automatic": lambda: AUTOMATIC,
        "feedback_alignment": lambda: rules.feedback_alignment(key(), sizes),
        "direct_feedback_alignment": lambda: rules.direct_feedback_alignment(key(), sizes),
        "sign_symmetric": lambda: rules.sign_symmetric,
        "suggested_activations": lambda: rules.suggested_activations(settings.step),
    }
    return made[name]()


def with_learning_rate(settings: Train, model: Model, sizes: Sequence[int]) -> Train:
    """The settings with the learning rate that is given, or the usual one of the optimiser and the network."""
    if settings.learning_rate is not None:
        return settings
    rate = usual_rate(model, sizes) if settings.optimizer == "sgd" and len(sizes) > 1 else 0.001
    return replace(settings, learning_rate=rate)


def optimizer_of(settings: Train | Sweep, steps: int) -> optax.GradientTransformation:
    """The optimiser for a training of `steps` updates. That of a sweep has the first learning rate.

    Settings of train have a learning rate, of `with_learning_rate`.

    Raises ValueError for an optimiser, a learning rate (each one of a sweep), or a weight decay that cannot be.
    """
    rates = settings.learning_rate if isinstance(settings, Sweep) else (cast(float, settings.learning_rate),)
    made = [make_optimizer(settings.optimizer, rate, settings.schedule, steps, settings.weight_decay) for rate in rates]
    return made[0]
