"""What people look at first, one call each: a learning curve, a confusion matrix, weights as pictures, mistakes.

Each takes the results of training, and returns a Matplotlib figure. A notebook shows it if it is the last line
of a cell; `.savefig("curve.png")` writes it to a file. Its resolution is Matplotlib's `rcParams["figure.dpi"]`.
"""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from matplotlib import rcParams
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.network import Model, Params, as_inputs, feedforward
from mlp_jax.training import EpochMetrics, Evaluation

SCORES = {
    f"{part}_{score}": f"{part} {title}"
    for part in ("test", "validation")
    for score, title in (("accuracy", "accuracy, %"), ("r2", "R²"))
}


class ShownFigure(Figure):
    """A figure that a notebook shows although Pyplot knows nothing of it."""

    def __init__(self, height: float, width: float = figures.WIDTH) -> None:
        super().__init__(figsize=(width, height), dpi=rcParams["figure.dpi"], layout="constrained", facecolor="white")

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def learning_curve(run: str | Path | Iterable[EpochMetrics]) -> Figure:
    """The cost of training and test examples, and the test score, after each epoch.

    run: the directory of a run; or EpochMetrics, as `epochs` yields them and the callback of `fit` gets them. Those of
        a population become its median, in a band from the lowest to the highest member.

    Raises ValueError if no epoch is there, or for a sweep, whose members are runs of their own.

    >>> import jax
    >>> from mlp_jax import fit, init_params, load_dataset
    >>> kept, dataset = [], load_dataset("mnist").first(1000)
    >>> params = init_params(jax.random.key(0), (784, 16, 10))
    >>> state = fit(params, dataset, epochs=2, callback=lambda state, metrics: kept.append(metrics))
    >>> figure = learning_curve(kept)
    >>> [panel.get_ylabel() for panel in figure.axes]
    ['cost', 'test accuracy, %']
    """
    lines = _lines_of(Path(run)) if isinstance(run, str | Path) else [_line_of(metrics) for metrics in run]
    if not lines:
        raise ValueError(f"there is no epoch in {run}: train for one or more")
    name = next((name for name in SCORES if name in lines[0]), None)
    if name is None or "loss" not in lines[0]:
        raise ValueError(f"{run} has {', '.join(lines[0])} for each epoch: expected the metrics of one run")
    x = np.array([line["epoch"] for line in lines])
    part = name.partition("_")[0]
    loss, test_loss, score = (
        np.array([line[key] for line in lines], float).T.reshape(-1, len(lines))
        for key in ("loss", f"{part}_loss", name)
    )
    figure = ShownFigure(2.8)
    costs, scores = figure.subplots(1, 2)
    style = "" if len(lines) > 1 else "o"  # a line through one point is invisible
    for y, line, colour, label in (
        (loss, "-", figures.BLUE, "training, during the epoch"),
        (test_loss, "--", figures.RED, f"{part}, after it"),
    ):
        figures.band(costs, x, y, line + style, colour, label)
    costs.legend(fontsize="small")
    figures.name_axes(costs, "epoch", "cost", ylim=(0, None))
    percent = name.endswith("accuracy")
    figures.band(scores, x, score * (100 if percent else 1), "-" + style, figures.BLUE, SCORES[name])
    figures.name_axes(scores, "epoch", SCORES[name])
    for panel in (costs, scores):
        panel.xaxis.get_major_locator().set_params(integer=True)
    return figure


def confusion(found: Evaluation | Integer[np.ndarray, "n n"], class_names: Sequence[str] | None = None) -> Figure:
    """How often an example of each class (row) got each answer (column), as `evaluate` counts them.

    found: what `evaluate` returns; or a confusion matrix. class_names: of every class; numbers from 0 if not given.
    The shade is for mistakes: beside the diagonal they would all be pale.

    Raises ValueError if there is no confusion matrix, because the targets are numbers or there are many networks.

    >>> import jax
    >>> from mlp_jax import Model, evaluate, init_params, load_dataset
    >>> params, dataset = init_params(jax.random.key(0), (784, 16, 10)), load_dataset("mnist")
    >>> figure = confusion(evaluate(params, dataset.test, Model()), dataset.class_names)
    >>> figure.axes[0].get_ylabel()
    'what it is'
    """
    counts = found.confusion if isinstance(found, Evaluation) else found
    if counts is None:
        raise ValueError("there is no confusion matrix: the targets are numbers, or there are many networks")
    counts = np.asarray(counts)
    figure = ShownFigure(1.1 + 0.33 * len(counts), 1.6 + 0.4 * len(counts))
    panel = figure.subplots()
    figures.matrix(panel, counts)
    if class_names is not None:
        panel.set_xticklabels(class_names, rotation=90 if max(map(len, class_names)) > 3 else 0)
        panel.set_yticklabels(class_names)
    right = np.trace(counts) / max(counts.sum(), 1)
    title = f"{right:.2%} of {counts.sum():,} right"
    figures.name_axes(panel, "answer", "what it is", title, grid=False)
    return figure


def predicted_against_true(
    predicted: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"], name: str = "target"
) -> Figure:
    """A dot for each example: the number that was predicted over the true one. On the line they are equal.

    predicted, true: (n,). name: of the numbers, for the axes.

    >>> figure = predicted_against_true(np.array([1.0, 2.5]), np.array([1.0, 2.0]), "price")
    >>> figure.axes[0].get_ylabel()
    'price, predicted'
    """
    figure = ShownFigure(4.0, 4.4)
    panel = figure.subplots()
    ends = [min(predicted.min(), true.min()), max(predicted.max(), true.max())]
    panel.plot(ends, ends, color="grey", linewidth=1)
    panel.plot(true, predicted, ".", color=figures.BLUE, alpha=max(0.1, min(1.0, 300 / len(true))), markeredgewidth=0)
    figures.name_axes(panel, f"{name}, true", f"{name}, predicted")
    panel.set_aspect("equal")
    return figure


def weights(
    params: Params | Float[Any, "neurons n_in"], image_shape: Sequence[int] | None = None, *, columns: int = 8
) -> Figure:
    """What each neuron of the second layer looks for: its weights, params[0], as a picture.

    Blue pixels raise the neuron's weighted sum, orange ones lower it, black ones do nothing; all pictures have the same
    scale.

    params: of a network; or the weights of one layer, as params[0].weights. image_shape: height and width of the
        inputs, as in `Dataset.image_shape`; if not given, they are square. columns: pictures in a row.

    Raises ValueError if the inputs are not an image of one channel.

    >>> import jax
    >>> from mlp_jax import init_params, load_dataset
    >>> params, dataset = init_params(jax.random.key(0), (784, 16, 10)), load_dataset("mnist")
    >>> figure = weights(params, dataset.image_shape)
    >>> len(figure.axes) == len(params[0].weights)
    True
    """
    rows = np.asarray(params[0].weights if isinstance(params, tuple) else params, np.float32)
    side = round(rows.shape[1] ** 0.5)
    height, width, *channels = (side, side) if image_shape is None else image_shape
    if height * width != rows.shape[1] or channels not in ([], [1]):
        shape = "" if image_shape is None else f" of image_shape {tuple(image_shape)}"
        raise ValueError(f"each neuron has {rows.shape[1]} weights{shape}: expected one for each pixel of an image")
    limit = float(np.percentile(np.abs(rows), 99)) or 1.0  # the largest few would leave the others black
    title = f"weights: orange {-limit:.2g} and below, black 0, blue {limit:.2g} and above"
    captions = [f"neuron {number}" for number in range(len(rows))]
    return _gallery(rows.reshape(-1, height, width), captions, title, columns, limit)


def mistakes(params: Params, dataset: Dataset, model: Model, *, count: int = 24, columns: int = 8) -> Figure:
    """Test images that a network gets wrong, the surest mistakes first: its answer, and what the image is.

    count: how many to show at most. columns: pictures in a row.

    Raises ValueError if the data are not images of one channel with classes, or if there is no mistake.

    >>> import jax
    >>> from mlp_jax import Model, init_params, load_dataset
    >>> params, dataset = init_params(jax.random.key(0), (784, 16, 10)), load_dataset("mnist")
    >>> figure = mistakes(params, dataset, Model(), count=3)
    >>> len(figure.axes)
    3
    """
    shape, test = dataset.image_shape, dataset.test
    if not dataset.has_classes or shape is None or shape[2] != 1:
        raise ValueError(f"image_shape is {shape}: expected images of one channel, each with a class")
    outputs = np.asarray(feedforward(params, as_inputs(test.inputs, params), model))
    answers, sure = outputs.argmax(axis=1), outputs.max(axis=1)
    wrong = np.flatnonzero(answers != test.targets)
    if not wrong.size:
        raise ValueError(f"the network is right about all {len(test)} test images: there is no mistake to show")
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    names = dataset.class_names or range(outputs.shape[1])
    captions = [f"{names[answers[row]]}, is {names[test.targets[row]]}" for row in shown]
    title = f"{len(wrong):,} of {len(test):,} test images are wrong; the surest mistakes: the answer, and what it is"
    return _gallery(np.asarray(test.inputs)[shown].reshape(-1, *shape[:2]), captions, title, columns)


def _gallery(
    images: np.ndarray, captions: Sequence[str], title: str, columns: int, limit: float | None = None
) -> Figure:
    columns = min(columns, len(images))
    figure = ShownFigure(figures.gallery_height(len(images), columns) if columns > 3 else 2.4)
    (strip,) = figure.subfigures(1, 1, squeeze=False).flat
    figures.gallery(strip, images, captions, columns=columns, limit=limit, title=title)
    for panel in figure.axes[len(images) :]:  # `gallery` fills the last row with empty ones
        panel.remove()
    return figure


def _lines_of(directory: Path) -> list[dict[str, Any]]:
    path = directory if directory.suffix == ".jsonl" else directory / "metrics.jsonl"
    if not path.is_file():
        raise ValueError(f"{directory} is no run: there is no {path.name} in it; mlp-jax train makes runs")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _line_of(metrics: EpochMetrics) -> dict[str, Any]:
    name = "test_accuracy" if metrics.rmse is None else "test_r2"
    return {**metrics._asdict(), name: metrics.score}
