"""Pictures of what searches found: pairs of cells, two side by side with what differs, operations and their drift."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.cells.chains import chain_dot, chains_figure
from analysis.cells.difference import Difference
from analysis.cells.dot import pair_dot
from analysis.cells.drawing import CellColumn, columns_figure, pair_figure
from analysis.cells.drift import operation_drift
from analysis.cells.edges import edges_dot, edges_figure
from analysis.cells.layout import op_text
from analysis.cells.pyramids import PyramidColumn, pyramid_dot, pyramids_figure
from analysis.frames import HistoryError, Paths, find_runs, load_history
from analysis.palette import GRID, INK
from analysis.plots.axes import legible, plain
from analysis.plots.files import figure_file, save
from evo_nas.system.atomic import make_folder, write_whole
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import shorten
from genotypes.pyramid import Pyramid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Named: TypeAlias = tuple[str, str, CellPair | EdgeCell | Chain | Pyramid]
"""A pair of cells, a chain of blocks or a feature pyramid: its name, what else is said of it, and itself."""

_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")  # Okabe and Ito 2008: safe for the colour-blind
_MAP: Final = "Blues"  # one hue, white is none: as safe
_ROW: Final = 0.17  # inches of a row of the map
_TITLE: Final = 32  # letters that stand above a map in one line
_MOST: Final = 8  # strategies that a picture has room for
_CELLS: Final = {"normal": "normal cell", "reduction": "reduction cell", "cell": ""}


def plot_counts(counts: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how often each operation stands in the cells of a pair, a bar a pair beside those of the others.

    ``counts`` comes from :func:`~analysis.cells.drift.operation_counts`, whole or of one kind of cell. Without
    ``ax`` a new figure is made.
    """
    cells = counts["cell"].unique()
    table = counts.pivot_table(index="operation", columns="pair", values="count", aggfunc="sum", sort=False)
    if ax is None:
        ax = Figure(figsize=(3.15, 0.6 + 0.3 * len(table)), layout="constrained").add_subplot()
    thick = 0.8 / max(1, len(table.columns))
    rows = np.arange(len(table))
    for number, name in enumerate(table.columns):
        ax.barh(
            rows + (number + 0.5) * thick - 0.4,
            table[name],
            0.92 * thick,
            color=_COLOURS[number % len(_COLOURS)],
            label=legible(shorten(str(name), 30)),
        )
    ax.set_yticks(rows, [_spell_op(str(op)) for op in table.index], fontsize=8)
    ax.set_ylim(len(table) - 0.5, -0.5)
    place = f"the {_CELLS[cells[0]]}" if len(cells) == 1 else "both cells"
    ax.set_xlabel(f"operations in {place}", fontsize=8, color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2)
    plain(ax)
    return ax


def plot_drift(
    drift: pd.DataFrame,
    ax: Axes | None = None,
    *,
    operations: Sequence[str] | None = None,
    highest: float | None = None,
) -> Axes:
    """Draw the shares of the operations over a search as a map: a row an operation, a column a window of samples.

    ``drift`` comes from :func:`~analysis.cells.drift.operation_drift`, of one kind of cell; over several runs
    shares are averaged. ``operations`` orders the rows, by default as :func:`by_share` does. The darkest colour is for
    the share ``highest``, by default the highest there is. Without ``ax`` a new figure is made.

    Raises:
        HistoryError: if there is nothing to draw.
    """
    if drift.empty:
        raise HistoryError("there are no finished trials whose operations could be followed")
    table = drift.pivot_table(index="operation", columns="first", values="share", aggfunc="mean").fillna(0.0)
    table = table.reindex(by_share(drift) if operations is None else list(operations)).fillna(0.0)
    if ax is None:
        ax = Figure(figsize=(3.15, 0.9 + _ROW * len(table)), layout="constrained").add_subplot()
    ends = np.append(table.columns.to_numpy(np.float64) - 0.5, float(drift["last"].max()) + 0.5)
    top = highest or float(table.to_numpy().max())
    mesh = ax.pcolormesh(ends, np.arange(len(table) + 1), table, cmap=_MAP, vmin=0.0, vmax=top, rasterized=True)
    ax.set_ylim(len(table), 0)
    ax.set_yticks(np.arange(len(table)) + 0.5, [_spell_op(str(op)) for op in table.index], fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("samples (trainings that ended)", fontsize=8, color=INK)
    bar = ax.figure.colorbar(mesh, ax=ax, format=lambda share, _: f"{100 * share:.4g} %", pad=0.03)
    bar.set_label("share of all operations", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    for side in ax.spines.values():
        side.set_color("#d5d9de")
    return ax


def by_share(drift: pd.DataFrame) -> list[str]:
    """Order the operations: what the last windows have most of comes first, of equals what stands first by alphabet."""
    final = drift[drift["first"] == drift.groupby("run", observed=True)["first"].transform("max")]
    shares = final.groupby("operation")["share"].sum().reindex(sorted(drift["operation"].unique()), fill_value=0.0)
    return [str(op) for op in shares.sort_values(ascending=False, kind="stable").index]


def plot_operations(paths: Paths, output: Path | None = None) -> list[Path]:
    """Draw how the operations drift, a row of maps a strategy and space, a map a kind of cell; give the files.

    They go to ``output``, or to ``figures/operations.png`` and ``.svg`` of the first run.

    Raises:
        HistoryError: if there is no such run, no training has ended, or what was searched has no operations.
        ValueError: if the suffix of ``output`` is no format of a picture, or there are too many strategies.
    """
    runs = find_runs(paths)
    drift = operation_drift(load_history([run.history for run in runs], cells=True))
    groups = list(drift.groupby(["strategy", "space"], observed=True))
    if not groups:
        raise HistoryError("there are no finished trials whose operations could be followed")
    if len(groups) > _MOST:
        raise ValueError(f"a picture has room for {_MOST} strategies or spaces, not {len(groups)}: name fewer runs")
    order = by_share(drift)
    highest = float(drift["share"].max())
    rows = [group["operation"].nunique() for _, group in groups]
    columns = max(group["cell"].nunique() for _, group in groups)
    heights = [1.1 + _ROW * row for row in rows]
    figure = Figure(figsize=(3.6 * columns + 0.4, sum(heights)), layout="constrained")
    panels = figure.subplots(len(groups), columns, squeeze=False, height_ratios=heights)
    for (keys, group), line in zip(groups, panels, strict=True):
        strategy, space = map(str, keys)
        number = group["run"].nunique()
        fewest = group.groupby("first")["run"].nunique().min()  # some end before others
        many = f"{number}" if fewest == number else f"{fewest} to {number}"
        of = f", mean of {many} runs" if number > 1 else ""
        named = f"{strategy} on {shorten(space, 24)}" if drift["space"].nunique() > 1 else strategy
        cells = [cell for cell in _CELLS if (group["cell"] == cell).any()]
        for ax in line[len(cells) :]:
            ax.set_axis_off()
        for cell, ax in zip(cells, line, strict=False):
            own = group[group["cell"] == cell]
            there = set(own["operation"])
            plot_drift(own, ax, operations=[op for op in order if op in there], highest=highest)
            title = ": ".join(filter(None, [named, f"{_CELLS[cell]}{of}".removeprefix(", ")]))
            lines = title.replace(": ", ":\n", 1) if len(title) > _TITLE else title
            ax.set_title(lines, fontsize=9, color=INK, loc="left", parse_math=False)
    return save(figure, output or figure_file(runs[0].folder, "operations.png"))


def difference_figure(difference: Difference) -> Figure:
    """Draw two pairs of cells side by side, what is in one of them alone with a thick edge, above their operations."""
    distance = difference.distance
    marks = (
        (distance.normal.changed, distance.reduction.changed),
        (distance.normal.changed_other, distance.reduction.changed_other),
    )
    columns = [
        CellColumn(f"{letter}: {shorten(name, 40)}", f"thick edge: not in {other}", pair, marked)
        for letter, other, name, pair, marked in zip("AB", "BA", difference.names, difference.pairs, marks, strict=True)
    ]
    apart = f"{distance.normal} in the normal cell, {distance.reduction} in the reduction cell"
    tall = 0.9 + 0.3 * difference.counts["operation"].nunique()
    figure = columns_figure(columns, f"graph edit distance {distance}: {apart}", room=tall)
    width, height = figure.get_size_inches()
    part = width / 2
    for number, (_, counts) in enumerate(difference.counts.groupby("cell", sort=False)):
        left, wide = number * part + 1.2, min(part, 6.5) - 1.6
        ax = figure.add_axes((left / width, 0.5 / height, wide / width, (tall - 0.9) / height))
        plot_counts(counts, ax)
        ax.set_xlim(0, difference.counts["count"].max())  # of the other cell too: the bars compare
    return figure


def design_dot(design: CellPair | EdgeCell | Chain | Pyramid) -> str:
    """Return a pair of cells, a cell of edges, a chain or a feature pyramid in DOT, the language of Graphviz."""
    if isinstance(design, EdgeCell | Chain):
        return edges_dot(design) if isinstance(design, EdgeCell) else chain_dot(design)
    return pyramid_dot(design) if isinstance(design, Pyramid) else pair_dot(design)


def plot_cells(named: Sequence[Named], output: Path, *, width: float | None = None) -> list[Path]:
    """Draw pairs of cells, each under its name; of ``output`` ending in .dot or .gv write a graph. Give the files.

    In place of pairs of cells there may be cells of edges, chains of blocks, or feature pyramids. ``width`` in inches
    is that of the picture of one.

    Raises:
        ValueError: if ``output`` is no picture, several pairs should become one graph or be of a width, there are
            too many, or they are of several kinds.
    """
    kinds = {type(drawn) for _, _, drawn in named}
    if len(kinds) > 1:
        raise ValueError(
            "pairs of cells, cells of edges, chains of blocks and feature pyramids need a picture each: name those of "
            "one kind"
        )
    if len(named) > 1 and width is not None:
        raise ValueError("a width is for one pair of cells: name one, or leave the width out")
    if output.suffix.lower() in (".dot", ".gv"):
        if len(named) > 1:
            raise ValueError(f"{output} holds one pair of cells: name one, or write a picture")
        make_folder(output.parent)
        write_whole(output, design_dot(named[0][2]))
        return [output]
    if len(named) > _MOST:
        raise ValueError(f"a picture has room for {_MOST} pairs of cells, not {len(named)}: name fewer")
    pyramids = [PyramidColumn(shorten(name, 40), said, one) for name, said, one in named if isinstance(one, Pyramid)]
    if pyramids:
        return save(pyramids_figure(pyramids, width=width), output)
    chains = [(shorten(name, 40), said, one) for name, said, one in named if isinstance(one, Chain)]
    if chains:
        return save(chains_figure(chains, width=width), output)
    edges = [(shorten(name, 34), said, one) for name, said, one in named if isinstance(one, EdgeCell)]
    if edges:
        return save(edges_figure(edges, width=width), output)
    pairs = [(name, said, pair) for name, said, pair in named if isinstance(pair, CellPair)]
    if len(pairs) == 1:
        name, said, pair = pairs[0]
        title = shorten(name, 40) if width is None else shorten(name, max(8, round(9 * width)))
        return save(pair_figure(pair, f"{title}  {said}".strip(), width=width), output)
    return save(columns_figure([CellColumn(shorten(name, 34), said, pair) for name, said, pair in pairs]), output)


def _spell_op(op: str) -> str:
    return shorten(" ".join(op_text(op)), 24)
