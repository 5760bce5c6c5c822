"""Random parameters perform horribly, training improves that, and the cost says how confidently right an answer is.

The curves begin at epoch 0, before training. The lesson adds "hopefully" where it speaks of new images.

What an answer costs follows from the formula if all outputs are known: 0 if exactly the right one is on, 0.9 if all ten
are 0.1, 2.5 if all are 0.5, 2 if exactly a wrong one is on. So it costs more to be sure of a wrong digit than to answer
nothing. What trained networks answer is another question. There an answer counts as sure if the brightest output is at
least twice as bright as the second, else as unsure. A sure and right one may then cost nearly 0 or, if all outputs are
dim, nearly 1, and an unsure one 0.2 or more.

Source: lesson 2, minutes 1 to 4.
Holds if:
- horrible at random: before training the median network gets less than twice as many training images right as
  guessing does, and their mean cost is higher than if all outputs were one divided by their number.
- a mess at random: before training, for most training images none or more than one of the outputs is above one half.
- better on the training data: training more than halves their mean cost, and then nearly all are right.
- new images too: of the accuracy that training adds on the training images, it adds nearly all on the test images.
- small if confidently right: nearly all test images with a sure and right answer cost less than the average one.
- large if it does not know: the median test image with an unsure answer costs at least half as much as if all outputs
  were one divided by their number.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset, Examples
from mlp_jax.experiments.subject import (
    MOST,
    MUCH_MORE,
    NEARLY_ALL,
    SIZES,
    Finding,
    SubjectError,
    batch_of,
    check_classes,
    mesh_for,
    outputs_of_all,
)
from mlp_jax.network import Model, Params
from mlp_jax.training import EpochMetrics, TrainState, fit_population, init_population

SEEDS = (0, 1, 2, 3)
EPOCHS, BATCH = 30, 100
ON = 0.5  # an output above this one is a neuron that is more on than off
WATCHED = 100  # test images that training evaluates on after each epoch: few, for nobody looks at the result
RIGHT, UNSURE, WRONG = ANSWERS = ("sure and right", "unsure", "sure and wrong")


class Measurement(NamedTuple):
    """How networks learn, from before the first epoch on, and what answers of every kind cost in the end.

    shown: test images of the first network, with the median cost of each of ANSWERS; in front the first of them as it
        was answered before training.
    """

    cost: Float[np.ndarray, "2 epochs members"]  # mean of the training images, and of the test images
    accuracy: Float[np.ndarray, "2 epochs members"]  # 0 to 1
    guessing: float  # the accuracy of always answering the most frequent class
    mess: Float[np.ndarray, " members"]  # share of the training images for which not exactly one output is on at first
    share: Float[np.ndarray, "answers members"]  # of the test images, with an answer of each kind
    dear: Float[np.ndarray, "answers members"]  # of these, the share that costs more than the average test image
    typical: Float[np.ndarray, "answers members"]  # the median cost of each kind
    sorted_costs: tuple[Float[np.ndarray, " n"], ...]  # of the first network's test images of each kind
    shown: Num[np.ndarray, "4 height width"]
    shown_outputs: Float[np.ndarray, "4 outputs"]
    shown_labels: tuple[int, ...]


def measure(dataset: Dataset) -> Measurement:
    """Train the lessons' network, look at all examples before the first epoch and after each, and sort the answers.

    Raises SubjectError for inputs that are no images of one channel, or a first network without answers of a kind.
    """
    check_classes(dataset)
    if dataset.image_shape is None or dataset.image_shape[2] != 1:
        raise SubjectError(f"this experiment shows images of one channel: the data have {dataset.n_in} inputs")
    initial = init_population(SEEDS, (dataset.n_in, *SIZES[1:-1], dataset.n_out))
    parts = dataset.train, dataset.test
    seen = [[_cost_and_accuracy(initial, part) for part in parts]]

    def after_epoch(state: TrainState, _: EpochMetrics) -> None:
        seen.append([_cost_and_accuracy(state.params, part) for part in parts])

    state, _ = fit_population(
        initial,
        replace(dataset, test=dataset.test.rows(slice(WATCHED))),
        Model(),
        epochs=EPOCHS,
        batch_size=min(BATCH, len(dataset.train)),
        mesh=mesh_for(len(SEEDS)),
        callback=after_epoch,
    )
    cost, accuracy = np.array(seen).transpose(2, 1, 0, 3)
    mess = np.mean(np.sum(_outputs(initial, dataset.train) > ON, axis=2) != 1, axis=1)
    outputs = _outputs(state.params, dataset.test)
    costs, kinds = costs_of(outputs, dataset.test.targets), kinds_of(outputs, dataset.test.targets)
    first = [np.flatnonzero(kind[0]) for kind in kinds]
    if missing := [name for name, rows in zip(ANSWERS, first, strict=True) if not len(rows)]:
        raise SubjectError(f"this experiment needs answers of every kind: of the test images none is {missing[0]}")
    ranked = [rows[np.argsort(costs[0, rows], kind="stable")] for rows in first]
    shown = [rows[len(rows) // 2] for rows in ranked]
    shown = [shown[0], *shown]
    untrained = _outputs(initial, dataset.test.rows(shown[:1]))[0]
    of_kinds = np.where(kinds, costs, np.nan)  # (answers, members, images)
    above = np.where(kinds, costs > costs.mean(axis=1, keepdims=True), np.nan)
    return Measurement(
        cost,
        accuracy,
        float(np.bincount(dataset.train.targets).max() / len(dataset.train)),
        mess,
        kinds.mean(axis=2),
        np.nanmean(above, axis=2),
        np.nanmedian(of_kinds, axis=2),
        tuple(costs[0, rows] for rows in ranked),
        dataset.test.inputs[shown].reshape(4, *dataset.image_shape[:2]),
        np.concatenate([untrained, outputs[0, shown[1:]]]),
        tuple(dataset.test.targets[shown].tolist()),
    )


def judge(measured: Measurement) -> Finding:
    """Compare the median network before training and after, on training and on test images, and answers by kind."""
    (cost, _), (train, test) = (np.median(curve, axis=2) for curve in (measured.cost, measured.accuracy))
    right, unsure, wrong = np.median(measured.typical, axis=1)
    right_dear = np.median(measured.dear[0])
    mess, flat = np.median(measured.mess), 1 - 1 / measured.shown_outputs.shape[1]
    return Finding(
        f"Training takes the accuracy on training images from {train[0]:.0%} to {train[-1]:.1%}, and on test "
        f"images to {test[-1]:.1%}.",
        {
            "horrible at random": bool(train[0] < MUCH_MORE * measured.guessing and cost[0] > flat),
            "a mess at random": bool(mess > MOST),
            "better on the training data": bool(MUCH_MORE * cost[-1] < cost[0] and train[-1] >= NEARLY_ALL),
            "new images too": bool(test[-1] - test[0] >= NEARLY_ALL * (train[-1] - train[0]) > 0),
            "small if confidently right": bool(1 - right_dear >= NEARLY_ALL),
            "large if it does not know": bool(MUCH_MORE * unsure >= flat),
        },
        {
            "networks, epochs": f"{measured.cost.shape[2]}, {len(cost) - 1}",
            "mean cost before and after training": f"{cost[0]:.2f}, {cost[-1]:.3f}",
            "before training, images without exactly one output on": f"{mess:.0%}",
            "median cost of a sure and right answer": f"{right:.4f}",
            "median cost of an unsure answer": f"{unsure:.2f}",
            "median cost of a sure and wrong answer": f"{wrong:.2f}",
            "sure and right answers that cost more than the average": f"{right_dear:.0%}",
            f"cost of not knowing, all outputs {1 - flat:.2g}": f"{flat:.2g}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """Cost and accuracy from epoch 0 on; four answers with their costs; and what all answers of each kind cost."""
    figure, (top, middle, bottom) = figures.strips(3.0, 2.9, 3.0)
    cost, accuracy = top.subplots(1, 2)
    epochs = np.arange(measured.cost.shape[1])
    parts = ("training images", figures.BLUE, "-"), ("test images", figures.RED, "--")
    for number, (name, colour, style) in enumerate(parts):
        figures.band(cost, epochs, measured.cost[number].T, style, colour, name)
        figures.band(accuracy, epochs, 100 * measured.accuracy[number].T, style, colour, name)
    figures.name_axes(cost, "epoch; 0 is before training", "mean cost", yscale="log")
    figures.name_axes(accuracy, "epoch; 0 is before training", "accuracy, %", ylim=(0, 100))
    accuracy.legend(fontsize="small", loc="lower right")
    panels = middle.subplots(2, 4, height_ratios=(1.2, 1))
    middle.suptitle("four answers of the first network: outputs, and what the answer costs", fontsize="medium")
    shown = ("before training", *ANSWERS)
    y = np.eye(measured.shown_outputs.shape[1])[list(measured.shown_labels)]
    for number, (image, outputs, name) in enumerate(zip(measured.shown, measured.shown_outputs, shown, strict=True)):
        figures.picture(panels[0, number], image, f"{name}: {np.sum((outputs - y[number]) ** 2):.3f}")
        colours = [figures.BLUE if wanted else "gray" for wanted in y[number]]
        panels[1, number].bar(range(len(outputs)), outputs, color=colours)
        panels[1, number].set(ylim=(0, 1), yticks=(0, 1), xticks=range(len(outputs)))
        panels[1, number].tick_params(labelsize="x-small")
    panels[1, 0].set_xlabel("outputs, the wanted one blue", fontsize="x-small")
    (ranks,) = [bottom.subplots(1, 1)]
    for name, costs, colour in zip(ANSWERS, measured.sorted_costs, figures.COLOURS, strict=False):
        ranks.plot(
            100 * (np.arange(len(costs)) + 0.5) / len(costs), costs, color=colour, label=f"{name} ({len(costs):,})"
        )
    n = measured.shown_outputs.shape[1]
    closed = {f"all outputs {1 / n:.2g}": 1 - 1 / n, "all outputs 0.5": n / 4, "one on, a wrong one": 2.0}
    for name, value in closed.items():
        ranks.axhline(value, color="gray", linestyle=":", linewidth=1)
        ranks.text(45, value, f"{name}: {value:g}", fontsize="x-small", va="bottom")
    title = "the first network's test images: what each answer costs"
    figures.name_axes(
        ranks, "rank among answers of its kind, %", "cost of one image", title, ylim=(0, 1.1 * max(closed.values()))
    )
    bottom.legend(*ranks.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def costs_of(
    outputs: Float[np.ndarray, "members n outputs"], targets: Num[np.ndarray, " n"]
) -> Float[np.ndarray, "members n"]:
    """The quadratic cost of each answer."""
    return np.sum((outputs - np.eye(outputs.shape[2], dtype=outputs.dtype)[targets]) ** 2, axis=2)


def kinds_of(
    outputs: Float[np.ndarray, "members n outputs"], targets: Num[np.ndarray, " n"]
) -> Bool[np.ndarray, "answers members n"]:
    """Which answers are of each of ANSWERS: sure if the brightest output is at least twice the second."""
    *_, second, brightest = np.moveaxis(np.sort(outputs, axis=2), 2, 0)
    sure, right = brightest >= MUCH_MORE * second, np.argmax(outputs, axis=2) == targets
    return np.stack([sure & right, ~sure, sure & ~right])


def _outputs(networks: Params, examples: Examples) -> Float[np.ndarray, "members n outputs"]:
    return np.asarray(outputs_of_all(networks, batch_of(examples, networks)[0], Model()))


def _cost_and_accuracy(networks: Params, examples: Examples) -> Float[np.ndarray, "2 members"]:
    outputs = _outputs(networks, examples)
    right = np.argmax(outputs, axis=2) == examples.targets
    return np.stack([costs_of(outputs, examples.targets).mean(axis=1), right.mean(axis=1)])
