"""Operations of cells: counted in pairs of cells, and how their shares drift over a search."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.cells.designs import read_chain, read_pyramid, read_widths
from analysis.frames import HistoryError
from genotypes.cell import INPUTS, Cell, CellPair
from genotypes.genotype import GenotypeError, shorten

COUNT_COLUMNS: Final[dict[str, str]] = {
    "pair": "name of the pair of cells",
    "cell": "normal or reduction",
    "operation": "name of the operation",
    "count": "how many times it stands in blocks that reach the output",
}
"""Column of :func:`operation_counts` -> what it holds."""

DRIFT_COLUMNS: Final[dict[str, str]] = {
    "run": "name of the run",
    "strategy": "name of its strategy",
    "space": "full spelling of its space",
    "cell": "normal or reduction; cell where the space describes no pair of cells",
    "first": "first sample of the window, from 1: a count of the run's ended trainings",
    "last": "its last sample",
    "operation": "name of the operation",
    "count": "how many times it stands in the networks of the window",
    "share": "that among all operations of these cells, fraction in [0, 1]",
}
"""Column of :func:`operation_drift` -> what it holds, with its unit."""

WINDOWS: Final = 24
"""Windows that a search is cut into by default."""

_FEWEST: Final = 10  # samples of a window by default: fewer would show noise alone
_is_word = re.compile(r"[A-Za-z][A-Za-z0-9_\-]*").fullmatch


def operation_counts(pairs: Mapping[str, CellPair]) -> pd.DataFrame:
    """Count the operations of pairs of cells, by name; :data:`COUNT_COLUMNS` says what is in it.

    Every operation of one of them has a row for each cell of each pair, with 0 where it is not there.
    """
    counts = {
        (name, cell): _count(getattr(pair, cell)) for name, pair in pairs.items() for cell in ("normal", "reduction")
    }
    operations = sorted({op for count in counts.values() for op in count})
    rows = [(name, cell, op, count[op]) for (name, cell), count in counts.items() for op in operations]
    return pd.DataFrame(rows, columns=list(COUNT_COLUMNS)).astype({"count": "int64"})


def operation_drift(frame: pd.DataFrame, window: int | None = None) -> pd.DataFrame:
    """Follow the shares of the operations over searches; :data:`DRIFT_COLUMNS` says what is in it.

    ``frame`` comes from :func:`~analysis.frames.load_history` with ``cells=True``; its trainings count, failed ones
    too, because the search chose them all. ``window`` is in samples; by default the longest run has :data:`WINDOWS` of
    at least 10. The last window of a run may have fewer samples. No training gives an empty frame.

    Raises:
        HistoryError: if the cells of none of them name an operation.
        ValueError: if the window is below 1, or the frame has no cells.
    """
    if "cell" not in frame:
        raise ValueError("the frame has no cells: load it with load_history(..., cells=True)")
    if window is not None and window < 1:
        raise ValueError(f"a window has at least 1 sample, not {window}")
    trained = frame[frame["trained"]]
    if trained.empty:
        return _drift([])
    longest = int(trained["sample"].max())
    width = window or max(_FEWEST, -(-longest // WINDOWS))
    codes, texts = pd.factorize(trained["cell"])
    matrix, names = _matrix([_counts_of_text(text) for text in texts])
    if not names:
        spaces = ", ".join(shorten(space, 40) for space in trained["space"].unique())
        mend = "; --kind widths draws widths" if any(read_widths(text) for text in texts) else ""
        raise HistoryError(f"there are no operations to follow: {spaces} describes none{mend}")
    cells = np.array([cell for cell, _ in names])
    rows: list[tuple[Any, ...]] = []
    places = trained.assign(row=codes, window=(trained["sample"].astype("int64") - 1) // width)
    for (run, strategy, space), own in places.groupby(["run", "strategy", "space"], observed=True):
        last = int(own["sample"].max())
        for _, group in own.groupby("window"):
            total = matrix[group["row"]].sum(axis=0, dtype=np.int64)
            start = int(group["window"].iloc[0]) * width
            for (cell, op), count in zip(names, total, strict=True):
                if whole := total[cells == cell].sum():
                    ends = start + 1, min(start + width, last)
                    rows.append((run, strategy, space, cell, *ends, op, int(count), float(count / whole)))
    drift = _drift(rows)
    # What no network of a space has is none of its operations.
    return drift[drift.groupby(["space", "operation"])["count"].transform("sum") > 0].reset_index(drop=True)


def _drift(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    dtypes = {"first": "int64", "last": "int64", "count": "int64", "share": "float64"}
    return pd.DataFrame(rows, columns=list(DRIFT_COLUMNS)).astype(dtypes)


def _count(cell: Cell) -> Counter[str]:
    """Count the operations of the blocks that reach the output."""
    live = cell.live_states()
    states = enumerate(cell.blocks, start=INPUTS)
    return Counter(edge.op for state, block in states if state in live for edge in block.edges)


def _counts_of_text(text: str) -> Counter[tuple[str, str]]:
    """Count the operations in the text of a cell: of a pair of cells, or of an object whose values name some.

    Those of a feature pyramid are its combinations, each with the level of what it makes; those of a chain its blocks.
    """
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, RecursionError, TypeError):
        return Counter()
    if (pyramid := read_pyramid(text)) is not None:
        return Counter(("cell", f"{merge.combine}_P{merge.level}") for merge in pyramid.merges)
    if (chain := read_chain(text)) is not None:
        return Counter(("cell", block) for block in chain.blocks)
    try:
        pair = CellPair.from_json(record)
    except (GenotypeError, RecursionError):
        values = record.values() if isinstance(record, dict) and not read_widths(text) else ()
        return Counter(("cell", value) for value in values if isinstance(value, str) and _is_word(value))
    sides = (("normal", pair.normal), ("reduction", pair.reduction))
    return Counter({(name, op): count for name, cell in sides for op, count in _count(cell).items()})


def _matrix(
    counts: list[Counter[tuple[str, str]]],
) -> tuple[np.ndarray[Any, np.dtype[np.int32]], list[tuple[str, str]]]:
    """Return counts as an array of shape (cells, names), and the names; each cell of a pair has every operation."""
    found = {name for count in counts for name in count}
    operations = sorted({op for _, op in found})
    names = [(cell, op) for cell in sorted({cell for cell, _ in found}) for op in operations]
    column = {name: position for position, name in enumerate(names)}
    matrix = np.zeros((len(counts), len(names)), dtype=np.int32)
    for row, count in enumerate(counts):
        for name, number in count.items():
            matrix[row, column[name]] = number
    return matrix, names
