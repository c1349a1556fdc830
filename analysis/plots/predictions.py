"""Images with the classes that a network saw in them, as a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.palette import FAINT, INK

_SIDE: Final = 1.3
"""Inches of an image."""

_LINE: Final = 0.125
"""Inches of a line of text."""


def draw_predictions(
    pictures: Sequence[NDArray[Any]], classes: Sequence[Sequence[str]], names: Sequence[str]
) -> Figure:
    """Return a grid of pictures, uint8 of shape (h, w, 3) each; above each its classes, below it its name.

    The first class stands out.

    Raises:
        ValueError: if there is no picture, or not as many classes and names as pictures.
    """
    if not pictures or not len(pictures) == len(classes) == len(names):
        counts = f"{len(pictures)} pictures, {len(classes)} lists of classes, {len(names)} names"
        raise ValueError(f"a grid has as many of each, and at least one, not {counts}")
    columns = min(len(pictures), max(4, math.ceil(math.sqrt(len(pictures)))))
    rows = math.ceil(len(pictures) / columns)
    lines = max(map(len, classes))
    height = _SIDE + (lines + 2.5) * _LINE
    figure = Figure(figsize=(columns * (_SIDE + 0.1), rows * height))
    for place, (picture, found, name) in enumerate(zip(pictures, classes, names, strict=True)):
        row, column = divmod(place, columns)
        left, bottom = (column + 0.05) / columns, 1 - (row + 1 - 1.5 * _LINE / height) / rows
        ax = figure.add_axes((left, bottom, 0.9 / columns, _SIDE / height / rows))
        ax.imshow(picture, interpolation="nearest" if max(picture.shape[:2]) < 100 else "auto")
        ax.set_axis_off()
        for line, text in enumerate(reversed(found)):
            is_first = line == len(found) - 1
            ax.annotate(
                text,
                (0.5, 1),
                (0, 72 * _LINE * (line + 0.15)),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5 if is_first else 6,
                color=INK if is_first else FAINT,
                weight="bold" if is_first else "normal",
                parse_math=False,
            )
        ax.annotate(
            name,
            (0.5, 0),
            (0, -2),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=5.5,
            color=FAINT,
            parse_math=False,
        )
    return figure
