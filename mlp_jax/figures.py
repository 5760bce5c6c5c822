"""Every picture that more than one place draws, and the hand that all are drawn with.

Colours are those of Okabe and Ito, told apart by every kind of colour vision, on a light ground of their own, so that
a figure reads the same on a dark page.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK = COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#000000",
)
STYLES = ("-", "--", "-.", ":")
MEMBER, MEDIAN = BLUE, RED
WIDTH = 7.2  # inches: at 150 dots each, a page's width
DOTS = 150


def page(rows: int = 1, columns: int = 1, *, height: float = 3.2) -> tuple[Figure, np.ndarray]:
    """A figure of a page's width and its panels, (rows, columns). height: of a row, in inches."""
    figure = Figure(figsize=(WIDTH, height * rows), dpi=DOTS, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, squeeze=False)


def name_axes(panel: Axes, x: str, y: str, title: str | None = None) -> None:
    """What is drawn along each axis, with its unit, and a quiet grid."""
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(alpha=0.3)
    if title:
        panel.set_title(title, fontsize="medium")


def curves(panel: Axes, x: Num[np.ndarray, " n"], lines: Mapping[str, Num[np.ndarray, "*members n"]]) -> None:
    """A line for each name; of several members the median, in a band from the lowest to the highest."""
    for number, (name, y) in enumerate(lines.items()):
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
        panel.plot(x, y if y.ndim == 1 else np.median(y, axis=0), style, color=colour, label=name)
        if y.ndim == 2 and len(y) > 1:
            panel.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    if len(lines) > 1:
        panel.legend(fontsize="small")


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
    """One image without axes: ink on paper; with `limit`, from -limit (blue) over 0 (white) to limit (red)."""
    if limit is None:
        panel.imshow(pixels, cmap="gray_r", interpolation="nearest")
    else:
        panel.imshow(pixels, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_title(caption, fontsize="x-small", pad=2)


def matrix(panel: Axes, counts: Num[np.ndarray, "rows columns"]) -> None:
    """Counts in the cells of a matrix, the larger the darker, but for the diagonal, beside which all would be pale."""
    shade = np.where(np.eye(*counts.shape, dtype=bool), 0, counts)
    panel.imshow(shade, cmap="Blues", vmax=max(float(shade.max()), 1) * 1.3)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = shade[row, column] > 0.7 * shade.max()
            panel.text(
                column,
                row,
                f"{count}",
                ha="center",
                va="center",
                fontsize="x-small",
                color="white" if dark else "black",
            )
    panel.set_xticks(range(counts.shape[1]))
    panel.set_yticks(range(counts.shape[0]))


def accuracy_by_setting(
    settings: Mapping[str, Sequence[float | int]], accuracies: Float[np.ndarray, " members"]
) -> Figure:
    """The test accuracy of the members of a population against each setting in which they differ, and its medians.

    settings: under each name, one value for each member; a panel for each that takes more than one value. Positive
        values that span a factor of 4 or more stand on a logarithmic axis.
    accuracies: 0 to 1; NaN for members that diverged, which stand as crosses on the floor of their panel.
    """
    varied = {name: np.asarray(values, float) for name, values in settings.items() if len(set(values)) > 1}
    varied = varied or {name: np.asarray(values, float) for name, values in list(settings.items())[:1]}
    figure = Figure(figsize=(4.2 * len(varied), 3.6), layout="constrained")
    panels = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    finite = np.isfinite(accuracies)
    for panel, (name, values) in zip(panels, varied.items(), strict=True):
        panel.plot(
            values[finite], 100 * accuracies[finite], "o", color=MEMBER, alpha=0.5, markersize=4, label="a network"
        )
        floor = np.full(len(values) - finite.sum(), 0.02)
        if floor.size:
            across = panel.get_xaxis_transform()
            panel.plot(values[~finite], floor, "x", color="black", label="diverged", transform=across)
        steps = np.unique(values[finite])
        medians = [100 * np.median(accuracies[finite & (values == step)]) for step in steps]
        panel.plot(steps, medians, "-", color=MEDIAN, label="median")
        if values.min() > 0 and values.max() >= 4 * values.min():
            panel.set_xscale("log", base=2)
        if len(np.unique(values)) <= 10:
            panel.set_xticks(np.unique(values), [f"{value:g}" for value in np.unique(values)])
            panel.set_xticks([], minor=True)
        panel.set_xlabel(name.replace("_", " "))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, %")
    panels[0].legend(fontsize="small")
    return figure


def strips(*heights: float) -> tuple[Figure, list[SubFigure]]:
    """A figure of a page's width, made of strips one below the other that are divided each in its own way.

    heights: of each strip, in inches.
    """
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DOTS, layout="constrained", facecolor="white")
    return figure, list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)


def gallery(
    strip: SubFigure,
    images: Num[np.ndarray, "n height width"],
    captions: Sequence[str],
    *,
    columns: int = 8,
    limit: float | None = None,
    title: str | None = None,
) -> None:
    """Images in a strip of a figure, each as `picture` draws it; a row takes (7.2 / columns + 0.2) inches."""
    panels = strip.subplots(-(-len(images) // columns), columns, squeeze=False)
    if title:
        strip.suptitle(title, fontsize="medium")
    for panel in panels.flat[len(images) :]:
        panel.axis("off")
    for panel, pixels, caption in zip(panels.flat, images, captions, strict=False):
        picture(panel, pixels, caption, limit=limit)
