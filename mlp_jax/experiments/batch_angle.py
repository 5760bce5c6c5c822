"""A mini-batch's gradient is not the actual one, nor its step the most efficient, but a pretty good approximation.

"Pretty good" is read in two ways: as a direction, and as a step that lowers the cost of all examples. Both are
looked at along the way of training, for batches of 100. A small step lowers the cost of all examples if the batch's
gradient and the full one are less than 90 degrees apart; for its length it then lowers it by their cosine, as a share
of the steepest step. The steps that training takes at that moment are longer, and are measured. In the end the learning
rate has cooled to 0 and no step is taken: that moment is told, and not judged. The speed-up is measured by `descent`.

The way is trained anew with the package's defaults, 30 epochs of batches of 100 with a rate that cools from 3 to 0. The
gradient over B examples has a squared length of |G|^2 (1 + B_noise / B) on average, G being the full gradient. Its
noise is nearly perpendicular to G, so the expected cosine is 1 / sqrt(1 + B_noise / B) (McCandlish et al. 2018,
https://arxiv.org/abs/1812.06162).

Source: lesson 3, minute 10.
Holds if:
- not the actual gradient: from epoch 1 on a batch's small step lowers the cost by nine tenths of the steepest one's or
  less, in the median.
- a good approximation of the direction: at each moment before the end it is within 45 degrees, in the median.
- a good approximation to go down by: at each moment before the end most small steps along a batch's negative gradient
  lower the cost of all examples.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.subject import MOST, NEARLY_ALL, Finding, Subject, SubjectError, batch_of, mesh_for
from mlp_jax.gradients.per_example import squared_norms
from mlp_jax.network import Model, Params, feedforward
from mlp_jax.training import EpochMetrics, TrainState, fit_population
from mlp_jax.training.divergence import DivergenceError
from mlp_jax.training.optimizer import LEARNING_RATE

IMAGES = 60_000
MEMBERS = 2
WAY, EPOCHS = (0, 1, 3, 10, 20), 30  # measured after these of 30 epochs, and at the end
MULTIPLES = (1, 2, 5, 10, 20, 50, 100)
DRAWS = {1: 6, 100: 3}
"""Group size: draws. MULTIPLES of a group make a batch; each draw has 100 groups. So 3 batches of 10,000 are drawn."""
BATCH_SIZES = tuple(sorted({group * multiple for group in DRAWS for multiple in MULTIPLES}))
LESSON, STEPS = 100, 20  # the lesson's batch, and how many steps of it are made in full
PERCENTILES = (10, 50, 90)
NEAR = 45  # degrees


class Measurement(NamedTuple):
    """Gradients over mini-batches beside that over all examples, along the way and at the end."""

    examples: int  # how many all are
    epochs: tuple[int, ...]  # the last are the end
    batch_sizes: tuple[int, ...]
    cosines: Float[np.ndarray, "when members sizes percentiles"]  # PERCENTILES over the draws, -1 to 1
    expected: Float[np.ndarray, "when members sizes"]  # the cosine that the noise scale predicts
    noise_scales: Float[np.ndarray, "when members"]  # the variance of the examples' gradients over |G|^2, in examples
    small: Float[np.ndarray, "when members"]  # the share of small steps of a batch of 100 that lower the cost of all
    whole: Float[np.ndarray, "way members"]  # the same of steps as long as training's at that moment


def measure(subject: Subject) -> Measurement:
    """Draw batches, with replacement, and compare the gradient over each with that over all training examples.

    Raises SubjectError for networks whose training diverges by default, or a gradient of 0, which has no direction.
    """
    way = _way(subject)
    networks = jax.tree.map(lambda *leaves: np.concatenate(leaves), *way)
    inputs, targets = batch_of(subject.dataset.train.rows(slice(IMAGES)), networks)
    full, scales = _full_gradients(networks, inputs, targets, subject.model)
    length = np.linalg.norm(full, axis=1)
    if not np.all((length > 0) & np.isfinite(length)):
        raise SubjectError(
            f"this experiment needs gradients with a direction: their lengths, of the networks on their way, are "
            f"{', '.join(f'{number:.3g}' for number in length)}"
        )
    draw, percentiles, small = np.random.default_rng(0), {}, np.empty(0)
    for group, draws in DRAWS.items():
        rows = draw.integers(len(inputs), size=(draws, MULTIPLES[-1], group))
        along, products = jax.device_get(_products(networks, full, inputs, targets, rows, subject.model))
        for multiple in MULTIPLES:
            cosines = _cosines_of_batches(along, products, multiple) / length[:, None]
            percentiles[group * multiple] = np.percentile(cosines, PERCENTILES, axis=(0, 2)).T
            if group == LESSON and multiple == 1:
                small = np.mean(cosines > 0, axis=(0, 2))
    rates = np.repeat(
        [LEARNING_RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2 for epoch in WAY], len(length) // len(way)
    )
    moving = jax.tree.map(lambda leaf: leaf[: len(rates)], networks)
    steps = draw.integers(len(inputs), size=(STEPS, LESSON))
    changes = np.asarray(_changes(moving, rates.astype(np.float32), inputs, targets, steps, subject.model))
    scales = np.reshape(scales, (len(way), -1))
    return Measurement(
        len(inputs),
        (*WAY, EPOCHS),
        BATCH_SIZES,
        np.stack([percentiles[size] for size in BATCH_SIZES], axis=1).reshape(*scales.shape, -1, len(PERCENTILES)),
        1 / np.sqrt(1 + scales[..., None] / np.array(BATCH_SIZES)),
        scales,
        small.reshape(scales.shape),
        np.mean(changes < 0, axis=1).reshape(len(WAY), -1),
    )


def judge(measured: Measurement) -> Finding:
    """Which parts hold, in the median of the networks and at each moment before the end."""
    at_100 = np.median(measured.cosines[:, :, measured.batch_sizes.index(LESSON), 1], axis=1)
    angles, small, whole = _degrees(at_100), np.median(measured.small, axis=1), np.median(measured.whole, axis=1)
    before, scales = slice(len(measured.whole)), np.median(measured.noise_scales, axis=1)
    worst = np.max(np.abs(measured.cosines[..., 1] - measured.expected))
    return Finding(
        f"During training a batch of {LESSON} is {angles[before].min():.0f} to {angles[before].max():.0f} degrees "
        f"off, and at least {small[before].min():.0%} of small steps lower the cost.",
        {
            "not the actual gradient": bool(np.all(at_100[1:] <= NEARLY_ALL)),
            "a good approximation of the direction": bool(np.all(angles[before] <= NEAR)),
            "a good approximation to go down by": bool(np.all(small[before] > MOST)),
        },
        {
            f"angle after {_listed(measured.epochs[before])} epochs, degrees": _listed(
                f"{angle:.0f}" for angle in angles[before]
            ),
            "small steps that lower the cost": _listed(f"{share:.0%}" for share in small[before]),
            "steps as long as training's that do": _listed(f"{share:.0%}" for share in whole),
            "at the end, rate 0: angle, small steps that do": f"{angles[-1]:.0f} degrees, {small[-1]:.0%}",
            "noise scale at the start and at the end": f"{_two_digits(scales[0])}, {_two_digits(scales[-1])} examples",
            "it predicts each median cosine to": f"{worst:.2f}",
            "examples, networks": f"{measured.examples:,}, {measured.small.shape[1]}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Angles against batch size, with what the noise scale predicts, and the share of steps that lower the cost."""
    figure, ((angles, steps),) = figures.page(1, 2, height=3.9)
    measured_angles, expected = map(_degrees, (measured.cosines, measured.expected))
    for number, colour in zip((0, 1, 3, -1), figures.COLOURS, strict=False):
        epochs = f"after epoch {measured.epochs[number]}" if number else "at the start"
        middle, low, high = (np.median(measured_angles[number, ..., part], axis=0) for part in (1, 0, 2))
        angles.plot(measured.batch_sizes, middle, "o", color=colour, markersize=4, label=epochs)
        angles.fill_between(measured.batch_sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        angles.plot(measured.batch_sizes, np.median(expected[number], axis=0), "-", color=colour, linewidth=1)
    angles.axvline(LESSON, color="black", linewidth=0.8, linestyle=":")
    angles.text(LESSON * 1.2, 107, "the lesson's", fontsize="small", va="top")
    figures.name_axes(
        angles, "batch size, examples", "angle to the full gradient, degrees", xscale="log", ylim=(0, 110)
    )
    figure.legend(*angles.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize="small",
                  title="dots: median; band: 10 to 90 %; lines: noise scale", title_fontsize="small")  # fmt: skip
    places = np.arange(len(measured.epochs))
    figures.curves(steps, places, {"small steps": 100 * measured.small.T})
    figures.band(steps, places[:-1], 100 * measured.whole.T, "s--", figures.RED, "as long as training's")
    steps.axhline(50, color="black", linewidth=0.8, linestyle=":", label="half of them")
    steps.set_xticks(places, [str(epoch) for epoch in measured.epochs])
    figures.name_axes(
        steps, "after epoch", "steps that lower the cost of all, %", f"batches of {LESSON}", ylim=(0, 105)
    )
    figure.legend(*steps.get_legend_handles_labels(), loc="outside lower right", fontsize="small")
    return figure


def _way(subject: Subject) -> list[Params]:
    """The first networks after each epoch of WAY, trained by default, and in the end the subject's own."""
    count = min(MEMBERS, subject.members)
    initial, final = (jax.tree.map(lambda leaf: leaf[:count], part) for part in (subject.initial, subject.networks))
    kept, size = [initial], min(LESSON, len(subject.dataset.train))

    def after_epoch(state: TrainState, metrics: EpochMetrics) -> bool:
        if metrics.epoch in WAY:
            kept.append(jax.device_get(state.params))
        return metrics.epoch == WAY[-1]

    try:
        fit_population(
            initial,
            subject.dataset,
            subject.model,
            epochs=EPOCHS,
            batch_size=size,
            mesh=mesh_for(count),
            callback=after_epoch,
        )
    except DivergenceError as error:
        raise SubjectError(f"this experiment trains networks by default, and these diverge: {error}") from None
    return [*kept, final]


@jax.jit
def _full_gradients(
    networks: Params, inputs: Array, targets: Array, model: Model
) -> tuple[Float[Array, "networks parameters"], Float[Array, " networks"]]:
    """The gradient over all examples, flat, and the noise scale. A few networks at a time: all would fill memory."""

    def of_one(params: Params) -> tuple[Array, Array]:
        gradient = ravel_pytree(backprop(params, inputs, targets, model))[0]
        # Not an estimate for more examples than these, as `noise_scale` makes: batches are drawn from these alone.
        return gradient, jnp.mean(squared_norms(params, inputs, targets, model)) / jnp.sum(gradient**2) - 1

    return jax.lax.map(of_one, networks, batch_size=4)


@jax.jit
def _products(
    networks: Params, full: Array, inputs: Array, targets: Array, rows: Array, model: Model
) -> tuple[Float[Array, "draws networks groups"], Float[Array, "draws networks groups groups"]]:
    """Inner products of the mean gradients of groups of examples, with the full gradient and with one another."""
    of_groups = jax.vmap(lambda params, x, y: ravel_pytree(backprop(params, x, y, model))[0], (None, 0, 0))

    def of_draw(rows: Array) -> tuple[Array, Array]:
        x, y = inputs[rows], targets[rows]

        def of_one(network: tuple[Params, Array]) -> tuple[Array, Array]:
            groups = of_groups(network[0], x, y)
            return groups @ network[1], groups @ groups.T

        return jax.lax.map(of_one, (networks, full))

    return jax.lax.map(of_draw, rows)


@jax.jit
def _changes(
    networks: Params, rates: Array, inputs: Array, targets: Array, rows: Array, model: Model
) -> Float[Array, "networks steps"]:
    """By what one step along each mini-batch's negative gradient changes the cost of all examples."""

    def costs(params: Params) -> Array:
        return model.cost.value(feedforward(params, inputs, model), targets)

    def of_one(network: tuple[Params, Array]) -> Array:
        params, rate = network
        before = costs(params)

        def step(batch: Array) -> Array:
            gradient = backprop(params, inputs[batch], targets[batch], model)
            return jnp.mean(costs(jax.tree.map(lambda p, g: p - rate * g, params, gradient)) - before)

        return jax.lax.map(step, rows, batch_size=4)

    return jax.lax.map(of_one, (networks, rates))


def _cosines_of_batches(
    along: Float[np.ndarray, "draws networks groups"],
    products: Float[np.ndarray, "draws networks groups groups"],
    multiple: int,
) -> Float[np.ndarray, "draws networks batches"]:
    """Cosines, times the full gradient's length, of batches of `multiple` successive groups; 0 for a gradient of 0."""
    batches = along.shape[2] // multiple
    blocks = products.reshape(*along.shape[:2], batches, multiple, batches, multiple).sum(axis=(3, 5))
    squares = np.diagonal(blocks, axis1=2, axis2=3)
    sums = along.reshape(*along.shape[:2], batches, multiple).sum(axis=3)
    return np.where(squares > 0, sums / np.sqrt(np.where(squares > 0, squares, 1)), 0)


def _degrees(cosines: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))  # rounding may take a cosine above 1


def _listed(parts: Iterable[object]) -> str:
    *most, last = map(str, parts)
    return f"{', '.join(most)} and {last}" if most else last


def _two_digits(number: float | np.floating) -> str:
    return f"{float(f'{number:.2g}'):,g}"
