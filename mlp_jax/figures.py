"""Drawing that several figures share: size, colours, axes, panels.

The colours are those of Okabe and Ito, which every kind of colour vision tells apart. The background is always white,
so that a figure looks the same on a dark page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK = COLOURS
POSITIVE, NEGATIVE = "#1c5fb8", "#b04a10"
"""Colours on white for positive numbers, blue, and negative ones, orange, as on the page."""
SIGNS = LinearSegmentedColormap.from_list("signs", ["#ff8e4a", "#12161e", "#5aaaff"])
"""Negative numbers orange, 0 black, positive ones blue: the brighter, the farther from 0."""
STYLES = ("-", "--", "-.", ":")
WIDTH = 7.2  # inches: at 150 dots each, a page's width
DOTS = 150
Numbers = Sequence[float | int] | Num[np.ndarray, " n"]


def page(rows: int = 1, columns: int = 1, *, height: float = 3.2) -> tuple[Figure, np.ndarray]:
    """A figure of a page's width and its panels, (rows, columns). height: of a row, in inches."""
    figure = Figure(figsize=(WIDTH, height * rows), dpi=DOTS, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, squeeze=False)


def name_axes(panel: Axes, x: str, y: str, title: str = "", *, grid: bool = True, **settings: Any) -> None:
    """Label both axes, with units, and draw a faint grid. settings: as `Axes.set` takes them."""
    panel.set(xlabel=x, ylabel=y, **settings)
    panel.set_title(title, fontsize="medium")
    if grid:
        panel.grid(alpha=0.3)


def band(panel: Axes, x: Numbers, y: Num[np.ndarray, "members n"], style: str, colour: str, label: str) -> None:
    """The median of several members' curves, in a band from the lowest to the highest."""
    panel.plot(x, np.median(y, axis=0), style, color=colour, label=label, markersize=4)
    panel.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.2, linewidth=0)


def curves(panel: Axes, x: Numbers, lines: Mapping[str, Num[np.ndarray, "*members n"]]) -> None:
    """A line for each name; a band for several members."""
    for number, (name, y) in enumerate(lines.items()):
        band(panel, x, np.atleast_2d(y), STYLES[number % len(STYLES)], COLOURS[number % len(COLOURS)], name)
    if len(lines) > 1:
        panel.legend(fontsize="small")


def members(panel: Axes, x: Numbers, y: Num[np.ndarray, "members n"], style: str) -> None:
    """A curve, or dots, for each member; those of the first are orange and lie above the others."""
    for number, row in reversed(list(enumerate(y))):
        panel.plot(x, row, style, color=BLUE if number else RED, alpha=0.7, markersize=4)


def histograms(
    panel: Axes, edges: Float[np.ndarray, " edges"], shares: Mapping[str, Float[np.ndarray, " bins"]]
) -> None:
    """For each name, the share of numbers between each two edges, 0 to 1, as a percentage."""
    for number, (name, share) in enumerate(shares.items()):
        colour = COLOURS[number % len(COLOURS)]
        panel.stairs(100 * share, edges, fill=True, color=colour, alpha=0.35)
        panel.stairs(100 * share, edges, color=colour, linestyle=STYLES[number % len(STYLES)], label=name)
    panel.legend(fontsize="small")


def picture(
    panel: Axes, pixels: Num[np.ndarray, "height width"], caption: str = "", *, limit: float | None = None
) -> None:
    """One image without axes: white on black; with `limit`, from -limit (orange) over 0 (black) to limit (blue)."""
    colours, lowest = ("gray", None) if limit is None else (SIGNS, -limit)
    panel.imshow(pixels, cmap=colours, vmin=lowest, vmax=limit, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    panel.set_title(caption, fontsize="x-small", pad=2)


def matrix(panel: Axes, counts: Num[np.ndarray, "rows columns"]) -> None:
    """Counts in the cells of a matrix, the larger the darker. The diagonal stays white: its counts are far larger."""
    shade = np.where(np.eye(*counts.shape, dtype=bool), 0, counts)
    panel.imshow(shade, cmap="Blues", vmax=max(float(shade.max()), 1) * 1.3)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shade[row, column] > 0.7 * shade.max() else "black"
            panel.text(column, row, f"{count}", ha="center", va="center", fontsize="x-small", color=colour)
    panel.set(xticks=range(counts.shape[1]), yticks=range(counts.shape[0]))


def scores_by_setting(
    settings: Mapping[str, Sequence[float | int]], scores: Float[np.ndarray, " members"], name: str
) -> Figure:
    """The scores of a population's members against each setting in which they differ, and the medians.

    settings: under each name, one value for each member; a panel for each that takes more than one value. Positive
        values that span a factor of 4 or more stand on a logarithmic axis.
    scores: as they are drawn, under `name`; NaN for members that diverged, shown as crosses at the bottom of a panel.
    """
    varied = [setting for setting, values in settings.items() if len(set(values)) > 1] or [*settings][:1]
    figure = Figure(figsize=(4.2 * len(varied), 3.6), layout="constrained")
    panels = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    finite = np.isfinite(scores)
    for panel, setting in zip(panels, varied, strict=True):
        values = np.asarray(settings[setting], float)
        panel.plot(values[finite], scores[finite], "o", color=BLUE, alpha=0.5, markersize=4, label="a network")
        if not finite.all():
            bottom = np.full(np.sum(~finite), 0.02)
            panel.plot(values[~finite], bottom, "kx", label="diverged", transform=panel.get_xaxis_transform())
        steps = np.unique(values[finite])
        medians = [np.median(scores[finite & (values == step)]) for step in steps]
        panel.plot(steps, medians, "-", color=RED, label="median")
        if values.min() > 0 and values.max() >= 4 * values.min():
            panel.set_xscale("log", base=2)
        if len(np.unique(values)) <= 10:
            panel.set_xticks(np.unique(values), [f"{value:g}" for value in np.unique(values)])
            panel.set_xticks([], minor=True)
        name_axes(panel, setting.replace("_", " "), name if panel is panels[0] else "")
    panels[0].legend(fontsize="small")
    return figure


def strips(*heights: float) -> tuple[Figure, list[SubFigure]]:
    """A figure of a page's width, of strips one below the other, each divided in its own way. heights: in inches."""
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DOTS, layout="constrained", facecolor="white")
    return figure, list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)


def table(rows: Mapping[str, str]) -> Figure:
    """A table of a page's width: names on the left, values on the right."""
    figure = Figure(figsize=(WIDTH, 0.21 * len(rows) + 0.2), dpi=DOTS, facecolor="white")
    panel = figure.add_axes((0.03, 0, 0.94, 1), ylim=(len(rows) + 0.6, -0.4), xlim=(0, 1))
    panel.axis("off")
    for number, (name, value) in enumerate(rows.items()):
        panel.axhline(number, color="#dddddd", linewidth=0.6)
        panel.text(0, number + 0.5, name, fontsize="x-small", va="center", parse_math=False)
        panel.text(1, number + 0.5, value, fontsize="x-small", va="center", ha="right", parse_math=False)
    return figure


def gallery_height(images: int, columns: int = 8) -> float:
    """The height in inches of a strip of images with one line of caption each, and a title."""
    return (WIDTH / columns + 0.2) * -(-images // columns) + 0.3


def gallery(
    strip: SubFigure,
    images: Num[np.ndarray, "n height width"],
    captions: Sequence[str],
    *,
    columns: int = 8,
    limit: float | None = None,
    title: str,
) -> None:
    """Images in a strip of a figure, each as `picture` draws it. `gallery_height` says how high the strip is to be."""
    panels = strip.subplots(-(-len(images) // columns), columns, squeeze=False)
    strip.suptitle(title, fontsize="medium")
    for panel in panels.flat[len(images) :]:
        panel.axis("off")
    for panel, pixels, caption in zip(panels.flat, images, captions, strict=False):
        picture(panel, pixels, caption, limit=limit)


def signed_cells(
    panel: Axes,
    numbers: Float[np.ndarray, "rows columns"],
    limit: float | Float[np.ndarray, "rows 1"],
    *,
    written: str | None = None,
) -> None:
    """A matrix from -limit (orange) over 0 (black) to limit (blue), which rows may have of their own.

    written: the format of the number in each cell; None for none.
    """
    shades = numbers / np.where(np.equal(limit, 0), 1, limit)
    panel.imshow(shades, cmap=SIGNS, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    if written is not None:
        for (row, column), number in np.ndenumerate(numbers):
            colour = "black" if abs(shades[row, column]) > 0.6 else "white"
            panel.text(column, row, format(number, written), ha="center", va="center", fontsize=6.5, color=colour)


def wanted_changes(panel: Axes, activations: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"]) -> None:
    """Activations as bars, and arrows from their ends: the wanted changes, the longest a third of the highest bar."""
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    places, unit = np.arange(len(activations)), float(np.abs(wanted).max()) or 1.0
    reach = max(float(np.abs(activations).max()), 1e-3) / 3
    panel.bar(places, activations, color="#bbbbbb")
    ends = activations + reach * wanted / unit
    for some, marker, colour in ((wanted > 0, "^", POSITIVE), (wanted < 0, "v", NEGATIVE)):
        panel.vlines(places[some], activations[some], ends[some], colors=colour)
        panel.plot(places[some], ends[some], marker, color=colour, markersize=4)
