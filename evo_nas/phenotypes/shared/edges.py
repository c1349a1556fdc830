"""The weights that networks of cells of edges, as those of NAS-Bench-201, share: of an operation on an edge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from evo_nas.phenotypes.edges import EdgeCellModule, EdgeNetwork
from evo_nas.phenotypes.shared.pieces import Piece, weights_of, whole
from genotypes.edge_cell import EdgeCell

_EDGE: Final = re.compile(r"cells\.(\d+)\.edges\.(\d+)\.(.+)")


def place_edges(
    network: EdgeNetwork, cell: EdgeCell, names: Iterable[str] | None = None
) -> Mapping[str, tuple[Piece, ...]]:
    """Return the pieces of each weight, or of ``names``: own ones per cell of the network, edge and operation."""
    edges = cell.edges()
    pieces = {}
    for name in weights_of(network) if names is None else names:
        found = _EDGE.fullmatch(name)
        if found is None:
            pieces[name] = whole(name)
            continue
        number, index, rest = found.groups()
        assert isinstance(network.cells[int(number)], EdgeCellModule), "reductions have no edges"
        target, source, op = edges[int(index)]
        pieces[name] = whole(f"cells/{number}/{target}<-{source}/{op}/{rest}")
    return pieces


def is_dead(cell: EdgeCell) -> bool:
    """Return whether no path leads from the input of the cell to its output."""
    return not cell.live_paths()
