"""Going back by suggested activations is backpropagation.

Claim: treat the layer before the last as if it were the last one, its wanted outputs the activations that the layer
after it suggests, and so on backwards: that is backpropagation. How far a suggestion goes is left open. Source: the
article "Backpropagation, intuitively". Refuted if: there is no step for which the outcome is the gradient to rounding,
or if with another step a layer's part of it points elsewhere.

With steps of half the wanted change it should be the gradient, and with others m layers below the last (2 step)^m times
it: `gradients.nudges.suggested_activations` says why.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backprop import backprop
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of
from mlp_jax.gradients.leaves import angle_and_norm_ratio
from mlp_jax.gradients.rules import suggested_activations
from mlp_jax.network import Model, Params

EXAMPLES = 100
STEPS = (0.125, 0.25, 0.5, 1.0, 2.0)
HALF = STEPS.index(0.5)
SAME = 1e-3  # degrees, and a fraction: rounding in float64 stays far below
FLOOR = 1e-15  # degrees: what is drawn in place of 0 on a logarithmic axis


class Measurement(NamedTuple):
    """The outcome of the recursion beside the gradient, on a mini-batch.

    steps: how far suggestions go, as a multiple of what is wanted, (steps,).
    ratios: of the norms, in float64, (members, steps, layers); NaN where the gradient is 0.
    expected: (2 step)^m, (steps, layers).
    angles: within each layer, in degrees, in float64, (members, steps, layers).
    angles_in_float32: the same where the recursion is made in float32, with step 1/2, (members, layers).
    whole: the angle between all layers together and the whole gradient, in degrees, in float64, (members, steps).
    """

    steps: tuple[float, ...]
    ratios: Float[np.ndarray, "members steps layers"]
    expected: Float[np.ndarray, "steps layers"]
    angles: Float[np.ndarray, "members steps layers"]
    angles_in_float32: Float[np.ndarray, "members layers"]
    whole: Float[np.ndarray, "members steps"]


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
    images, targets = batch_of(subject.dataset, slice(EXAMPLES))
    with jax.enable_x64(True):
        fine, coarse = (
            jax.tree.map(lambda leaf, d=dtype: jnp.asarray(np.asarray(leaf, d)), (subject.networks, images, targets))
            for dtype in (np.float64, np.float32)
        )
        exact, *outcomes = map(_vectors, directions(*fine, subject.model, STEPS))
        _, in_float32 = map(_vectors, directions(*coarse, subject.model, (0.5,)))
    compared = np.stack([_compared(outcome, exact) for outcome in outcomes], axis=1)
    dead = [[not vector.any() for vector in vectors[:-1]] for vectors in exact]
    ratios = np.where(np.array(dead)[:, None], np.nan, compared[..., :-1, 1])
    return Measurement(
        STEPS,
        ratios,
        (2 * np.array(STEPS)[:, None]) ** below,
        compared[..., :-1, 0],
        _compared(in_float32, exact)[:, :-1, 0],
        compared[..., -1, 0],
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds where the step 1/2 gives the gradient in float64, and other steps each layer's direction.

    The gradient: in every layer of every network the angle below 0.001 degrees and the norm right to 0.1 %.
    """
    angle, off = measured.angles[:, HALF].max(), np.nanmax(abs(measured.ratios[:, HALF] - 1), initial=0)
    elsewhere = np.nanmax(abs(measured.ratios / measured.expected - 1), initial=0)
    members, (first, last) = len(measured.angles), np.median(measured.whole[:, [0, -1]], axis=0)
    return Finding(
        f"with step 1/2 each layer's part is within {angle:.0e} degrees of the gradient's, its norm right to {off:.0e} "
        f"(float64, {members} network{'s' * (members > 1)}; {measured.angles_in_float32.max():.0e} degrees in "
        "float32). "
        f"Other steps turn it by {measured.angles.max():.0e} degrees at most, but make it (2 step)^m times as large m "
        f"layers below the last (to {elsewhere:.0e}), so that the whole turns: by {first:.0f} degrees with step "
        f"{_name(measured.steps[0])}, by {last:.0f} with {_name(measured.steps[-1])}",
        bool(measured.angles.max() < SAME and off < SAME),
    )


def draw(measured: Measurement) -> Figure:
    """How large each layer's part is, and where it points, step by step size."""
    figure, (panels,) = figures.page(1, 2)
    sizes, angles = panels
    steps, layers = np.array(measured.steps), measured.ratios.shape[2]
    figures.curves(sizes, steps, {f"layer {layer + 1}": measured.ratios[..., layer] for layer in range(layers)})
    sizes.plot(steps, measured.expected, "kx", markersize=5)
    figures.name_axes(sizes, "step", "norm / norm of the gradient", "crosses: (2 step)^m, m below the last")
    sizes.set_yscale("log", base=2)
    lines = {
        "all layers together": measured.whole,
        "worst layer": measured.angles.max(axis=2),
    }
    figures.curves(angles, steps, {name: np.maximum(line, FLOOR) for name, line in lines.items()})
    in_float32 = np.maximum(measured.angles_in_float32.max(axis=1), FLOOR)
    angles.plot(
        [0.5] * len(in_float32), in_float32, "o", color=figures.GREEN, markersize=4, label="worst layer, float32"
    )
    figures.name_axes(angles, "step", "angle to the gradient, degrees")
    angles.set(yscale="log", ylim=(1e-20, 1e3))
    angles.legend(fontsize="small", loc="lower left")
    for panel in panels:
        panel.set_xscale("log", base=2)
        panel.set_xticks(steps, [_name(step) for step in measured.steps])
    return figure


@partial(jax.jit, static_argnums=(3, 4))
def directions(
    networks: Params,
    inputs: Float[Array, "batch n_in"],
    targets: Float[Array, "batch n_out"],
    model: Model,
    steps: tuple[float, ...],
) -> list[Params]:
    """For each network the gradient, and what comes out with suggestions of each size."""
    rules = (backprop, *map(suggested_activations, steps))
    return [jax.vmap(lambda params, rule=rule: rule(params, inputs, targets, model))(networks) for rule in rules]


def _vectors(gradients: Params) -> list[list[np.ndarray]]:
    """For each member a vector for each layer, weights and biases together, and last one of all layers."""
    rows = [
        np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in layer], axis=1, dtype=np.float64)
        for layer in gradients
    ]
    return [[*layers, np.concatenate(layers)] for layers in zip(*rows, strict=True)]


def _compared(
    outcomes: list[list[np.ndarray]], gradients: list[list[np.ndarray]]
) -> Float[np.ndarray, "members vectors 2"]:
    """Angle and ratio of norms of each vector and its counterpart."""
    return np.array(
        [
            [angle_and_norm_ratio(outcome, gradient) for outcome, gradient in zip(*pair, strict=True)]
            for pair in zip(outcomes, gradients, strict=True)
        ]
    )


def _name(step: float) -> str:
    return f"{step:g}" if step >= 1 else f"1/{1 / step:g}"
