"""Two pairs of cells and what tells them apart: how many edits, and which operations, how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.cells.distance import TIME_LIMIT, CellDistance, PairDistance, pair_distance
from analysis.cells.drift import operation_counts
from genotypes.cell import CellPair


@dataclass(frozen=True, slots=True)
class Difference:
    """The names of two pairs, the pairs, their distance, and their operations as rows of ``COUNT_COLUMNS``.

    There a pair is called A or B, in the order given.
    """

    names: tuple[str, str]
    pairs: tuple[CellPair, CellPair]
    distance: PairDistance
    counts: pd.DataFrame

    def notes(self) -> list[str]:
        """Return what the numbers do not."""
        notes = []
        if not self.distance.exact:
            notes.append("The time was up: fewer edits may do than the number after <=.")
        one, two = (pair.stacking for pair in self.pairs)
        if one != two:
            notes.append(f"Their networks stack cells in different ways ({one}, {two}), which no number here counts.")
        return notes

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: names, distances, and for each operation its counts in the cells of A and of B."""
        table = self._table()
        return {
            "names": list(self.names),
            "edits": self.distance.edits,
            "exact": self.distance.exact,
            "normal": _to_json(self.distance.normal),
            "reduction": _to_json(self.distance.reduction),
            "operations": [
                {"operation": op}
                | {cell: [int(row[cell, "A"]), int(row[cell, "B"])] for cell in ("normal", "reduction")}
                for op, row in table.iterrows()
            ],
            "notes": self.notes(),
        }

    def lines(self) -> list[str]:
        """Return the distance, the table of operations and the notes as text, a line each."""
        apart = f"{self.distance.normal} in the normal cell, {self.distance.reduction} in the reduction cell"
        lines = [f"{letter}: {name}" for letter, name in zip("AB", self.names, strict=True)]
        lines += [f"graph edit distance {self.distance}: {apart}", ""]
        table = self._table()
        width = max(map(len, ["operation", *table.index]))
        lines.append(f"{'operation':<{width}}  {'normal':>8}  {'reduction':>9}")
        lines.append(f"{'':<{width}}  {'A':>4}{'B':>4}  {'A':>5}{'B':>4}")
        for op, row in table.iterrows():
            one, two = (
                [f"{row[cell, letter] or '-':>{wide}}" for letter, wide in zip("AB", widths, strict=True)]
                for cell, widths in (("normal", (4, 4)), ("reduction", (5, 4)))
            )
            lines.append(f"{op:<{width}}  {''.join(one)}  {''.join(two)}")
        return [*lines, *self.notes()]

    def _table(self) -> pd.DataFrame:
        return self.counts.pivot_table(index="operation", columns=["cell", "pair"], values="count", aggfunc="sum")


def difference(
    names: tuple[str, str], pairs: tuple[CellPair, CellPair], *, time_limit: float = TIME_LIMIT
) -> Difference:
    """Compare two pairs of cells; each of both distances may take ``time_limit`` seconds."""
    counts = operation_counts(dict(zip("AB", pairs, strict=True)))
    return Difference(names, pairs, pair_distance(*pairs, time_limit=time_limit), counts)


def _to_json(distance: CellDistance) -> dict[str, Any]:
    """Return the edits, and what is in one cell alone: the hidden state of a block, 0 for left or 1 for right."""
    return {
        "edits": distance.edits,
        "exact": distance.exact,
        "only_in_a": sorted(map(list, distance.changed)),
        "only_in_b": sorted(map(list, distance.changed_other)),
    }
