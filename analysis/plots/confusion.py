"""The confusion matrix of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.palette import FAINT, INK

_MOST_NUMBERS: int = 20
"""Classes up to which the cells have numbers."""
_MOST_NAMES: int = 60
"""Classes up to which the axes have names."""


def draw_confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Return a figure with the share of each true class, a row, that is taken for each class, a column.

    ``confusion`` are numbers of images, of shape (classes, classes).

    Raises:
        ValueError: if it has another shape.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"{len(classes)} classes need a square matrix of them, not one of shape {counts.shape}")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(4 + 0.3 * len(classes), 14)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=ax, shrink=0.8, label="% of the true class")
    if len(classes) <= _MOST_NAMES:
        places = range(len(classes))
        ax.set_xticks(places, classes, rotation=90, parse_math=False)
        ax.set_yticks(places, classes, parse_math=False)
    ax.set(xlabel="taken for", ylabel="true class")
    ax.set_title("confusion on the test images", color=INK, fontsize=10)
    ax.tick_params(labelsize=8, color=FAINT)
    if len(classes) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                color = "white" if share > 0.6 else INK
                ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=color)
    return figure
