"""Drawings of feature pyramids in the manner of figure 7 of the NAS-FPN paper (Ghiasi et al. 2019).

A row per level, the finest at the bottom; the inputs on the left, then the merging cells from left to right. Inputs
have a green edge, outputs a red one. Everything is laid out in inches, so that a picture scales as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch
from numpy.typing import NDArray

from analysis.cells.layout import FILLS
from analysis.palette import FAINT, GRID, INK
from genotypes.pyramid import LEVELS, Pyramid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Place: TypeAlias = tuple[float, float]
"""A point, in inches from the lower left corner."""

_COLUMN, _ROW, _RADIUS = 0.72, 0.62, 0.17  # inches
_LEFT, _BELOW, _ABOVE = 0.62, 0.66, 0.42  # inches from the edges to the centres; the legend stands below
_INPUT, _OUTPUT, _GATE, _MARK = "#2e8b57", "#c0392b", "#c2571a", "#b8004e"
_SIGNS: Final = {"sum": "+", "attention": "×"}
_BENDS: Final = tuple(sign * bend for bend in (0.0, 0.12, 0.2, 0.3, 0.42, 0.55, 0.7) for sign in (1, -1))
_CLEAR: Final = 0.06  # inches that a wire keeps from cells that it passes
_STEPS: Final = np.linspace(0.0, 1.0, 41)[:, None]
_HEAD, _FOOT, _GAP = 0.6, 0.45, 0.35  # inches of titles, of a footer, between pyramids of a figure


@dataclass(frozen=True, slots=True)
class PyramidWire:
    """A feature that a cell reads: its number, the cell's, how it is read, and the bend that passes all other cells."""

    source: int
    target: int
    kind: str
    bend: float


@dataclass(frozen=True, slots=True)
class PyramidColumn:
    """A pyramid or, where there is none, a text, under a head; ``marked`` are cells, counted from 0, to be marked."""

    head: str
    subhead: str
    content: Pyramid | str
    marked: Collection[int] = frozenset()


def natural_size(pyramid: Pyramid) -> tuple[float, float]:
    """Return the width and the height of a drawing, in inches."""
    return _LEFT + len(pyramid.merges) * _COLUMN + 0.45, _BELOW + (len(LEVELS) - 1) * _ROW + _ABOVE


def place_features(pyramid: Pyramid) -> list[Place]:
    """Return the centre of each feature: its row is its level, its column its place in the order."""
    columns = [0] * len(LEVELS) + [1 + index for index in range(len(pyramid.merges))]
    return [
        (_LEFT + column * _COLUMN, _BELOW + (level - LEVELS[0]) * _ROW)
        for column, level in zip(columns, pyramid.feature_levels, strict=True)
    ]


def route_wires(pyramid: Pyramid) -> list[PyramidWire]:
    """Return the wires of a pyramid, each bent as little as it takes to pass the other cells.

    Among equal bends the one that crowds other wires least is taken. ``kind`` is "input", "gate" for what weights the
    channels in an attention, or "extra".
    """
    places = np.array(place_features(pyramid))
    top = natural_size(pyramid)[1] - 0.03
    wires: list[PyramidWire] = []
    drawn: list[NDArray[np.float64]] = []
    for source, target, kind in _list_reads(pyramid):
        others = np.delete(places, [source, target], axis=0)
        best: tuple[float, float, NDArray[np.float64]] | None = None
        for bend in _BENDS:
            curve = _bend(places[source], places[target], bend)
            near = np.linalg.norm(curve[:, None] - others, axis=2).min()
            inner = curve[8:-8]
            crowded = sum(
                int((np.linalg.norm(inner[:, None] - other, axis=2).min(1) < _CLEAR).sum()) for other in drawn
            )
            outside = max(0.0, 0.27 - float(curve[:, 1].min()), float(curve[:, 1].max()) - top)
            cost = 100 * (max(0.0, _RADIUS + _CLEAR - float(near)) + outside) + 0.05 * crowded + 2 * abs(bend)
            if best is None or cost < best[0]:
                best = cost, bend, curve
        assert best is not None
        wires.append(PyramidWire(source, target, kind, best[1]))
        drawn.append(best[2])
    return wires


def draw_pyramid(pyramid: Pyramid, ax: Axes, *, title: str | None = None, marked: Collection[int] = ()) -> Axes:
    """Draw a pyramid into ``ax``, as large as fits; the axes show inches of the layout and no frame.

    ``marked`` cells, counted from 0, get a thick edge.
    """
    width, height = natural_size(pyramid)
    ax.set_axis_off()
    ax.set_xlim(0.0, width)
    ax.set_ylim(0.0, height)
    ax.set_aspect("equal")
    area = ax.get_window_extent()
    scale = min(area.width / width, area.height / height) / ax.figure.dpi
    places = place_features(pyramid)
    for index, level in enumerate(LEVELS):
        y = _BELOW + index * _ROW
        ax.plot([_LEFT, width - 0.2], [y, y], color=GRID, linewidth=0.8 * scale, zorder=0)
        ax.text(0.2, y, f"P{level}", color=FAINT, fontsize=9 * scale, ha="center", va="center")
    for wire in route_wires(pyramid):
        _draw_wire(wire, places, ax, scale)
    for feature, (x, y) in enumerate(places):
        index = feature - len(LEVELS)
        edge, thick = (_INPUT, 1.6) if index < 0 else (INK, 0.8)
        if index >= pyramid.intermediates:
            edge, thick = _OUTPUT, 1.6
        if index in marked:
            edge, thick = _MARK, 3.2
        merge = pyramid.merges[index] if index >= 0 else None
        fill = FILLS["combination"] if merge and merge.combine == "sum" else FILLS["concatenation"] if merge else "#fff"
        ax.add_artist(Circle((x, y), _RADIUS, facecolor=fill, edgecolor=edge, linewidth=thick * scale, zorder=3))
        if merge:
            ax.text(x, y, _SIGNS[merge.combine], color=INK, fontsize=13 * scale, ha="center", va="center", zorder=4)
            number = x + 0.85 * _RADIUS, y - 0.85 * _RADIUS
            ax.text(*number, str(feature), color=FAINT, fontsize=6.5 * scale, ha="left", va="top", zorder=4)
    _draw_legend(pyramid, ax, width, scale)
    if title:
        ax.text(
            width / 2, height - 0.02, title, color=INK, fontsize=10 * scale, ha="center", va="top", parse_math=False
        )
    return ax


def pyramids_figure(columns: Sequence[PyramidColumn], footer: str = "", *, width: float | None = None) -> Figure:
    """Draw pyramids, each under its head, two beside each other; ``width`` in inches is that of the figure."""
    sizes = [natural_size(c.content) for c in columns if isinstance(c.content, Pyramid)] or [(4.0, 0.6)]
    wide, tall = (max(size[axis] for size in sizes) for axis in (0, 1))
    abreast = min(2, len(columns))
    rows = -(-len(columns) // abreast)
    head = _HEAD + 0.17 * max(column.subhead.count("\n") for column in columns)
    if not any(column.head or column.subhead for column in columns):
        head = 0.1
    size = abreast * (wide + _GAP), rows * (tall + head) + (_FOOT if footer else 0.1)
    scale = 1.0 if width is None else width / size[0]
    figure = Figure(figsize=(size[0] * scale, size[1] * scale))

    def write(text: str, x: float, y: float, points: float, **style: str) -> None:
        """Write a line centred at (x, y), in inches of the layout."""
        style = {"color": INK, "va": "center"} | style
        place = x / size[0], y / size[1]
        figure.text(*place, text, ha="center", fontsize=points * scale, parse_math=False, **style)  # type: ignore[arg-type]

    for number, column in enumerate(columns):
        x = (number % abreast) * (wide + _GAP) + _GAP / 2
        top = size[1] - (number // abreast) * (tall + head)
        write(column.head, x + wide / 2, top - 0.25, 12, weight="bold")
        write(column.subhead, x + wide / 2, top - 0.42, 9, va="top")
        if isinstance(column.content, str):
            write(column.content, x + wide / 2, top - head - 0.3, 9, color=FAINT)
            continue
        own = natural_size(column.content)
        corner = x + (wide - own[0]) / 2, top - head - own[1]
        bounds = corner[0] / size[0], corner[1] / size[1], own[0] / size[0], own[1] / size[1]
        draw_pyramid(column.content, figure.add_axes(bounds), marked=column.marked)
    if footer:
        write(footer, size[0] / 2, 0.22, 9, color=FAINT, style="italic")
    return figure


def pyramid_dot(pyramid: Pyramid) -> str:
    """Write a pyramid as a graph in DOT, the language of Graphviz: a row per level, extra inputs dashed."""
    lines = [
        "digraph pyramid {",
        "  rankdir=BT;",
        '  node [shape=circle, style=filled, fillcolor="white", fontname="Helvetica", fontsize=10];',
        '  edge [color="#6b737d"];',
    ]
    for feature, level in enumerate(pyramid.feature_levels):
        index = feature - len(LEVELS)
        if index < 0:
            lines.append(f'  f{feature} [label="P{level}", color="{_INPUT}"];')
            continue
        colour = f', color="{_OUTPUT}"' if index >= pyramid.intermediates else ""
        sign = _SIGNS[pyramid.merges[index].combine]
        lines.append(f'  f{feature} [label="{sign}\\nP{level}"{colour}];')
    for level in LEVELS:
        same = [f"f{feature}" for feature, own in enumerate(pyramid.feature_levels) if own == level]
        lines.append(f"  {{ rank=same; {'; '.join(same)}; }}")
    looks = {"input": "", "gate": f' [color="{_GATE}"]', "extra": " [style=dashed]"}
    lines += [f"  f{source} -> f{target}{looks[kind]};" for source, target, kind in _list_reads(pyramid)]
    return "\n".join([*lines, "}", ""])


def _list_reads(pyramid: Pyramid) -> Iterator[tuple[int, int, str]]:
    """Yield each read as source, target and kind."""
    for index, (merge, extra) in enumerate(zip(pyramid.merges, pyramid.extras, strict=True)):
        target = len(LEVELS) + index
        coarse, fine = pyramid.order_inputs(index)
        yield coarse, target, "gate" if merge.combine == "attention" else "input"
        yield fine, target, "input"
        for feature in extra:
            yield feature, target, "extra"


def _bend(start: NDArray[np.float64], end: NDArray[np.float64], bend: float) -> NDArray[np.float64]:
    """Return points of the curve that matplotlib's ``arc3`` draws, (41, 2)."""
    across = end - start
    control = (start + end) / 2 + bend * np.array([across[1], -across[0]])
    curve: NDArray[np.float64] = (1 - _STEPS) ** 2 * start + 2 * _STEPS * (1 - _STEPS) * control + _STEPS**2 * end
    return curve


def _draw_wire(wire: PyramidWire, places: Sequence[Place], ax: Axes, scale: float) -> None:
    shrink = (_RADIUS * 72 + 0.8) * scale
    ax.add_artist(
        FancyArrowPatch(
            places[wire.source],
            places[wire.target],
            connectionstyle=f"arc3,rad={wire.bend}",
            arrowstyle="-|>",
            shrinkA=shrink,
            shrinkB=shrink,
            mutation_scale=8 * scale,
            color=_GATE if wire.kind == "gate" else FAINT,
            linewidth=1.1 * scale,
            linestyle=(0, (3, 2)) if wire.kind == "extra" else "-",
            zorder=1,
        )
    )


def _draw_legend(pyramid: Pyramid, ax: Axes, width: float, scale: float) -> None:
    """Write what the signs and the wires of this pyramid mean in a line below it."""
    combines = {merge.combine for merge in pyramid.merges}

    def ring(colour: str, label: str) -> Line2D:
        look = {"markerfacecolor": "#fff", "markeredgecolor": colour, "markersize": 7 * scale}
        return Line2D([], [], linestyle="none", marker="o", markeredgewidth=1.6 * scale, label=label, **look)  # type: ignore[arg-type]

    def wire(colour: str, label: str, dashes: object = "-") -> Line2D:
        return Line2D([], [], color=colour, linewidth=1.1 * scale, linestyle=dashes, label=label)  # type: ignore[arg-type]

    handles = [ring(_INPUT, "input"), ring(_OUTPUT, "output")]
    if "attention" in combines:
        handles.append(wire(_GATE, "gate of ×"))
    if any(pyramid.extras):
        handles.append(wire(FAINT, "extra input", (0, (3, 2))))
    ax.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize=8 * scale,
        handlelength=1.6,
        handletextpad=0.4,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
