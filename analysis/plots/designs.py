"""The picture of one network, of whatever kind: cells, a chain of blocks, a feature pyramid, widths."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.cells.chains import chains_figure
from analysis.cells.designs import read_chain, read_pyramid, read_widths
from analysis.cells.drawing import pair_figure, read_cells
from analysis.cells.edges import edges_figure
from analysis.cells.pyramids import PyramidColumn, pyramids_figure
from analysis.frames import parse_cell
from analysis.plots.widths import plot_widths
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import GenotypeError


def design_figure(text: str) -> Figure | None:
    """Draw the ``cell`` column of a history; ``None`` where the space describes something that has no picture."""
    if (pair := read_cells(text)) is not None:
        return pair_figure(pair)
    if (widths := read_widths(text)) is not None:
        figure = plot_widths([widths]).figure
        return figure if isinstance(figure, Figure) else None
    if (pyramid := read_pyramid(text)) is not None:
        return pyramids_figure([PyramidColumn("", "", pyramid)])
    if (chain := read_chain(text)) is not None:
        return chains_figure([("", "", chain)])
    try:
        return edges_figure([("", "", EdgeCell.from_json(parse_cell(text)))])
    except GenotypeError:
        return None
