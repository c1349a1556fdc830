"""The distance of two cells: the graph edit distance, and the edits that turn one into the other.

The graph of a cell is that of its key (:meth:`genotypes.cell.Cell.canonical`): a node for each input, each live block
and the output; an edge for each operation. So the distance is 0 exactly where two cells are the same network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from genotypes.cell import INPUTS, Cell, CellPair

if TYPE_CHECKING:
    import networkx as nx

TIME_LIMIT: Final = 10.0
"""Seconds that the distance of two cells may take; of five blocks each it takes 0.04 s mostly, of seven 0.7 s."""

_OUTPUT: Final = -1
_FORBIDDEN: Final = 10_000  # more than any cells differ in: an input or an output stands for its like alone


@dataclass(frozen=True, slots=True)
class CellDistance:
    """The edits that lead from one cell to the other: a node or an edge added, removed or given another label.

    ``exact`` is false where the time was up: then ``edits`` is an upper bound. ``changed`` are the operations that are
    in the first cell alone, ``changed_other`` those in the other alone: the hidden state of the block, and 0 for its
    left or 1 for its right operation. An operation that reads something else counts as another one.
    """

    edits: int
    exact: bool
    changed: frozenset[tuple[int, int]]
    changed_other: frozenset[tuple[int, int]]

    def __str__(self) -> str:
        """Spell the number, ``<= 12`` where it is an upper bound."""
        return f"{'' if self.exact else '<= '}{self.edits}"


@dataclass(frozen=True, slots=True)
class PairDistance:
    """The distances of the normal and of the reduction cells of two pairs."""

    normal: CellDistance
    reduction: CellDistance

    @property
    def edits(self) -> int:
        """The edits of both cells."""
        return self.normal.edits + self.reduction.edits

    @property
    def exact(self) -> bool:
        """Whether no fewer edits would do."""
        return self.normal.exact and self.reduction.exact

    def __str__(self) -> str:
        """Spell the number, ``<= 12`` where it is an upper bound."""
        return f"{'' if self.exact else '<= '}{self.edits}"


def cell_distance(cell: Cell, other: Cell, *, time_limit: float = TIME_LIMIT) -> CellDistance:
    """Measure the graph edit distance of two cells, every edit at cost 1 (Abu-Aisheh et al. 2015).

    To read another state is two edits: an edge is removed and one added. Inputs and output stay what they are. What is
    found after ``time_limit`` seconds is an upper bound.
    """
    from networkx import optimize_edit_paths  # takes longer to load than most distances

    graph, other_graph = _graph(cell), _graph(other)
    # To remove all and build anew always works.
    edits, exact, mapping = _size(graph) + _size(other_graph), True, {n: n for n in (0, 1, _OUTPUT)}
    start = monotonic()
    paths = optimize_edit_paths(
        graph,
        other_graph,
        node_subst_cost=_price_relabelling,
        node_del_cost=_price_node,
        node_ins_cost=_price_node,
        edge_subst_cost=_price_edge_change,
        edge_del_cost=_price_edges,
        edge_ins_cost=_price_edges,
        timeout=time_limit,
    )
    for vertices, _, cost in paths:
        if cost <= edits:
            edits, mapping = round(cost), {one: two for one, two in vertices if one is not None and two is not None}
    exact = edits == 0 or monotonic() - start < time_limit
    return CellDistance(edits, exact, *_changes(cell, other, mapping))


def pair_distance(pair: CellPair, other: CellPair, *, time_limit: float = TIME_LIMIT) -> PairDistance:
    """Measure how far apart two pairs of cells are; each of both distances may take ``time_limit`` seconds."""
    return PairDistance(
        cell_distance(pair.normal, other.normal, time_limit=time_limit),
        cell_distance(pair.reduction, other.reduction, time_limit=time_limit),
    )


def _graph(cell: Cell) -> nx.DiGraph[int]:
    """Make the graph of a cell; edges between the same two nodes are one, with the labels of all."""
    from networkx import DiGraph

    graph: nx.DiGraph[int] = DiGraph()
    live = cell.live_states()
    for node in (0, 1, _OUTPUT):
        graph.add_node(node, label=node)
    for state, block in enumerate(cell.blocks, start=INPUTS):
        if state in live:
            graph.add_node(state, label=block.combine)
            for source in {edge.source for edge in block.edges}:
                graph.add_edge(source, state, ops=Counter(edge.op for edge in block.edges if edge.source == source))
    for state in cell.output:
        graph.add_edge(state, _OUTPUT, ops=Counter({"": 1}))
    return graph


def _size(graph: nx.DiGraph[int]) -> int:
    """Count the blocks and the edges."""
    return len(graph) - INPUTS - 1 + sum(_price_edges(edge) for _, _, edge in graph.edges(data=True))


def _price_relabelling(node: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    one, two = node["label"], other["label"]
    if isinstance(one, int) or isinstance(two, int):
        return 0 if one == two else _FORBIDDEN
    return int(one != two)


def _price_node(node: Mapping[str, Any]) -> int:
    return _FORBIDDEN if isinstance(node["label"], int) else 1


def _price_edge_change(edge: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    one, two = _ops(edge), _ops(other)
    return max(one.total(), two.total()) - (one & two).total()


def _price_edges(edge: Mapping[str, Any]) -> int:
    return _ops(edge).total()


def _ops(edge: Mapping[str, Any]) -> Counter[str]:
    ops: Counter[str] = edge["ops"]
    return ops


def _changes(
    cell: Cell, other: Cell, mapping: Mapping[int, int]
) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
    """Pair off the operations that both cells have between nodes that stand for each other; give those left over."""
    live, live_other = cell.live_states(), other.live_states()
    left: dict[tuple[int, int, str], list[tuple[int, int]]] = {}
    for state, block in enumerate(other.blocks, start=INPUTS):
        for side, edge in enumerate(block.edges):
            if state in live_other:
                left.setdefault((edge.source, state, edge.op), []).append((state, side))
    changed = set()
    for state, block in enumerate(cell.blocks, start=INPUTS):
        for side, edge in enumerate(block.edges):
            if state not in live:
                continue
            there = left.get((mapping.get(edge.source, _OUTPUT), mapping.get(state, _OUTPUT), edge.op))
            if there:
                there.pop()
            else:
                changed.add((state, side))
    return frozenset(changed), frozenset(one for ones in left.values() for one in ones)
