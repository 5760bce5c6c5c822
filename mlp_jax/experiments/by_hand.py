"""A network set by hand could combine pixels into edges, edges into loops and lines, and these into digits.

The lesson only hopes for such layers, and calls setting all weights by hand "fun and kind of horrifying". The tables
below are one person's rules, drawn over the mean of each digit's training images. A dozen strokes, and the six numbers
that all neurons share, were chosen in about eighty looks at the accuracy on 10,000 training images; nothing was fitted.
The criteria were fixed before the test images were shown. What training finds instead is the business of `layer-three`.

Source: lesson 1, minutes 6 to 13.
Holds if:
- loops and lines: nearly all neurons of the third layer are more on than off for most test images of digits that have
  their loop or line, and more off than on for most of the others.
- digits: most test images are recognised, and each digit much more often than one in ten.
- sixteen neurons a layer: with only 16 edges, the same rules recognise much more than one in ten.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Num
from matplotlib.figure import Figure

from mlp_jax import figures
from mlp_jax.data import Dataset
from mlp_jax.experiments.hand_set import SIDE, check_pictures
from mlp_jax.experiments.subject import (
    MOST,
    MUCH_MORE,
    NEARLY_ALL,
    Finding,
    batch_of,
    check_digits,
    layer_name,
)
from mlp_jax.network import Layer, Model, Params, forward_pass, predict, sizes_of
from mlp_jax.training import evaluate

LOOPS = {  # the (row, column) of the top, the right, the bottom and the left
    "whole loop": ((6, 16), (13, 21), (22, 12), (14.5, 7)),
    "upper loop of 8": ((6, 16.5), (9, 20), (14, 14), (10, 11)),
    "lower loop of 8": ((14.5, 14.5), (18.5, 17.5), (22.5, 12.5), (19, 9.5)),
    "upper loop of 9": ((7.5, 15), (11, 18), (15.5, 12), (12, 8.5)),
    "lower loop of 6": ((13.5, 17), (16, 21), (20.5, 14), (17.5, 9.5)),
}
LINES = {  # from point to point
    "middle line": ((6, 16), (22, 13)),
    "right line": ((8, 18.5), (24, 14)),
    "long left line": ((4, 17), (10, 12), (17, 9.5)),
    "short left line": ((7, 10.5), (14, 8)),
    "slanted line": ((11, 18), (19, 9)),
    "roof": ((9, 7), (8.5, 18)),
    "cap": ((9, 9.5), (7, 14), (8, 19)),
    "bar": ((15, 7.5), (15, 17)),
    "base": ((20, 10), (18.5, 22)),
    "upper hook": ((9, 8.5), (6, 13), (8.5, 18), (12, 17)),
    "lower hook": ((15, 17.5), (18, 18.5), (21.5, 15), (22.5, 11), (21, 6)),
}
COMPONENTS = (*LOOPS, *LINES)
DIGITS = (  # what each has, and what tells it from others, because it has it not
    ("whole loop", "bar, middle line, right line"),
    (
        "middle line",
        "whole loop, upper loop of 9, lower loop of 6, roof, lower hook, upper hook, short left line, base, "
        "upper loop of 8, lower loop of 8",
    ),
    ("upper hook, slanted line, base", "short left line, long left line, lower hook"),
    ("upper hook, lower hook", "long left line, short left line, base, slanted line"),
    ("short left line, bar, right line", "cap, roof, base, lower hook, whole loop"),
    ("cap, lower hook", "right line, upper hook, long left line, whole loop"),
    ("long left line, lower loop of 6", "roof, right line, upper hook, whole loop"),
    ("roof, right line", "bar, base, lower hook, long left line"),
    ("upper loop of 8, lower loop of 8, slanted line", "roof, whole loop, base"),
    ("upper loop of 9, right line, cap", "base, long left line, lower hook, whole loop, slanted line"),
)
Edges = Float[np.ndarray, "n 3"]  # (row, column) of the middle and the angle in radians, 0 if it lies flat
EVERYWHERE: Edges = np.array(
    [(y, x, np.pi * turn / 6) for y in range(4, 25, 2) for x in range(4, 25, 2) for turn in range(6)]
)
SIXTEEN: Edges = np.array([
    (6, 13, -10), (8.5, 12, 0), (14.5, 12.5, 0), (22, 11, 0), (19, 16, -5), (10, 9.5, 110), (17.5, 9.5, 95),
    (9.5, 18.5, 100), (18, 18, 90), (19, 15, 110), (9, 15.5, 100), (18, 13.5, 100), (15, 14.5, 140), (7.5, 17, 15),
    (7, 14, 120), (14, 20.5, 95),
]) * [1, 1, np.pi / 180]  # fmt: skip
TURN = np.pi / 8  # an edge lies along a stroke if they differ by no more than this
SLACK = {7: 1.6, 11: 2.0}  # and by this many pixels, for each length of an edge


class Measurement(NamedTuple):
    """What the neurons of the network set by hand stand for, and what it and the smaller one recognise."""

    sizes: tuple[tuple[int, ...], tuple[int, ...]]  # neurons of each layer: edges everywhere, and sixteen
    pictures: Float[np.ndarray, "components 28 28"]  # the edges that each component adds up, by their weights
    edges: Int[np.ndarray, "16 28 28"]  # the signs of the weights of the smaller network's second layer
    activations: Float[np.ndarray, "components 10"]  # of the third layer, the mean over each digit's test images
    has: Int[np.ndarray, "components 10"]  # 1 where a digit has the component, by DIGITS
    lit_with: Float[np.ndarray, " components"]  # the share of test images that light it, of digits that have it
    lit_without: Float[np.ndarray, " components"]  # and of the others
    confusion: Int[np.ndarray, "10 10"]  # by label (rows) and answer (columns)
    right: Float[np.ndarray, "2 10"]  # the share of each digit's test images that each network recognises
    accuracy: Float[np.ndarray, " 2"]


def hand_set_network(edges: Edges = EVERYWHERE, length: int = 7) -> Params:
    """A network of edges, components and digits by the tables above. Edges that no component adds up are left out.

    An edge neuron lights up if a stroke lies there, a component if two fifths of the edges light up that it would light
    if it were drawn, and a digit if it has, by a quarter, more of what it should than of what it should not.
    """
    paths = [_path(name) for name in COMPONENTS]
    on = np.stack([_lies_along(edges, path, SLACK[length]) for path in paths])
    used = on.any(axis=0)
    first = 0.5 * strokes(edges[used], length).reshape(used.sum(), -1), np.full(used.sum(), -4.0)
    ink = np.stack([drawn(path).ravel() for path in paths])
    by_itself = on[:, used] / (1 + np.exp(-(ink @ first[0].T + first[1])))
    second = 6 * on[:, used] / by_itself.sum(axis=1, keepdims=True), np.full(len(paths), -6 * 0.4)
    has, has_not = np.moveaxis(np.array([[_parts(names) for names in both] for both in DIGITS]), 1, 0)
    votes = has / has.sum(axis=1, keepdims=True) - has_not / has_not.sum(axis=1, keepdims=True)
    third = 4 * votes, np.full(len(DIGITS), -1.0)
    return tuple(Layer(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in (first, second, third))


def strokes(edges: Edges, length: int) -> Float[np.ndarray, "n 28 28"]:
    """Weights that pick up a stroke: 1 in a bar 3 pixels wide, -1 in a rim beside it, with a pixel between them.

    They differ from `hand_set.edges` by that pixel, and by no rim at the ends: strokes may be thick, and go on.
    """
    y, x = (grid - middle[:, None, None] for grid, middle in zip(np.indices((SIDE, SIDE)), edges.T, strict=False))
    cosine, sine = (of(edges[:, 2])[:, None, None] for of in (np.cos, np.sin))
    along, beside = np.abs(x * cosine + y * sine), np.abs(y * cosine - x * sine)
    return (along <= length / 2) * (1.0 * (beside <= 1.25) - ((beside > 2.25) & (beside <= 3.25)))


def drawn(path: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "28 28"]:
    """The path as ink, 3 pixels wide, from 0 to 1."""
    pixels = np.indices((SIDE, SIDE)).reshape(2, -1).T
    return np.clip(2 - _distances(pixels, path)[0].min(axis=0), 0, 1).reshape(SIDE, SIDE)


def measure(dataset: Dataset) -> Measurement:
    """Show the test images to the network. Raises SubjectError unless they are pictures of all ten digits."""
    check_pictures(dataset)
    labels = dataset.test.targets
    check_digits(dataset)
    network, small = hand_set_network(), hand_set_network(SIXTEEN, length=11)
    inputs, _ = batch_of(dataset.test, network)
    lit = np.asarray(forward_pass(network, inputs, Model())[1][2])
    has = np.stack([_parts(of) for of, _ in DIGITS], axis=1)
    own = has[:, labels] == 1
    right = np.stack([np.asarray(predict(params, inputs, Model())) == labels for params in (network, small)])
    confusion = evaluate(network, dataset.test, Model()).confusion
    assert confusion is not None  # there are classes
    edges, components = (np.asarray(layer.weights) for layer in network[:2])
    return Measurement(
        (sizes_of(network), sizes_of(small)),
        (components @ edges).reshape(-1, SIDE, SIDE).round(2),
        np.sign(np.asarray(small[0].weights)).astype(int).reshape(-1, SIDE, SIDE),
        np.stack([lit[labels == digit].mean(axis=0) for digit in range(len(DIGITS))], axis=1),
        has,
        np.mean(lit.T > 0.5, axis=1, where=own),
        np.mean(lit.T > 0.5, axis=1, where=~own),
        confusion,
        np.stack([right[:, labels == digit].mean(axis=1) for digit in range(len(DIGITS))], axis=1),
        right.mean(axis=1),
    )


def judge(measured: Measurement) -> Finding:
    """Whether the third layer stands for loops and lines, and the last for digits, at either size."""
    chance, worst, best = 1 / len(DIGITS), measured.right[0].argmin(), measured.right[0].argmax()
    good = (measured.lit_with > MOST) & (measured.lit_without < MOST)
    far = (measured.lit_with - measured.lit_without).argmin()
    return Finding(
        f"A network set by hand gets {measured.accuracy[0]:.1%} of the test images right, and "
        f"{measured.accuracy[1]:.1%} with only 16 edges.",
        {
            "loops and lines": bool(good.mean() >= NEARLY_ALL),
            "digits": bool(measured.accuracy[0] > MOST and measured.right[0].min() >= MUCH_MORE * chance),
            "sixteen neurons a layer": bool(measured.accuracy[1] >= MUCH_MORE * chance),
        },
        {
            "edges, and loops and lines": f"{measured.sizes[0][1]}, {len(good)}",
            "guessing gets": f"{chance:.0%}",
            f"right of the digit {best}, the best": f"{measured.right[0, best]:.0%}",
            f"right of the digit {worst}, the worst": f"{measured.right[0, worst]:.0%}",
            f"{layer_name(2)}: neurons that tell their loop or line": f"{good.sum()} of {len(good)}",
            f"the worst, {COMPONENTS[far]}: images with and without it light it": (
                f"{measured.lit_with[far]:.0%}, {measured.lit_without[far]:.0%}"
            ),
        },
    )


def draw(measured: Measurement) -> Figure:
    """What each component adds up, which digits light it, what the digits are taken for, and the sixteen edges."""
    height = figures.gallery_height(len(COMPONENTS))
    figure, (components, below, edges, shares) = figures.strips(height, 3.7, height, 2.3)
    title = f"set by hand: what each neuron of the {layer_name(2)} adds up, blue for ink, orange for none"
    figures.gallery(
        components, measured.pictures, COMPONENTS, limit=float(np.abs(measured.pictures).max()) / 2, title=title
    )
    matrix, confusion = below.subplots(1, 2)
    matrix.imshow(measured.activations, cmap="gray", vmin=0, vmax=1)
    rows, columns = np.nonzero(measured.has)
    matrix.plot(columns, rows, "s", markersize=9, markerfacecolor="none", markeredgecolor=figures.POSITIVE)
    ticks = {"xticks": range(len(DIGITS)), "yticks": range(len(COMPONENTS)), "yticklabels": COMPONENTS}
    title = "mean activation, black 0, white 1;\nframed: digits that have it"
    figures.name_axes(matrix, "digit", "", title, grid=False, **ticks)
    matrix.tick_params(axis="y", labelsize="x-small")
    figures.matrix(confusion, measured.confusion)
    title = f"test images, {'-'.join(map(str, measured.sizes[0]))}"
    figures.name_axes(confusion, "answer", "what it is", title, grid=False)
    title = f"the smaller network: the weights of its {layer_name(1)}, sixteen edges"
    figures.gallery(edges, measured.edges, [f"neuron {number}" for number in range(16)], limit=1.0, title=title)
    panel = shares.subplots()
    x = np.arange(len(DIGITS))
    for number, (sizes, right) in enumerate(zip(measured.sizes, measured.right, strict=True)):
        colour, label = (figures.BLUE, figures.SKY)[number], f"{'-'.join(map(str, sizes))}"
        panel.bar(x + 0.4 * number - 0.2, 100 * right, 0.4, color=colour, label=label)
    panel.axhline(100 / len(DIGITS), color=figures.BLACK, linestyle="--", label="guesses")
    figures.name_axes(panel, "digit", "recognised, %", xticks=x, ylim=(0, 100))
    panel.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def _path(name: str) -> Float[np.ndarray, "points 2"]:
    """A component's strokes as points: a line's corners, and of a loop a curve through its four points."""
    if name in LINES:
        return np.array(LINES[name], float)
    top, right, bottom, left = np.array(LOOPS[name], float)
    turn = np.linspace(0, 2 * np.pi, 25)[:, None]
    return (top + right + bottom + left) / 4 - np.cos(turn) * (bottom - top) / 2 + np.sin(turn) * (right - left) / 2


def _distances(
    points: Num[np.ndarray, "n 2"], path: Float[np.ndarray, "corners 2"]
) -> tuple[Float[np.ndarray, "pieces n"], Float[np.ndarray, "pieces 1"]]:
    """How far each point is from each straight piece of a path, in pixels, and the angles of the pieces."""
    start, step = path[:-1, None], np.diff(path, axis=0)[:, None]
    share = np.clip(((points - start) * step).sum(axis=-1) / np.square(step).sum(axis=-1), 0, 1)
    return np.linalg.norm(points - start - share[..., None] * step, axis=-1), np.arctan2(step[..., 0], step[..., 1])


def _lies_along(edges: Edges, path: Float[np.ndarray, "corners 2"], slack: float) -> Bool[np.ndarray, " n"]:
    """Which edges lie on a path and in its direction."""
    distances, angles = _distances(edges[:, :2], path)
    turn = np.abs((edges[:, 2] - angles + np.pi / 2) % np.pi - np.pi / 2)
    return np.asarray(((distances <= slack) & (turn <= TURN)).any(axis=0))


def _parts(names: str) -> Int[np.ndarray, " components"]:
    """1 for the components that are named."""
    return np.isin(COMPONENTS, names.split(", ")).astype(int)
