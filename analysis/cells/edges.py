"""Drawings of cells of edges (Dong & Yang 2020): four nodes in a row, an operation on each edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from analysis.cells.layout import FILLS, kind_of, op_text
from analysis.palette import FAINT, INK
from genotypes.edge_cell import EDGES, EdgeCell

_WIDTH, _HEIGHT = 4.6, 3.0  # inches of a cell
_RISE: Final = {(1, 0): 0.0, (2, 1): 0.0, (3, 2): 0.0, (2, 0): 0.62, (3, 1): -0.62, (3, 0): 1.25}
"""How high the middle of an edge stands above the nodes: no two labels meet."""

_SQUEEZE: Final = (0.88 * 3.0 / 2.6) / (0.98 * 4.6 / 3.8)
"""Inches of a unit upwards by those of one to the right: curves are bent in inches."""

_NAMES: Final = ("input", "1", "2", "output")


def edges_figure(named: Sequence[tuple[str, str, EdgeCell]], *, width: float | None = None) -> Figure:
    """Draw cells beside each other: name, what else is said of it, and the cell.

    An edge that no signal passes is pale, one of ``none`` is left out. ``width`` in inches is that of the figure.
    """
    natural = _WIDTH * len(named)
    scale = 1.0 if width is None else width / natural
    figure = Figure(figsize=(natural * scale, _HEIGHT * scale))
    panels = figure.subplots(1, len(named), squeeze=False)[0]
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.9, 0.02)
    for ax, (name, said, cell) in zip(panels, named, strict=True):
        ax.set_axis_off()
        ax.set_xlim(-0.4, 3.4)
        ax.set_ylim(-1.0, 1.6)
        ax.set_title(f"{name}  {said}".strip(), fontsize=10 * scale, color=INK, parse_math=False)
        live = {EDGES[index] for index in cell.live_edges()}
        for target, source, op in cell.edges():
            is_live, rise = (target, source) in live, _RISE[target, source]
            colour = INK if is_live else "#b4bac1"
            ax.add_patch(
                FancyArrowPatch(
                    (source, 0),
                    (target, 0),
                    connectionstyle=f"arc3,rad={-2 * _SQUEEZE * rise / (target - source)}",
                    arrowstyle="-|>",
                    mutation_scale=9 * scale,
                    shrinkA=11 * scale,
                    shrinkB=11 * scale,
                    color=colour if is_live else "#d5d9de",
                    linewidth=1.0 * scale,
                )
            )
            fill = FILLS[kind_of(op)] if is_live else "#ffffff"
            box = {"boxstyle": "round,pad=0.25", "facecolor": fill, "edgecolor": colour, "linewidth": 0.7 * scale}
            words = "\n".join(op_text(op.removeprefix("nor_")))
            middle = (source + target) / 2
            ax.text(middle, rise, words, ha="center", va="center", fontsize=6.5 * scale, color=colour, bbox=box)
        for place, label in enumerate(_NAMES):
            circle = {"boxstyle": "circle,pad=0.3", "facecolor": FILLS["combination"], "edgecolor": INK}
            ax.text(place, 0, str(place), ha="center", va="center", fontsize=8 * scale, color=INK, bbox=circle)
            if label in ("input", "output"):
                ax.text(place, -0.3, label, ha="center", va="center", fontsize=7 * scale, color=FAINT)
    return figure


def edges_dot(cell: EdgeCell) -> str:
    """Write a cell as a graph for Graphviz; an edge that no signal passes is dashed, one of ``none`` is left out."""
    live = {EDGES[index] for index in cell.live_edges()}
    lines = [f'  {place} [label="{label}"];' for place, label in enumerate(_NAMES)]
    for target, source, op in cell.edges():
        look = "" if (target, source) in live else ", style=dashed"
        lines.append(f'  {source} -> {target} [label="{op}"{look}];')
    return "digraph cell {\n  rankdir=LR;\n" + "\n".join(lines) + "\n}\n"
