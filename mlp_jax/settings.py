"""From settings, which are names and numbers, to what they name: data, model, gradient rule."""

from collections.abc import Sequence
from functools import partial

import jax

from mlp_jax import activations, arguments, costs
from mlp_jax.activations import Activation
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.data import Augment, Dataset, load_dataset, shifted
from mlp_jax.gradients import rules
from mlp_jax.network import Model, loss
from mlp_jax.training import LEARNING_RATE

AUTOMATIC = jax.grad(loss)


def sizes_for(sizes: Sequence[int], dataset: Dataset) -> tuple[int, ...]:
    """The sizes of a network's layers, those at the ends as the data need them where 0 is given."""
    ends = {0: dataset.train_images.shape[1], len(sizes) - 1: dataset.classes}
    return tuple(size or ends.get(layer, 0) for layer, size in enumerate(sizes))


def data_of(settings: arguments.Run, part: int = 0, parts: int = 1) -> Dataset:
    """What to learn, with the training images that are to be held out, if any, in place of the test images."""
    if settings.validation and parts > 1:
        raise ValueError("--validation is for one process: leave it out, or train with one")
    dataset = load_dataset(settings.data, part=part, parts=parts)
    return dataset.held_out(settings.validation) if settings.validation else dataset


def augment_of(settings: arguments.Run, dataset: Dataset) -> Augment | None:
    """What moves the training images anew in each epoch, if anything is to."""
    if settings.shift == 0:
        return None
    if dataset.image_shape is None:
        pixels = dataset.train_images.shape[1]
        raise ValueError(
            f"--shift needs images of a known height and width: {settings.data} has {pixels} pixels in a row"
        )
    augment = partial(shifted, shape=dataset.image_shape, pixels=settings.shift)
    augment(dataset.train_images[:1], (0,))  # which refuses a negative number now
    return augment


def model_of(hidden: str, output: str, cost: str) -> Model:
    """The model with functions of these names. Raises ValueError where they do not go together."""
    model = Model(getattr(activations, hidden), getattr(activations, output), getattr(costs, cost))
    if not (isinstance(model.hidden, Activation) and isinstance(model.output, Activation)):
        raise ValueError(f"{hidden} and {output} are not both activation functions")
    return model


def rule_of(name: str, sizes: tuple[int, ...], settings: arguments.Train | arguments.Compare) -> GradientRule:
    """The gradient rule of that name."""

    def key() -> jax.Array:
        # Another than that of the parameters: feedback drawn from theirs would be the initial weights themselves.
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


def learning_rate_of(settings: arguments.Train) -> float:
    """The one that is given, or the usual one of the optimiser."""
    if settings.learning_rate is not None:
        return settings.learning_rate
    return LEARNING_RATE if settings.optimizer == "sgd" else 0.001
