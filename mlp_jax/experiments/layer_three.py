"""In the third layer of these networks, no neuron picks up on loops or on long lines as one might have hoped.

The hope is that one neuron comes close to 1 for any loop up top, as in an 8 or a 9, and one for a long line, as in a 1,
a 4 or a 7. Here a digit lights a neuron if most of its test images do. By chance some neurons are lit by the right
digits too: so many would be if each were lit by as many digits, drawn at random. What the lesson sees is that the
second layer shows no edges; it looks at one network, and says no more than "for this one".

Source: lesson 2, minute 13, and lesson 1, minute 6.
Holds if:
- loops: in the median network, no neuron is lit by exactly 8 and 9, which have an upper loop, or by exactly 0, 6, 8
  and 9, which have a loop.
- long lines: in the median network, no neuron is lit by exactly 1, 4 and 7, or by exactly these and 9.
- like any digits: in the median network, none of these four sets of digits is told from the others, by the neuron that
  does so best, better than nearly all sets of as many digits are by theirs.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mlp_jax import figures
from mlp_jax.activations import sigmoid
from mlp_jax.experiments.subject import (
    MOST,
    NEARLY_ALL,
    Finding,
    Subject,
    SubjectError,
    batch_of,
    check_digits,
    layer_name,
)
from mlp_jax.network import forward_pass
from mlp_jax.training import member

LOOPS = {"upper loop": (8, 9), "loop": (0, 6, 8, 9)}
LINES = {"long line": (1, 4, 7), "long line, 9 too": (1, 4, 7, 9)}
PATTERNS = LOOPS | LINES  # and the digits that have them
PERCENTILES = (5, 50, 90, 95)


class Measurement(NamedTuple):
    """Which digits light the neurons of the second-to-last layer, and how well one neuron tells some from the others.

    told: of two test images, one of a digit with the pattern and one without, the chance that the neuron is brighter
        for the former, or darker, if that is larger; 0.5 to 1, of the neuron for which it is largest.
    """

    layer: int  # its place among the activations, as for `layer_name`
    activations: Float[np.ndarray, "neurons 10"]  # of the first network: the mean over each digit's test images
    lit: Bool[np.ndarray, "members neurons 10"]  # whether the neuron is above 0.5 for most test images of the digit
    exactly: Int[np.ndarray, "members patterns"]  # how many neurons are lit by exactly the digits with the pattern
    by_chance: Float[np.ndarray, " patterns"]  # how many of all networks' are expected to be
    told: Float[np.ndarray, "members patterns"]
    rank: Float[np.ndarray, "members patterns"]  # the share of the other sets of as many digits that are told worse
    others: Float[np.ndarray, "patterns 4"]  # PERCENTILES of how well those are told, in all networks


def measure(subject: Subject) -> Measurement:
    """Show the test images to every network. Raises SubjectError unless they show ten digits to hidden sigmoids."""
    check_digits(subject.dataset)
    layer, labels = len(subject.sizes) - 2, subject.dataset.test.targets
    if layer == 0 or subject.model.hidden != sigmoid:
        raise SubjectError(
            "this experiment needs a hidden layer of sigmoids: a neuron of another kind is not on or off"
        )
    inputs, _ = batch_of(subject.dataset.test, subject.networks)
    networks = [member(subject.networks, number) for number in range(subject.members)]
    lights = [np.asarray(forward_pass(params, inputs, subject.model)[1][layer]) for params in networks]
    digits = [labels == digit for digit in range(10)]
    lit = np.array([[np.mean(light[of] > 0.5, axis=0) > MOST for of in digits] for light in lights]).swapaxes(1, 2)
    wins = np.array([[brighter(neuron, digits) for neuron in light.T] for light in lights])
    told, rank, others = [], [], []
    for pattern in PATTERNS.values():
        *rest, own = sorted(combinations(range(10), len(pattern)), key=lambda these: these == pattern)
        best = best_told(wins, np.array([np.isin(range(10), these) for these in (*rest, own)]))
        told.append(best[:, -1])
        rank.append(np.mean(best[:, :-1] < best[:, -1:], axis=1))
        others.append(np.percentile(best[:, :-1], PERCENTILES))
    sets = np.array([np.isin(range(10), pattern) for pattern in PATTERNS.values()])
    as_many = np.array([np.sum(lit.sum(axis=2) == count) for count in sets.sum(axis=1)])
    return Measurement(
        layer,
        np.stack([lights[0][of].mean(axis=0) for of in digits], axis=1),
        lit,
        np.sum((lit[:, :, None] == sets).all(axis=3), axis=1),
        as_many / [len([*combinations(range(10), len(pattern))]) for pattern in PATTERNS.values()],
        np.stack(told, axis=1),
        np.stack(rank, axis=1),
        np.stack(others),
    )


def judge(measured: Measurement) -> Finding:
    """Whether neurons stand for loops or for lines, by the digits that light them and by how well they tell these."""
    members, neurons, _ = measured.lit.shape
    names = list(PATTERNS)
    loops, lines = ([names.index(name) for name in of] for of in (LOOPS, LINES))
    exactly, rank, told = (np.median(of, axis=0) for of in (measured.exactly, measured.rank, measured.told))
    (loops_lit, loops_by_chance), (lines_lit, lines_by_chance) = (
        (measured.exactly[:, of].sum(), measured.by_chance[of].sum()) for of in (loops, lines)
    )
    most, least = rank.argmax(), rank.argmin()
    return Finding(
        f"Of {members * neurons} neurons of the {layer_name(measured.layer)}, {loops_lit} are lit by exactly the "
        f"digits with a loop and {lines_lit} by those with a line.",
        {
            "loops": not exactly[loops].any(),
            "long lines": not exactly[lines].any(),
            "like any digits": bool(rank.max() < NEARLY_ALL),
        },
        {
            "networks": f"{members}",
            "lit by exactly the digits with an upper or any loop, by chance": f"{loops_by_chance:.1f}",
            "lit by exactly the digits with a long line, by chance": f"{lines_by_chance:.1f}",
            f"best told from the others: {_listed(PATTERNS[names[most]])}": f"{told[most]:.0%} of pairs",
            "better than this share of other sets of as many digits": f"{rank[most]:.0%}",
            f"worst told from the others: {_listed(PATTERNS[names[least]])}": f"{told[least]:.0%} of pairs",
            "better than this share of other sets": f"{rank[least]:.0%}",
        },
    )


def draw(measured: Measurement) -> Figure:
    """The hoped-for patterns, the digits that light each neuron of the first network, and how well it tells them."""
    sets, neurons = np.array([np.isin(range(10), pattern) for pattern in PATTERNS.values()]), len(measured.activations)
    figure, (above, below) = figures.strips(2.0 + 0.22 * neurons, 2.8)
    hoped, seen = above.subplots(2, 1, sharex=True, height_ratios=(len(sets) + 0.5, neurons))
    for panel, shown, lit, names in (
        (hoped, 1.0 * sets, sets, PATTERNS),
        (seen, measured.activations, measured.lit[0], range(neurons)),
    ):
        panel.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect="auto")
        for (row, digit), number in np.ndenumerate(shown):
            colour = "black" if number > 0.5 else "white"
            panel.text(digit, row, f"{number:.2f}", color=colour, fontsize="x-small", ha="center", va="center")
            frame = {"fill": False, "edgecolor": figures.SKY, "linewidth": 1.5, "visible": bool(lit[row, digit])}
            panel.add_patch(Rectangle((digit - 0.47, row - 0.43), 0.94, 0.86, **frame))
        panel.set_yticks(range(len(shown)), names, fontsize="x-small")
    figures.name_axes(hoped, "", "", "hoped for: neurons lit by exactly these digits", grid=False, xticks=range(10))
    title = f"{layer_name(measured.layer)} of the first network: mean activation, framed if most images light it"
    figures.name_axes(seen, "digit", "neuron", title, grid=False)
    panel = below.subplots()
    x = np.arange(len(PATTERNS))
    low, middle, most, high = measured.others.T
    panel.vlines(
        x, low, high, color=figures.BLUE, linewidth=8, alpha=0.3, label="other sets of as many digits: 5 to 95 %"
    )
    panel.plot(x, middle, "_", color=figures.BLUE, markersize=14, label="their median")
    panel.plot(x, most, "_", color=figures.BLACK, markersize=14, label="better than 90 % of them")
    dots = panel.plot(x, measured.told.T, "o", color=figures.RED, markersize=4, alpha=0.7)
    dots[0].set_label("these digits, one dot a network")
    ticks = [f"{name}:\n{_listed(digits)}" for name, digits in PATTERNS.items()]
    figures.name_axes(
        panel, "", "told by the best neuron,\nshare of pairs", xticks=x, xticklabels=ticks, xlim=(-0.5, x[-1] + 0.5)
    )
    panel.legend(fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def brighter(neuron: Float[np.ndarray, " n"], digits: list[Bool[np.ndarray, " n"]]) -> Float[np.ndarray, "10 10"]:
    """How likely the neuron is brighter for an image of one digit (rows) than for one of another; ties count half."""
    chance = np.empty((len(digits), len(digits)))
    for column, of in enumerate(digits):
        ordered = np.sort(neuron[of])
        below = np.searchsorted(ordered, neuron, "left") + np.searchsorted(ordered, neuron, "right")
        chance[:, column] = [below[these].mean() / (2 * len(ordered)) for these in digits]
    return chance


def best_told(
    wins: Float[np.ndarray, "members neurons 10 10"], sets: Bool[np.ndarray, "sets 10"]
) -> Float[np.ndarray, "members sets"]:
    """How well the best neuron of each network tells the digits of each set, of one size, from all others."""
    chance = np.einsum("mnij,si,sj->mns", wins, sets * 1.0, ~sets * 1.0, optimize=True) / (
        sets[0].sum() * (~sets[0]).sum()
    )
    return np.maximum(chance, 1 - chance).max(axis=1)


def _listed(digits: tuple[int, ...]) -> str:
    """As a text has them: the last one after an "and"."""
    *first, last = map(str, digits)
    return f"{', '.join(first)} and {last}"
