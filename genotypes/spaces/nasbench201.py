"""The space of NAS-Bench-201 (Dong & Yang 2020), which is the topology space of NATS-Bench (Dong et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from genotypes.edge_cell import EDGE_NAMES, EDGE_OPS, EdgeCell
from genotypes.genotype import Genotype
from genotypes.space import Decision, SearchSpace

NASBENCH201_OPS: Final = EDGE_OPS
"""The five operations of the benchmark, by its own names and in its order (Dong & Yang 2020, section 2.1)."""

_INDEX: Final = {op: index for index, op in enumerate(NASBENCH201_OPS)}


@dataclass(frozen=True)
class NASBench201Space(SearchSpace):
    """An operation for each of the six edges of a cell of four nodes: the 15,625 cells of NAS-Bench-201.

    Node 0 is the input of the cell, node 3 its output; each node is the sum of its incoming edges. The decision
    ``2<-1`` is the edge from node 1 to node 2, and decisions stand in the order of the benchmark's architecture
    string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``. The topology space of NATS-Bench has the same cells and strings.

    Cells that compute the same function count as different ones: the benchmark has trained each of them, so that
    its table tells them apart. The default mutation is the field's own: one edge, another operation.
    """

    name: ClassVar[str] = "nasbench201"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The six edges, by target node, then by source node."""
        return _DECISIONS

    def architecture(self, genotype: Genotype) -> str:
        """Write the genotype as the benchmark's architecture string; :meth:`parse` reads it back.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        return self.decode(genotype).architecture

    def parse(self, text: str) -> Genotype:
        """Read a genotype from its text form or from an architecture string."""
        text = text.strip()
        if not text.startswith("|"):
            return super().parse(text)
        return Genotype(self.spelling, tuple([_INDEX[op] for op in EdgeCell.parse(text).ops]))

    def decode(self, genotype: Genotype) -> EdgeCell:
        """Return the cell; in JSON the architecture string, then the operation of each edge."""
        self.check(genotype)
        return EdgeCell(tuple([NASBENCH201_OPS[choice] for choice in genotype.choices]))

    def key(self, genotype: Genotype) -> str:
        """Return the architecture string: every cell has its own row in the benchmark's table."""
        return self.architecture(genotype)

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """Return the operations on live edges, and the paths from input to output without skip connections.

        An edge is live if it is on a path without ``none``.
        """
        cell = self.decode(genotype)
        ops, paths = cell.ops, cell.live_paths()
        spelled = ("+".join(ops[edge] for edge in path if ops[edge] != "skip_connect") for path in paths)
        return (*(ops[edge] for edge in cell.live_edges()), *(f"path {path}" for path in spelled))


_DECISIONS: Final = tuple(Decision(edge, NASBENCH201_OPS) for edge in EDGE_NAMES)
