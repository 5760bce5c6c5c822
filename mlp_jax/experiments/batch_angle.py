"""A mini-batch gives a good approximation of the gradient.

The gradient over a mini-batch, of 100 examples say, has nearly the direction of that over all training examples.

Source: lesson 3.
Refuted if: the median angle between the two is above 45 degrees at 100 examples. From there on the direction depends
more on which examples were drawn than on all of them.

The gradient over B examples has a squared length of |G|^2 (1 + B_noise / B) on average, G being the full gradient. Its
noise is nearly perpendicular to G, so the expected cosine is 1 / sqrt(1 + B_noise / B) (McCandlish et al. 2018,
https://arxiv.org/abs/1812.06162).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop
from mlp_jax.experiments.subject import Finding, Subject, SubjectError, batch_of, both_times
from mlp_jax.gradients.per_example import squared_norms
from mlp_jax.network import Model, Params

IMAGES = 60_000
MULTIPLES = (1, 2, 5, 10, 20, 50, 100)
DRAWS = {1: 6, 100: 3}
"""From groups of so many examples, of which MULTIPLES make a batch, 100 are drawn so often: 3 batches of 10,000."""
BATCH_SIZES = tuple(sorted({group * multiple for group in DRAWS for multiple in MULTIPLES}))
LESSON = 100
NEAR = np.cos(np.pi / 4)
PERCENTILES = (10, 50, 90)
WHEN = ("at the start", "after training")


class Measurement(NamedTuple):
    """Cosines between gradients over mini-batches and that over all examples, at the start and after training."""

    examples: int  # how many all are
    batch_sizes: tuple[int, ...]
    cosines: Float[np.ndarray, "when members sizes percentiles"]  # PERCENTILES over the draws, -1 to 1
    expected: Float[np.ndarray, "when members sizes"]  # the cosine that the noise scale predicts
    noise_scales: Float[np.ndarray, "when members"]  # the variance of the examples' gradients over |G|^2, in examples


def measure(subject: Subject) -> Measurement:
    """Draw batches, with replacement, and compare the gradient over each with that over all training examples.

    Raises SubjectError for a network whose gradient is 0 or not finite, and so has no direction.
    """
    networks = both_times(subject)
    inputs, targets = batch_of(subject.dataset.train.rows(slice(IMAGES)), networks)
    full, scales = _full_gradients(networks, inputs, targets, subject.model)
    length = np.linalg.norm(full, axis=1)
    if not np.all((length > 0) & np.isfinite(length)):
        raise SubjectError(
            f"this experiment needs gradients with a direction: their lengths, of the networks at the start and "
            f"after training, are {', '.join(f'{number:.3g}' for number in length)}"
        )
    draw, percentiles = np.random.default_rng(0), {}
    for group, draws in DRAWS.items():
        rows = draw.integers(len(inputs), size=(draws, MULTIPLES[-1], group))
        along, products = jax.device_get(_products(networks, full, inputs, targets, rows, subject.model))
        for multiple in MULTIPLES:
            cosines = _cosines_of_batches(along, products, multiple) / length[:, None]
            percentiles[group * multiple] = np.percentile(cosines, PERCENTILES, axis=(0, 2)).T
    scales = np.reshape(scales, (2, subject.members))
    return Measurement(
        len(inputs),
        BATCH_SIZES,
        np.stack([percentiles[size] for size in BATCH_SIZES], axis=1).reshape(*scales.shape, -1, len(PERCENTILES)),
        1 / np.sqrt(1 + scales[..., None] / np.array(BATCH_SIZES)),
        scales,
    )


def judge(measured: Measurement) -> Finding:
    """The claim holds if batches of 100 are within 45 degrees in the median, at the start and after training."""
    at_100 = np.median(measured.cosines[:, :, measured.batch_sizes.index(LESSON), 1], axis=1)
    (start, after), (few, many) = np.degrees(np.arccos(at_100)), np.median(measured.noise_scales, axis=1)
    worst = np.max(np.abs(measured.cosines[..., 1] - measured.expected))
    return Finding(
        f"a batch of {LESSON} is {start:.0f} degrees off the gradient over {measured.examples:,} examples at the start "
        f"(cosine {at_100[0]:.2f}) and {after:.0f} after training ({at_100[1]:.2f}), for the noise scale has gone from "
        f"{_two_digits(few)} examples to {_two_digits(many)} (medians of {measured.cosines.shape[1]} networks); it "
        f"predicts each median cosine to {worst:.2f}",
        bool(np.all(at_100 >= NEAR)),
    )


def draw(measured: Measurement) -> Figure:
    """Cosines against batch size, with what the noise scale predicts; the middle one of the networks."""
    figure, ((panel,),) = figures.page(height=3.8)
    cosines, expected = np.median(measured.cosines, axis=1), np.median(measured.expected, axis=1)
    for number, colour in enumerate((figures.BLUE, figures.RED)):
        label = f"{WHEN[number]}: median, 10 to 90 %"
        figures.band(panel, measured.batch_sizes, cosines[number].T, "os"[number], colour, label)
        label = f"expected for a noise scale of {_two_digits(np.median(measured.noise_scales[number]))}"
        panel.plot(measured.batch_sizes, expected[number], "-", color=colour, label=label)
    panel.axhline(NEAR, color=figures.BLACK, linewidth=0.8, linestyle=":")
    panel.text(measured.batch_sizes[-1], NEAR, "45 degrees", fontsize="small", va="bottom", ha="right")
    limits = min(0, float(cosines.min())) - 0.05, 1.05
    figures.name_axes(panel, "batch size, examples", "cosine with the full gradient", xscale="log", ylim=limits)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


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


def _cosines_of_batches(
    along: Float[np.ndarray, "draws networks groups"],
    products: Float[np.ndarray, "draws networks groups groups"],
    multiple: int,
) -> Float[np.ndarray, "draws networks batches"]:
    """Cosines, times the full gradient's length, of batches of so many successive groups; 0 for a gradient of 0."""
    batches = along.shape[2] // multiple
    blocks = products.reshape(*along.shape[:2], batches, multiple, batches, multiple).sum(axis=(3, 5))
    squares = np.diagonal(blocks, axis1=2, axis2=3)
    sums = along.reshape(*along.shape[:2], batches, multiple).sum(axis=3)
    return np.where(squares > 0, sums / np.sqrt(np.where(squares > 0, squares, 1)), 0)


def _two_digits(number: float | np.floating) -> str:
    return f"{float(f'{number:.2g}'):,g}"
