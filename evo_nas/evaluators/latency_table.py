"""A table of latencies of pieces of networks: what a network takes as it is deployed is predicted by their sum.

Each piece is timed alone, without what a call of the runtime takes (FBNet, Wu et al. 2019, section 3.3, adds up such a
table). A piece alone reorders its input and output, which it does not inside a network; so all times are brought to
those of a few whole networks by one factor.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evo_nas.errors import DataError
from evo_nas.phenotypes.onnx.pieces import Piece, write_piece
from evo_nas.system.text import read_text
from genotypes.genotype import shorten

METRICS: Final = ("ort_latency", "ort_latency_tabled")
"""Metrics of a latency that is predicted."""

TimeAll = Callable[[Sequence[bytes]], NDArray[Any]]
"""Takes the contents of ONNX files and returns the seconds of an inference of each, of shape (rounds, files)."""

_CALL: Final = Piece("Flatten", ((1, 1, 1),), (), (("axis", 1),), (1,))
"""A piece that computes nothing: what it takes is the call."""

_QUIET: Final = 0.1
"""Quantile of the rounds that is taken for a quiet machine: the others were disturbed."""


@dataclass(frozen=True)
class LatencyTable:
    """Seconds of pieces inside a network: kind -> sizes -> (work, seconds). ``device`` is where they were timed."""

    device: str
    rows: Mapping[str, Mapping[str, tuple[float, float]]]

    @property
    def digest(self) -> str:
        """The SHA-256 of its numbers."""
        return hashlib.sha256(json.dumps(self.rows, sort_keys=True).encode()).hexdigest()

    def predict(self, pieces: Mapping[Piece, int]) -> dict[str, float]:
        """Return the latency of a network of so many of each piece, in seconds, as ``ort_latency``.

        ``ort_latency_tabled`` is the share of it that pieces of the table make. Another piece takes what the piece of
        its kind takes that is nearest in work, in proportion to the work; where there is no such kind, of its
        operation, or of all.
        """
        tabled = unknown = 0.0
        for piece, count in pieces.items():
            row = self.rows.get(piece.kin, {}).get(piece.sizes)
            if row is not None:
                tabled += count * row[1]
            else:
                unknown += count * self._judge(piece)
        whole = tabled + unknown
        return dict(zip(METRICS, (whole, tabled / whole if whole else 1.0), strict=True))

    def _judge(self, piece: Piece) -> float:
        """Return the seconds of a piece that is not in the table."""
        alike = [kin for kin in self.rows if kin == piece.kin]
        alike = alike or [kin for kin in self.rows if kin.partition(" ")[0] == piece.op] or list(self.rows)
        rows = [row for kin in alike for row in self.rows[kin].values()]
        work, seconds = min(rows, key=lambda row: (abs(math.log(row[0] / piece.work)), row))
        return seconds * piece.work / work


def measure_table(
    pieces: Collection[Piece], networks: Sequence[tuple[bytes, Mapping[Piece, int]]], time_all: TimeAll, device: str
) -> tuple[LatencyTable, float]:
    """Time pieces, and whole networks that are made of them; return the table, and its error on these networks.

    A network is the content of an ONNX file, and how often each piece occurs in it. The error is the mean of the
    absolute differences of predicted and measured latencies, as a fraction of the measured ones.

    Raises:
        DataError: if the networks are so small that they take no longer than a call.
    """
    known = list(dict.fromkeys(pieces))
    models = [write_piece(_CALL), *map(write_piece, known), *(content for content, _ in networks)]
    times = time_all(models)
    counts = np.array([[each.get(piece, 0) for _, each in networks] for piece in known])
    usual, quiet = (_subtract_call(np.quantile(times, share, axis=0)) for share in (0.5, _QUIET))
    # Both of the same rounds: a machine is seldom quiet for as long as a whole network takes.
    sums, whole = usual[: len(known)] @ counts, usual[len(known) :]
    if not (sums.min() > 0 and whole.min() > 0):
        raise DataError("the networks are too small for a table of latencies: leave deploy_table out")
    ratios = whole / sums
    factor = float(np.median(ratios))
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for piece, time in zip(known, factor * quiet[: len(known)], strict=True):
        rows.setdefault(piece.kin, {})[piece.sizes] = (float(piece.work), float(time))
    return LatencyTable(device, rows), float(np.abs(factor / ratios - 1).mean())


def _subtract_call(seconds: NDArray[Any]) -> NDArray[Any]:
    """Return the seconds of all models but the first, without those of the first, which is the call alone."""
    beyond: NDArray[Any] = np.maximum(seconds[1:] - seconds[0], 0.0)
    return beyond


def spell_table(table: LatencyTable, key: Mapping[str, Any]) -> str:
    """Return the text of a file with a table, and with all that it is the table of."""
    return json.dumps({"key": key, "device": table.device, "pieces": table.rows}, indent=1) + "\n"


def read_table(path: Path, key: Mapping[str, Any]) -> LatencyTable:
    """Read a table from its file.

    Raises:
        DataError: if it cannot be read, is damaged, or is the table of something else.
    """
    try:
        record = json.loads(read_text(path))
        rows = {
            str(kin): {str(sizes): (float(work), float(seconds)) for sizes, (work, seconds) in some.items()}
            for kin, some in record["pieces"].items()
        }
        numbers = [row for some in rows.values() for row in some.values()]
        if not numbers or not all(0 < work < math.inf and 0 <= seconds < math.inf for work, seconds in numbers):
            raise ValueError("its numbers are no works and seconds")
        if record["key"] != json.loads(json.dumps(key)):
            raise ValueError("it is of another space or deployment")
        return LatencyTable(str(record["device"]), rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"the latency table {path} is damaged: {shorten(str(error), 100)}") from error
