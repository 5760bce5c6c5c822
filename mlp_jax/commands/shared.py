"""What several commands do alike."""

import json
from pathlib import Path

import jax
from rich.console import Console

from mlp_jax import activations, arguments, costs
from mlp_jax.activations import Activation
from mlp_jax.backprop import GradientRule, backprop
from mlp_jax.gradients import rules
from mlp_jax.network import Model, Params, loss
from mlp_jax.runs import Run, RunError

AUTOMATIC = jax.grad(loss)


def model_of(hidden: str, output: str, cost: str) -> Model:
    """The model with functions of these names. Raises ValueError where they do not go together."""
    model = Model(getattr(activations, hidden), getattr(activations, output), getattr(costs, cost))
    if not (isinstance(model.hidden, Activation) and isinstance(model.output, Activation)):
        raise ValueError(f"{hidden} and {output} are not both activation functions")
    return model


def rule_of(name: str, sizes: tuple[int, ...], settings: arguments.Train | arguments.Compare) -> GradientRule:
    """The gradient rule of that name."""
    # Another key than that of the parameters: feedback drawn from theirs would be the initial weights themselves.
    key = jax.random.fold_in(jax.random.key(settings.seed), 1)
    made = {
        "manual": lambda: backprop,
        "automatic": lambda: AUTOMATIC,
        "feedback_alignment": lambda: rules.feedback_alignment(key, sizes),
        "direct_feedback_alignment": lambda: rules.direct_feedback_alignment(key, sizes),
        "sign_symmetric": lambda: rules.sign_symmetric,
        "suggested_activations": lambda: rules.suggested_activations(settings.step),
    }
    return made[name]()


def open_run(directory: Path) -> tuple[Run, Model, Params]:
    """A run, its model and its parameters. Raises RunError for a directory that does not hold them."""
    run = Run.open(directory)
    try:
        _, *names = (run.config[name] for name in ("data", "hidden", "output", "cost"))
        model = model_of(*names)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{run.directory / 'config.json'} does not describe data and a model ({error!r})") from error
    return run, model, run.load()


def make_console() -> Console:
    """Where tables and lines are printed, as they are given."""
    return Console(highlight=False, emoji=False)


def print_json(**values: object) -> None:
    """One line that a program can read."""
    print(json.dumps(values))
