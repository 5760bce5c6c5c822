"""Going back by suggested activations is backpropagation.

Treat the layer before the last as if it were the last one, with the activations that the layer after it suggests as
wanted outputs, and so on backwards. How far a suggestion goes is left open by the article, "Backpropagation,
intuitively".

Source: the article.
Refuted if: there is no step for which the outcome is the gradient to rounding, or if with another step a layer's part
of it has another direction.

With steps of half the wanted change it should be the gradient. With others it should be (2 step)^m times the gradient
in a layer m below the last: `gradients.nudges.suggested_activations` says why.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of
from mlp_jax.gradients.compare import angle_and_norm_ratio
from mlp_jax.gradients.rules import suggested_activations
from mlp_jax.network import Model, Params

EXAMPLES = 100
STEPS = (0.125, 0.25, 0.5, 1.0, 2.0)
HALF = STEPS.index(0.5)
SAME = 1e-3  # degrees, and a fraction: rounding in float64 stays far below
FLOOR = 1e-15  # degrees: what is drawn in place of 0 on a logarithmic axis
Vectors = list[list[np.ndarray]]  # of each member: one of each layer, weights and biases together, and one of them all


class Measurement(NamedTuple):
    """The outcome of the recursion beside the gradient, on a mini-batch, in float64. Angles are in degrees."""

    steps: tuple[float, ...]  # how far suggestions go, as a multiple of what is wanted
    ratios: Float[np.ndarray, "members steps layers"]  # of the norms; NaN if the gradient is 0
    expected: Float[np.ndarray, "steps layers"]  # (2 step)^m
    angles: Float[np.ndarray, "members steps layers"]  # within each layer
    angles_in_float32: Float[np.ndarray, "members layers"]  # with the recursion in float32, with step 1/2
    whole: Float[np.ndarray, "members steps"]  # between all layers together and the whole gradient


def measure(subject: Subject) -> Measurement:
    """Go back by suggestions of several sizes in every network, on the first training images.

    Raises SubjectError for networks without a hidden layer, to which nothing is suggested.
    """
    layers = len(subject.sizes) - 1
    if layers == 1:
        raise SubjectError(
            f"this experiment needs a hidden layer, to which activations are suggested: the network is "
            f"{'-'.join(map(str, subject.sizes))}"
        )
    below = np.arange(layers)[::-1]
    with jax.enable_x64(True):
        fine = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), subject.networks)
        coarse = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), subject.networks)
        examples = subject.dataset.train.rows(slice(EXAMPLES))
        exact, *outcomes = map(_vectors, directions(fine, *batch_of(examples, fine), subject.model, STEPS))
        _, in_float32 = map(_vectors, directions(coarse, *batch_of(examples, coarse), subject.model, (0.5,)))
    angles, ratios = np.moveaxis(np.stack([_compared(outcome, exact) for outcome in outcomes], axis=1), -1, 0)
    dead = np.array([[not vector.any() for vector in vectors[:-1]] for vectors in exact])
    return Measurement(
        STEPS,
        np.where(dead[:, None], np.nan, ratios[..., :-1]),
        (2 * np.array(STEPS)[:, None]) ** below,
        angles[..., :-1],
        _compared(in_float32, exact)[:, :-1, 0],
        angles[..., -1],
    )


def judge(measured: Measurement) -> Finding:
    """Holds if with step 1/2 every layer's norm is the gradient's to 0.1 %, and with all steps the angle below SAME."""
    angle, off = measured.angles[:, HALF].max(), np.nanmax(abs(measured.ratios[:, HALF] - 1), initial=0)
    elsewhere = np.nanmax(abs(measured.ratios / measured.expected - 1), initial=0)
    members, (first, last) = len(measured.angles), np.median(measured.whole[:, [0, -1]], axis=0)
    return Finding(
        f"with step 1/2 each layer's part is within {angle:.0e} degrees of the gradient's, its norm right to {off:.0e} "
        f"(float64, {members} network{'s' * (members > 1)}; {measured.angles_in_float32.max():.0e} degrees in float32)."
        f" Other steps turn it by {measured.angles.max():.0e} degrees at most, but make it (2 step)^m times as large m "
        f"layers below the last (to {elsewhere:.0e}), so that the whole turns: by {first:.0f} degrees with step "
        f"{_name(measured.steps[0])}, by {last:.0f} with {_name(measured.steps[-1])}",
        bool(measured.angles.max() < SAME and off < SAME),
    )


def draw(measured: Measurement) -> Figure:
    """How large each layer's part is, and how far it turns, for each size of step."""
    figure, ((sizes, angles),) = figures.page(1, 2)
    steps, layers = np.array(measured.steps), measured.ratios.shape[2]
    figures.curves(sizes, steps, {f"layer {layer + 1}": measured.ratios[..., layer] for layer in range(layers)})
    sizes.plot(steps, measured.expected, "kx", markersize=5)
    figures.name_axes(sizes, "step", "norm / norm of the gradient", "crosses: (2 step)^m, m below the last")
    sizes.set_yscale("log", base=2)
    lines = {"all layers together": measured.whole, "worst layer": measured.angles.max(axis=2)}
    figures.curves(angles, steps, {name: np.maximum(line, FLOOR) for name, line in lines.items()})
    in_float32 = np.maximum(measured.angles_in_float32.max(axis=1), FLOOR)
    halves = [0.5] * len(in_float32)
    angles.plot(halves, in_float32, "o", color=figures.GREEN, markersize=4, label="worst layer, float32")
    figures.name_axes(angles, "step", "angle to the gradient, degrees", yscale="log", ylim=(1e-20, 1e3))
    angles.legend(fontsize="small", loc="lower left")
    for panel in (sizes, angles):
        panel.set_xscale("log", base=2)
        panel.set_xticks(steps, [_name(step) for step in measured.steps])
    return figure


@partial(jax.jit, static_argnums=(3, 4))
def directions(networks: Params, inputs: Array, targets: Array, model: Model, steps: tuple[float, ...]) -> list[Params]:
    """For each network the gradient, and what comes out with suggestions of each size."""
    rules = (backprop, *map(suggested_activations, steps))
    return [jax.vmap(lambda params, rule=rule: rule(params, inputs, targets, model))(networks) for rule in rules]


def _vectors(gradients: Params) -> Vectors:
    vectors = [np.column_stack([np.reshape(leaf, (len(leaf), -1)) for leaf in layer]) for layer in gradients]
    return [[*layers, np.concatenate(layers)] for layers in zip(*vectors, strict=True)]


def _compared(outcomes: Vectors, gradients: Vectors) -> Float[np.ndarray, "members vectors 2"]:
    """Angle and ratio of norms of each vector and its counterpart."""
    pairs = zip(outcomes, gradients, strict=True)
    return np.array([list(map(angle_and_norm_ratio, outcome, gradient)) for outcome, gradient in pairs])


def _name(step: float) -> str:
    return f"{step:g}" if step >= 1 else f"1/{1 / step:g}"
