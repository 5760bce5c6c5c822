"""Every example wants other changes; their average is better for all, and does not make every image a 2.

A table as the lesson draws it: a row for each weight, a column for each example, and the average at the end. That the
average is the negative gradient of the average cost is an identity; the lesson says "loosely speaking" and "at least
something proportional" because it has not been precise about sizes. How much examples differ it does not say: it is
measured. What can fail is whether a step along the average is better for each ("a better performance on all of those
samples", says lesson 2), and whether it ends otherwise than one example alone, which makes every image a 2
(`one-example`, with as many steps).

Source: lesson 3, minutes 8 to 9; lesson 2, minute 9.
Holds if:
- better on all samples: in untrained networks a small step along the average lowers the cost of nine of ten examples.
- better on all samples to the end: the same in trained networks.
- not all a 2: after 300 steps along the average, an untrained network calls no digit for more than twice as many
  test images as there are of it.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.backward import backprop, deltas_and_activations
from mlp_jax.experiments.subject import (
    MUCH_MORE,
    NEARLY_ALL,
    Finding,
    Subject,
    batch_of,
    both_times,
    check_classes,
    outputs_of_all,
)
from mlp_jax.gradients import per_example
from mlp_jax.network import Model, Params, feedforward
from mlp_jax.training import LEARNING_RATE

EXAMPLES = 500
COLUMNS = 7  # examples in the table, each of another class
SMALL = 0.001  # the share of the average cost that a step is meant to take away
STEPS = (0, 1, 3, 10, 30, 100, 300)  # along the average
WHEN = ("untrained networks", "trained networks")


class Measurement(NamedTuple):
    """How the changes that training examples want compare with their average, and what steps along it do."""

    examples: int
    rows: tuple[str, ...]  # names of weights and biases
    pictures: Float[np.ndarray, "columns height width"]
    labels: tuple[int, ...]  # of the pictures
    table: Float[np.ndarray, "rows columns"]  # wanted changes in the first untrained network
    average: Float[np.ndarray, " rows"]  # over all examples
    lengths: Float[np.ndarray, "when members"]  # the mean length of an example's changes, over that of their average
    agreeing: Float[np.ndarray, "when members"]  # the share of single changes with the average's sign, 0 to 1
    cosines: Float[np.ndarray, "when members examples"]  # between each example's changes and the average
    improved: Float[
        np.ndarray, "when members"
    ]  # the share of examples whose cost a small step along the average lowers
    steps: tuple[int, ...]
    called: Float[np.ndarray, "members steps"]  # of untrained networks: the share of test images of the favourite digit
    correct: Float[np.ndarray, "members steps"]
    crowded: Float[
        np.ndarray, " members"
    ]  # in the end: how often the most overdone digit is called, over how often it is


def measure(subject: Subject) -> Measurement:
    """Take the changes that each of the first training examples wants, and their average; then step along it.

    Raises SubjectError unless the inputs are images of one channel, and the targets classes.
    """
    check_classes(subject.dataset)
    train, test, networks, model = subject.dataset.train, subject.dataset.test, subject.initial, subject.model
    examples = train.rows(slice(EXAMPLES))
    inputs, targets = batch_of(examples, networks)
    lengths, agreeing, cosines, improved = (
        np.reshape(number, (2, subject.members, *number.shape[1:]))
        for number in _compared(both_times(subject), inputs, targets, model)
    )
    chosen = np.sort(np.unique(np.asarray(examples.targets), return_index=True)[1])[:COLUMNS]
    table, names = _table(jax.tree.map(lambda leaf: leaf[0], networks), inputs, targets, model)
    wanted = np.bincount(np.asarray(test.targets), minlength=subject.sizes[-1])
    called, correct, crowded = [], [], np.zeros(subject.members)
    test_inputs, _ = batch_of(test, networks)
    for start, end in pairwise((0, *STEPS)):
        networks = _trained_on(networks, inputs, targets, end - start, model)
        answers = np.argmax(outputs_of_all(networks, test_inputs, model), axis=2)
        counts = np.stack([np.bincount(row, minlength=len(wanted)) for row in answers])
        called.append(counts.max(axis=1) / len(test))
        correct.append(np.mean(answers == np.asarray(test.targets), axis=1))
        crowded = np.max(counts / np.maximum(wanted, 1), axis=1)
    return Measurement(
        len(inputs),
        names,
        subject.images_as(np.asarray(inputs[chosen])),
        tuple(np.asarray(examples.targets)[chosen].tolist()),
        table[:, chosen],
        table.mean(axis=1),
        lengths,
        agreeing,
        cosines,
        improved,
        STEPS,
        np.stack(called, axis=1),
        np.stack(correct, axis=1),
        crowded,
    )


def judge(measured: Measurement) -> Finding:
    """Compare medians over the networks with the criteria, in untrained networks and in trained ones."""
    lengths, agreeing, improved = (
        np.median(numbers, axis=1) for numbers in (measured.lengths, measured.agreeing, measured.improved)
    )
    crowded, correct = np.median(measured.crowded), np.median(measured.correct[:, -1])
    return Finding(
        f"A small step along the average lowers the cost of {improved[0]:.0%} of the examples before training, and "
        f"of {improved[1]:.0%} after it.",
        {
            "better on all samples": bool(improved[0] >= NEARLY_ALL),
            "better on all samples to the end": bool(improved[1] >= NEARLY_ALL),
            "not all a 2": bool(crowded <= MUCH_MORE),
        },
        {
            "length of one example's changes over their average's": f"{lengths[0]:.1f} before, {lengths[1]:.0f} after",
            "single changes that have the average's sign": f"{agreeing[0]:.0%} before, {agreeing[1]:.0%} after",
            f"after {measured.steps[-1]} steps: a digit is called more than it occurs": f"{crowded:.1f} times, at most",
            f"test accuracy after {measured.steps[-1]} steps": f"{correct:.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The lesson's table with numbers in its cells, how examples agree with it, and what steps along it do."""
    figure, (cells, agreement, ends) = figures.strips(4.2, 2.6, 2.6)
    panel, columns = cells.subplots(), len(measured.labels) + 1
    table = np.column_stack([measured.table, measured.average])
    figures.signed_cells(panel, table, np.abs(table).max(axis=1, keepdims=True), written="+.3f")
    panel.axvline(columns - 1.5, color="white", linewidth=4)
    panel.set(xticks=[columns - 1], xticklabels=[f"average\nof {measured.examples:,}"])
    panel.set_yticks(range(len(measured.rows)), measured.rows, fontsize="x-small")
    for column, (pixels, label) in enumerate(zip(measured.pictures, measured.labels, strict=True)):
        figures.picture(panel.inset_axes((column / columns, 1.01, 1 / columns, 0.2)), pixels, f"a {label}")
    cells.suptitle("wanted changes in an untrained network: blue up, orange down", fontsize="medium")
    cosines, improved = agreement.subplots(1, 2)
    edges = np.linspace(-1, 1, 41)
    shares = [np.histogram(numbers, edges)[0] / numbers.size for numbers in measured.cosines]
    figures.histograms(cosines, edges, dict(zip(WHEN, shares, strict=True)))
    figures.name_axes(cosines, "cosine of one example's changes\nand the average", "share of examples, %")
    for number, numbers in enumerate((measured.agreeing, measured.improved)):
        for when, colour in enumerate(figures.COLOURS[:2]):
            places = np.full(numbers.shape[1], number + 0.3 * when - 0.15)
            label = WHEN[when] if number == 0 else ""
            improved.plot(places, 100 * numbers[when], "os"[when], color=colour, label=label, alpha=0.7, markersize=5)
    improved.set_xticks([0, 1], ["have the sign\nof the average", "cost less after\na step along it"], fontsize="small")
    figures.name_axes(improved, "", "share, %", "single changes, and examples", xlim=(-0.5, 1.5), ylim=(0, 103))
    improved.legend(fontsize="x-small", loc="lower left")
    called, correct = ends.subplots(1, 2)
    for panel, numbers, name in (
        (called, measured.called, "called the favourite digit"),
        (correct, measured.correct, "right"),
    ):
        figures.band(panel, measured.steps, 100 * numbers, "o-", figures.BLACK, name)
        panel.set_xscale("symlog", linthresh=1)
        panel.set(xticks=(0, 1, 10, 100), xticklabels=("0", "1", "10", "100"))
        figures.name_axes(panel, "steps along the average", f"{name}, %", ylim=(-3, 103))
    return figure


def _table(
    params: Params, inputs: Array, targets: Array, model: Model
) -> tuple[Float[np.ndarray, "rows examples"], tuple[str, ...]]:
    """The changes that each example wants of some parameters, and their names.

    Of each layer: the weights of two neurons whose changes are largest, in the mean square, and the first one's bias.
    """
    deltas, activations = jax.device_get(deltas_and_activations(params, inputs, targets, model))
    rows, names = [], []
    for layer, (delta, a) in enumerate(zip(deltas, activations, strict=True)):
        squares = np.square(delta).T @ np.square(a)
        neurons = np.argsort(-squares.max(axis=1), kind="stable")[:2]
        for j in neurons:
            k = int(np.argmax(squares[j]))
            rows.append(-delta[:, j] * a[:, k])
            names.append(f"params[{layer}].weights[{j}, {k}]")
        rows.append(-delta[:, neurons[0]])
        names.append(f"params[{layer}].biases[{neurons[0]}]")
    return np.stack(rows), tuple(names)


@jax.jit
def _compared(networks: Params, inputs: Array, targets: Array, model: Model) -> tuple[Array, ...]:
    """The fields `lengths` to `improved` of Measurement, for each network."""
    costs = model.cost.of(model.output).value

    def of_one(params: Params) -> tuple[Array, ...]:
        single = jax.vmap(lambda tree: ravel_pytree(tree)[0])(per_example.gradients(params, inputs, targets, model))
        average, unravel = ravel_pytree(backprop(params, inputs, targets, model))
        lengths, length = jnp.linalg.norm(single, axis=1), jnp.linalg.norm(average)
        before = costs(feedforward(params, inputs, model), targets)
        rate = SMALL * jnp.mean(before) / length**2
        stepped = jax.tree.map(lambda p, g: p - rate * g, params, unravel(average))
        after = costs(feedforward(stepped, inputs, model), targets)
        return (
            jnp.mean(lengths) / length,
            jnp.mean(single * average > 0, where=single != 0),
            single @ average / (jnp.where(lengths > 0, lengths, jnp.inf) * length),
            jnp.mean(after < before),
        )

    return jax.lax.map(of_one, networks)


@jax.jit
def _trained_on(networks: Params, inputs: Array, targets: Array, steps: ArrayLike, model: Model) -> Params:
    """The networks after `steps` steps along the average over the examples."""

    def step(params: Params) -> Params:
        gradient = backprop(params, inputs, targets, model)
        return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradient)

    return jax.lax.fori_loop(0, steps, lambda _, networks: jax.vmap(step)(networks), networks)
