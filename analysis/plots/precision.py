"""The precision-recall curves of a detector, one per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.palette import FAINT, INK, class_colours

_MOST: int = 20
"""Classes that a legend can hold; of more there is none."""


def draw_precision(
    curves: Sequence[Sequence[float]], classes: Sequence[str], averages: Sequence[float | None]
) -> Figure:
    """Return a figure with the precision of each class at recalls from 0 to 1, evenly spaced, at an IoU of 0.5.

    ``curves`` are of shape (classes, recalls), -1 for a class without objects, which is left out; ``averages`` are
    their means, fractions in [0, 1].

    Raises:
        ValueError: if there are not as many curves and averages as classes.
    """
    if not len(curves) == len(classes) == len(averages):
        raise ValueError(f"{len(classes)} classes need as many curves, not {len(curves)} and {len(averages)}")
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    ax = figure.add_subplot()
    for curve, name, average, colour in zip(curves, classes, averages, class_colours(len(classes)), strict=True):
        if average is not None:
            recalls, label = np.linspace(0, 1, len(curve)), f"{name}  {100 * average:.1f} %"
            ax.plot(recalls, np.asarray(curve), label=label, color=colour, linewidth=1.3)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.set_title("precision and recall at an IoU of 0.5", color=INK, fontsize=10)
    ax.grid(color=FAINT, alpha=0.2)
    if ax.lines and len(ax.lines) <= _MOST:
        legend = ax.legend(title="AP50", fontsize=7, title_fontsize=7, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure
