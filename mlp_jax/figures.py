"""Every picture that more than one place draws."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

MEMBER, MEDIAN = "#4c78a8", "#e45756"


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
