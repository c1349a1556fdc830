"""A cell with an operation on every edge between four nodes, as those of NAS-Bench-201 (Dong & Yang 2020)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from genotypes.genotype import GenotypeError, shorten

EDGE_OPS: Final = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The five operations of the benchmark, by its own names and in its order (Dong & Yang 2020, section 2.1)."""

EDGES: Final = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""Target and source of each edge, in the order of the benchmark's architecture string."""

EDGE_NAMES: Final = tuple(f"{target}<-{source}" for target, source in EDGES)

PATHS: Final = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""Every way from the input to the output, as indices of edges."""

_FORM: Final = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
_ARCHITECTURE: Final = re.compile(re.escape(_FORM).replace(r"\{\}", "([^|~]+)"))


@dataclass(frozen=True)
class EdgeCell:
    """A cell of four nodes: node 0 is its input, node 3 its output, and each other node sums its incoming edges.

    ``ops`` are six names of :data:`EDGE_OPS`, in the order of :data:`EDGES`.

    Raises:
        GenotypeError: if there are not six, or one is unknown.
    """

    ops: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        if len(self.ops) != len(EDGES):
            raise GenotypeError(f"a cell of four nodes has {len(EDGES)} edges, not {len(self.ops)}")
        for name, op in zip(EDGE_NAMES, self.ops, strict=True):
            if op not in EDGE_OPS:
                raise GenotypeError(
                    f"edge {name} has the unknown operation {shorten(op)!r}; known: {', '.join(EDGE_OPS)}"
                )

    @property
    def architecture(self) -> str:
        """The benchmark's architecture string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
        return _FORM.format(*self.ops)

    @classmethod
    def parse(cls, text: str) -> EdgeCell:
        """Read an architecture string.

        Raises:
            GenotypeError: if it is none, or names an unknown operation.
        """
        match = _ARCHITECTURE.fullmatch(text)
        if match is None:
            form = _FORM.format(*["op"] * len(EDGES))
            raise GenotypeError(f"{shorten(text)!r} is no architecture of NAS-Bench-201: write {form}")
        return cls(match.groups())

    def edges(self, *, live_only: bool = False) -> tuple[tuple[int, int, str], ...]:
        """List target, source and operation of the edges with an operation other than ``none``.

        With ``live_only`` only of those that are on a path of such edges from the input to the output.
        """
        indices = self.live_edges() if live_only else range(len(EDGES))
        return tuple((*EDGES[index], self.ops[index]) for index in indices if self.ops[index] != "none")

    def live_paths(self) -> tuple[tuple[int, ...], ...]:
        """List the paths from the input to the output without ``none``, as indices of edges."""
        return tuple(path for path in PATHS if all(self.ops[edge] != "none" for edge in path))

    def live_edges(self) -> tuple[int, ...]:
        """List the indices of the edges that are on a live path, in order."""
        return tuple(sorted({edge for path in self.live_paths() for edge in path}))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the architecture string, then the operation of each edge by its name."""
        return {"architecture": self.architecture, **dict(zip(EDGE_NAMES, self.ops, strict=True))}

    @classmethod
    def from_json(cls, record: object) -> EdgeCell:
        """Read the JSON form.

        Raises:
            GenotypeError: if the record has another shape, or says two different things of an edge.
        """
        if not isinstance(record, Mapping) or not isinstance(record.get("architecture"), str):
            raise GenotypeError(f'a cell of edges in JSON is {{"architecture": "...", ...}}, not {shorten(record)}')
        cell = cls.parse(record["architecture"])
        if dict(record) not in (cell.to_json(), {"architecture": cell.architecture}):
            raise GenotypeError(f"the architecture and the edges of a cell do not agree: {shorten(record)}")
        return cell

    def __str__(self) -> str:
        """Return the architecture string."""
        return self.architecture
