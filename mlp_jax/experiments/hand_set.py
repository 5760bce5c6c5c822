"""Weights set by hand pick up an edge, and a bias of -10 keeps the neuron quiet.

A neuron whose weights are positive in a bar and negative around it has the largest weighted sum if the bar is bright
and its surroundings are dark. With -10 for a bias it lights up only if the weighted sum is above 10.

Source: lesson 1, minutes 8 to 11.
Holds if:
- it picks up the edge: of the pictures drawn for it, the edge has the largest weighted sum and lights the neuron, and
  no
  picture without an edge there lights it.
- the bias keeps it quiet: with the bias at most half as many test images light it, but not none.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.experiments.subject import Finding, SubjectError, batch_of, check_classes
from mlp_jax.network import Layer, Model, Params, forward_pass

SIDE = 28
DOWN, ACROSS = 8.0, 13.0  # the middle of the bar, in pixels: the upper stroke of a 7 lies there
BIAS = -10.0
PERCENTILES = (5, 25, 50, 75, 95)
NO_EDGE_THERE = ("turned", "moved down 3", "all ink", "blank")
SHOWN = 8
Each = Float[np.ndarray, " n"]  # a number for each of n edges


class Measurement(NamedTuple):
    """How the neuron responds to pictures drawn for it, and to the test digits. Weighted sums are without the bias."""

    weights: Float[np.ndarray, "28 28"]
    bias: float
    drawn: tuple[str, ...]  # what each picture drawn for it is
    drawn_images: Float[np.ndarray, "pictures 28 28"]  # from 0 to 1
    drawn_sums: Float[np.ndarray, " pictures"]
    drawn_lit: Bool[np.ndarray, " pictures"]  # whether the neuron, with its bias, is more on than off
    classes: tuple[int, ...]  # the digits there are
    sums: Float[np.ndarray, "classes 5"]  # PERCENTILES of the weighted sums of each
    lit: Float[np.ndarray, " classes"]  # the share of each digit's test images that the neuron is more on than off for
    lit_without: Float[np.ndarray, " classes"]  # the same without the bias
    all_lit: float  # these two of all test images
    all_lit_without: float
    brightest: Num[np.ndarray, "shown 28 28"]  # the test images with the largest weighted sums
    brightest_labels: tuple[int, ...]
    brightest_sums: Float[np.ndarray, " shown"]


def edges(shape: tuple[int, int], down: Each, across: Each, angle: Each, size: Each) -> Float[np.ndarray, "n _ _"]:
    """Weights of this shape that pick up edges: 1 in a bar, -1 in a rim around it, 0 elsewhere.

    down, across: the middle of the bar, in pixels. angle: of the bar, in radians; 0 lies flat.
    size: 1 for a bar of 11 by 3 pixels in a rim of 2.
    """
    rows, columns = np.indices(shape)
    y, x = (grid - middle[:, None, None] for grid, middle in ((rows, down), (columns, across)))
    cosine, sine, size = (number[:, None, None] for number in (np.cos(angle), np.sin(angle), size))
    along, beside = np.abs(x * cosine + y * sine), np.abs(y * cosine - x * sine)
    bar = (along <= 5.5 * size) & (beside <= 1.5 * size)
    with_rim = (along <= 7.5 * size) & (beside <= 3.5 * size)
    return 2.0 * bar - (with_rim | bar)


def check_pictures(dataset: Dataset) -> None:
    """Raises SubjectError for data that are no classes of pictures of the size that weights were set by hand for."""
    check_classes(dataset)
    if dataset.image_shape != (SIDE, SIDE, 1):
        raise SubjectError(
            f"weights set by hand need images of {SIDE} x {SIDE} pixels and one channel: the data have "
            f"{dataset.image_shape or dataset.n_in}"
        )


def measure(dataset: Dataset) -> Measurement:
    """Make the neuron, and show it pictures drawn for it and the test images."""
    check_pictures(dataset)
    weights = _edge()
    neuron = (Layer(jnp.asarray(weights.reshape(1, -1), jnp.float32), jnp.array([BIAS], jnp.float32)),)
    pictures = {
        "the edge": weights > 0,
        "turned": _edge(angle=np.pi / 2) > 0,
        "moved down 3": _edge(down=DOWN + 3) > 0,
        "twice as thick": (weights > 0) | (_edge(down=DOWN + 3) > 0),
        "all ink": np.ones((SIDE, SIDE)),
        "blank": np.zeros((SIDE, SIDE)),
    }
    drawn = np.stack([np.asarray(image, np.float32) for image in pictures.values()])
    drawn_sums, drawn_lit = _shown_to(neuron, drawn.reshape(len(drawn), -1))
    labels = dataset.test.targets
    sums, lit = _shown_to(neuron, batch_of(dataset.test, neuron)[0])
    without = sums > 0
    of_class = {number: labels == number for number in np.unique(labels).tolist()}
    brightest = np.argsort(-sums, kind="stable")[:SHOWN]
    return Measurement(
        weights,
        BIAS,
        tuple(pictures),
        drawn,
        drawn_sums,
        drawn_lit,
        tuple(of_class),
        np.stack([np.percentile(sums[rows], PERCENTILES) for rows in of_class.values()]),
        np.array([lit[rows].mean() for rows in of_class.values()]),
        np.array([without[rows].mean() for rows in of_class.values()]),
        float(lit.mean()),
        float(without.mean()),
        dataset.test.inputs[brightest].reshape(-1, SIDE, SIDE),
        tuple(labels[brightest].tolist()),
        sums[brightest],
    )


def judge(measured: Measurement) -> Finding:
    """Twice as thick it is still an edge, and may light the neuron."""
    lit = [name for name, bright in zip(measured.drawn, measured.drawn_lit, strict=True) if bright]
    lit_ones = f"{' and '.join(map(repr, lit))} light" if lit else "none lights"
    edge = measured.drawn_lit[0] and measured.drawn_sums[0] == measured.drawn_sums.max()
    most = int(measured.lit.argmax())
    return Finding(
        f"Of {len(measured.drawn)} drawn pictures {lit_ones} the neuron, and of the test images "
        f"{measured.all_lit:.1%} do.",
        {
            "it picks up the edge": bool(edge and not set(lit) & set(NO_EDGE_THERE)),
            "the bias keeps it quiet": bool(0 < measured.all_lit <= measured.all_lit_without / 2),
        },
        {
            "test images that light it without the bias": f"{measured.all_lit_without:.1%}",
            "test images that light it with the bias": f"{measured.all_lit:.1%}",
            f"of the class {measured.classes[most]}, the most": f"{measured.lit[most]:.1%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The neuron, the pictures drawn for it, its weighted sums over the digits, and which of them light it."""
    figure, (drawn, digits, brightest) = figures.strips(1.5, 3.2, 1.3)
    panels = drawn.subplots(1, 1 + len(measured.drawn))
    drawn.suptitle("its weights (orange -1, blue 1), and the weighted sums of pictures drawn for it", fontsize="medium")
    figures.picture(panels[0], measured.weights, "weights", limit=1.0)
    shown = zip(panels[1:], measured.drawn_images, measured.drawn, measured.drawn_sums, strict=True)
    for panel, image, name, total in shown:
        figures.picture(panel, image, f"{name}: {total:+.0f}")
        panel.images[0].set_clim(0, 1)
    sums, lit = digits.subplots(1, 2)
    rows = np.arange(len(measured.classes))
    ticks = {"xticks": rows, "xticklabels": measured.classes}
    low, lower, middle, upper, high = measured.sums.T
    sums.vlines(rows, low, high, color=figures.BLUE, linewidth=1)
    sums.vlines(rows, lower, upper, color=figures.BLUE, linewidth=6, alpha=0.5)
    sums.plot(rows, middle, "o", color=figures.BLUE, markersize=4)
    sums.axhline(0, color=figures.BLACK, linewidth=0.8)
    sums.axhline(-measured.bias, color=figures.RED, linestyle="--")
    figures.name_axes(sums, "digit", "weighted sum, without the bias", "above the dashed line it lights up", **ticks)
    lit.bar(rows - 0.2, 100 * measured.lit_without, 0.4, color=figures.SKY, label="no bias")
    lit.bar(rows + 0.2, 100 * measured.lit, 0.4, color=figures.RED, label=f"bias {measured.bias:g}")
    lit.margins(y=0.25)
    figures.name_axes(lit, "digit", "share of its test images, %", "which digits light it", **ticks)
    lit.legend(fontsize="small", ncols=2, loc="upper center")
    labels = zip(measured.brightest_labels, measured.brightest_sums, strict=True)
    captions = [f"{label}: {total:+.1f}" for label, total in labels]
    figures.gallery(brightest, measured.brightest, captions, title="the test images with the largest weighted sums")
    return figure


def _edge(down: float = DOWN, angle: float = 0.0) -> Float[np.ndarray, "28 28"]:
    return edges((SIDE, SIDE), *(np.array([number]) for number in (down, ACROSS, angle, 1.0)))[0]


def _shown_to(
    neuron: Params, images: Float[ArrayLike, "n 784"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The weighted sums of a layer of one neuron, without its bias, and whether the neuron is more on than off."""
    (z,), (_, a) = forward_pass(neuron, images, Model())
    return np.asarray(z[:, 0]) - BIAS, np.asarray(a[:, 0]) > 0.5
