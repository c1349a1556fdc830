"""Drawings of cells in the manner of figure 4 of the NASNet paper (Zoph et al. 2017).

Inputs at the bottom, blocks of two operations and their combination above, the concatenation at the top; as there, a
combination is green, a concatenation pink. Everything, the letters too, is drawn in the inches of
:mod:`analysis.cells.layout`, so that a picture scales as a whole and no text outgrows its box.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from analysis.cells.layout import FILLS, Box, Layout, Wire, kind_of, lay_out
from analysis.palette import FAINT, INK
from genotypes.cell import Cell, CellPair
from genotypes.genotype import GenotypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Marks: TypeAlias = Collection[tuple[int, int]]
"""Operations to be marked: hidden state of the block, and 0 for its left or 1 for its right operation."""

_FONT: Final = FontProperties(family="DejaVu Sans")  # comes with matplotlib: the same picture everywhere
_LETTERS: Final = 9.0 / 72  # height of the letters, 9 points, in inches
_LINE: Final = 1.2  # distance of two lines of text, as a multiple of the letters
_WIRES: Final = {0: "#c2571a", 1: "#1f6fb2"}  # the two inputs; told apart by the colour-blind too
_IDLE: Final = "#b4bac1"
_RULE: Final = "#d5d9de"
_MARK: Final = "#b8004e"
_NAMES: Final = ("normal cell", "reduction cell")
_CAPTION: Final = 0.3  # inches below a cell, for its name
_GAP: Final = 0.45  # inches between the cells of a pair
_KINDS: Final = {
    "combine": FILLS["combination"],
    "concat": FILLS["concatenation"],
    "output": "#ffffff",
    "input": "#ffffff",
}
_READABLE: Final = 6.0  # points of the smallest letters that a picture of a given width should have
_PAGE: Final = 9.0  # inches that it should not be taller than


def read_cells(text: str) -> CellPair | None:
    """Read the ``cell`` column of a history; ``None`` where the space describes something else than a pair of cells."""
    try:
        return CellPair.from_json(json.loads(text))
    except (GenotypeError, json.JSONDecodeError, RecursionError, TypeError):
        return None


def draw_cell(cell: Cell, ax: Axes, *, title: str | None = None, marked: Marks = frozenset()) -> Axes:
    """Draw one cell into ``ax``, as large as fits; the axes show inches of the layout and no frame.

    ``marked`` operations, each as its hidden state and 0 for the left or 1 for the right one, get a thick edge.
    """
    return _draw(lay_out(cell), ax, title, marked)


def pair_figure(pair: CellPair, title: str | None = None, *, width: float | None = None) -> Figure:
    """Draw a pair of cells in a figure of its natural size, beside each other.

    Where a ``width`` in inches is given, the figure is as wide as that. The cells stand then as their letters can be
    read: beside each other or one above the other, rows broken if they must be, and no taller than a page if possible.
    """
    places, size, scale = _arrange(pair, width)
    head = 0.45 if title else 0.0
    figure = Figure(figsize=(width or size[0], (size[1] + head) * scale))
    left = (figure.get_figwidth() - size[0] * scale) / 2
    for (layout, (x, y)), name in zip(places, _NAMES, strict=True):
        place_cell(layout, figure, (left + x * scale, y * scale), title=name, scale=scale)
    if title:
        x, y = 0.5, 1 - 0.2 * scale / figure.get_figheight()
        written = figure.text(x, y, title, ha="center", va="center", fontsize=12 * scale, color=INK, weight="bold")
        written.set_parse_math(False)
    return figure


_Place: TypeAlias = tuple[Layout, tuple[float, float]]
"""A layout, and where its lower left corner stands, in inches."""


def _arrange(pair: CellPair, width: float | None) -> tuple[list[_Place], tuple[float, float], float]:
    """Place the cells of a pair, captions below them; give the places, the size of it all, and the scale to draw it."""
    fallback: tuple[float, list[_Place], tuple[float, float], float] | None = None
    for abreast in (None,) if width is None else (None, 4, 3, 2, 1):
        normal, reduction = lay_out(pair.normal, abreast), lay_out(pair.reduction, abreast)
        size = normal.width + _GAP + reduction.width, _CAPTION + max(normal.height, reduction.height)
        options: list[tuple[list[_Place], tuple[float, float]]] = [
            ([(normal, (0.0, _CAPTION)), (reduction, (normal.width + _GAP, _CAPTION))], size)
        ]
        if width is None:
            return *options[0], 1.0
        wide, y = max(normal.width, reduction.width), reduction.height + 2 * _CAPTION + 0.1
        above = [(normal, ((wide - normal.width) / 2, y)), (reduction, ((wide - reduction.width) / 2, _CAPTION))]
        options.append((above, (wide, y + normal.height)))
        for places, size in options:
            scale = min(1.0, width / size[0])
            lowered = max(min(scale, _PAGE / size[1]), _READABLE / (72 * _LETTERS))
            if scale * 72 * _LETTERS >= _READABLE:
                return places, size, min(scale, lowered)
            if fallback is None or scale > fallback[0]:
                fallback = scale, places, size, scale
    assert fallback is not None
    return fallback[1:]


@dataclass(frozen=True, slots=True)
class CellColumn:
    """One column of :func:`columns_figure`: a pair of cells or, where there is none, a text, under a head.

    ``subhead`` may have several lines. ``marked`` are operations of the normal and of the reduction cell.
    """

    head: str
    subhead: str
    content: CellPair | str
    marked: tuple[Marks, Marks] = (frozenset(), frozenset())


def columns_figure(columns: Sequence[CellColumn], footer: str = "", *, room: float = 0.0) -> Figure:
    """Draw pairs of cells as columns, the normal cell above the reduction cell, all at one scale.

    ``room`` inches at the bottom are left for something else.
    """
    gap, narrowest, foot = 0.6, 3.1, room + (0.45 if footer else 0.15)
    head = 0.8 + 0.17 * max(column.subhead.count("\n") for column in columns)
    pairs = [
        [lay_out(column.content.normal), lay_out(column.content.reduction)]
        if isinstance(column.content, CellPair)
        else []
        for column in columns
    ]
    widths = [max([narrowest, *(layout.width for layout in pair)]) for pair in pairs]
    tall = [max([0.0, *(pair[row].height + _CAPTION for pair in pairs if pair)]) for row in (0, 1)]
    width = sum(widths) + gap * len(widths)
    height = head + max(sum(tall) + 0.25, 0.8) + foot
    figure = Figure(figsize=(width, height))

    def write(text: str, x: float, y: float, size: float = 9, **style: str) -> None:
        """Write a line centred at (x, y), in inches."""
        style = {"color": INK, "va": "center"} | style
        figure.text(x / width, y / height, text, ha="center", fontsize=size, parse_math=False, **style)  # type: ignore[arg-type]

    x = gap / 2
    for column, layouts, wide in zip(columns, pairs, widths, strict=True):
        middle = x + wide / 2
        write(column.head, middle, height - 0.25, 12, weight="bold")
        write(column.subhead, middle, height - 0.45, va="top")
        if isinstance(column.content, str):
            write(column.content, middle, height - head - 0.4, color=FAINT)
        heights = (foot + tall[1] + _CAPTION + 0.25, foot + _CAPTION)
        for layout, y, name, marked in zip(layouts, heights, _NAMES, column.marked, strict=False):
            place_cell(layout, figure, (x + (wide - layout.width) / 2, y), title=name, marked=marked)
        x += wide + gap
        if column is not columns[-1]:
            rule = Path([((x - gap / 2) / width, foot / height), ((x - gap / 2) / width, 1 - 0.12 / height)])
            figure.add_artist(PathPatch(rule, edgecolor=_RULE, linewidth=0.8, transform=figure.transFigure))
    if footer:
        write(footer, width / 2, room + 0.2, color=FAINT, style="italic")
    return figure


def place_cell(
    layout: Layout,
    figure: Figure,
    corner: tuple[float, float],
    *,
    title: str | None = None,
    scale: float = 1.0,
    marked: Marks = frozenset(),
) -> Axes:
    """Draw a laid out cell at a scale of its natural size, its lower left corner at ``corner``, in inches."""
    width, height = figure.get_size_inches()
    wide, high = layout.width * scale / width, layout.height * scale / height
    return _draw(layout, figure.add_axes((corner[0] / width, corner[1] / height, wide, high)), title, marked)


def _draw(layout: Layout, ax: Axes, title: str | None, marked: Marks) -> Axes:
    ax.set_axis_off()
    ax.set_xlim(0.0, layout.width)
    ax.set_ylim(0.0, layout.height)
    ax.set_aspect("equal")
    area = ax.get_window_extent()
    # Lines and arrowheads have no size in inches of the layout: they are scaled as the boxes will be.
    scale = min(area.width / layout.width, area.height / layout.height) / ax.figure.dpi
    # The limits stand: add_patch would work out the extent of each curve and letter for them, most of the time of all.
    for wire in layout.wires:
        _draw_wire(wire, ax, scale)
    for box in layout.boxes:
        _draw_box(box, ax, scale, marked=box.kind == "op" and (box.state, box.edge) in marked)
    if title:
        # Below, as in the paper: cells of unlike height stand on one line, their titles then too.
        ax.annotate(
            title,
            (0.5, 0.0),
            (0, -3 * scale),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=10 * scale,
            color=INK,
            annotation_clip=False,
        )
    return ax


def _draw_wire(wire: Wire, ax: Axes, scale: float) -> None:
    points, codes = [wire.points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in zip(wire.points, wire.points[1:], strict=False):
        middle = (y0 + y1) / 2
        points += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Path.CURVE4] * 3
    ax.add_artist(
        FancyArrowPatch(
            path=Path(points, codes),
            arrowstyle="-|>" if wire.arrow else "-",
            mutation_scale=7 * scale,
            color=_WIRES.get(wire.state, FAINT),
            linewidth=1.1 * scale,
            capstyle="butt",
            joinstyle="miter",
            zorder=1,
        )
    )


def _draw_box(box: Box, ax: Axes, scale: float, *, marked: bool) -> None:
    """Draw a box and its text; what is idle stays pale."""
    fill = FILLS[kind_of(box.name)] if box.kind == "op" else _KINDS[box.kind]
    edge = _WIRES[box.state] if box.kind == "input" else INK
    ink, width = INK, 1.3 if box.kind == "input" else 0.7
    if marked:
        edge, width = _MARK, 2.0
    if box.idle:
        edge = ink = _IDLE
        fill = "#ffffff"
    radius = 0.05 if box.kind in ("op", "concat") else box.height / 2
    ax.add_artist(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            boxstyle=f"round,pad=0,rounding_size={radius}",
            facecolor=fill,
            edgecolor=edge,
            linewidth=width * scale,
            zorder=2,
        )
    )
    for line, y in zip(box.text, baselines(box), strict=True):
        ax.add_artist(PathPatch(letters(line, box, y), facecolor=ink, linewidth=0, zorder=3))


def baselines(box: Box) -> list[float]:
    """Return the heights of a box's lines of text, which are centred by the height of a small letter with ascender."""
    step = _LINE * _LETTERS
    first = box.y + (len(box.text) - 1) * step / 2 - 0.35 * _LETTERS
    return [first - i * step for i in range(len(box.text))]


def letters(line: str, box: Box, y: float) -> Path:
    """Return the outlines of a line of text in a box, its base line at height y; a line too long is drawn smaller."""
    path, left, right = _outlines(line)
    scale = min(1 / 72, (box.width - 0.09) / (right - left))
    return path.transformed(Affine2D().translate(-(left + right) / 2, 0.0).scale(scale).translate(box.x, y))


@lru_cache(maxsize=256)
def _outlines(line: str) -> tuple[Path, float, float]:
    """Return the outlines in points, and their left and right end."""
    path = TextPath((0.0, 0.0), line, size=_LETTERS * 72, prop=_FONT)
    extent = path.get_extents()  # which takes longer than all else
    return path, extent.x0, extent.x1
