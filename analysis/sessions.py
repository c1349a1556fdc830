"""The time that a run was going for: its sessions one after the other, without what lay between them.

Sessions are read from ``log.jsonl``, which docs/history.md documents: each begins with a ``start`` and ends with an
``end`` or a ``stop``, or, if the process was killed, with the last tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evo_nas.storage.log import read_events

Floats = NDArray[np.float64]


def measure_elapsed_seconds(folder: Path, asked_at: Floats, told_at: Floats) -> Floats:
    """Return for each tell how many seconds the run had been going for by then; NaN where nothing was told.

    ``asked_at`` and ``told_at``, both of shape (trials,), are wall clocks in seconds since 1970, in the order told, NaN
    while pending. The log counts whole seconds, so each session is known to a second. A run without a readable log
    has one session, from the first ask on. A wall clock that was set back adds nothing: no tell comes before another.
    """
    if np.isnan(told_at).all():
        return np.full(len(told_at), math.nan)
    spans = _sessions(folder / "log.jsonl") or [(float(np.nanmin(asked_at)), None)]
    starts = np.array([start for start, _ in spans])
    # What was told before the first start that is known, by a log that lost its head, belongs to that session.
    session = np.maximum(np.searchsorted(starts, told_at, side="right") - 1, 0)
    before, lengths = 0.0, np.zeros(len(spans))
    for number, (start, end) in enumerate(spans):
        within = told_at[(session == number) & ~np.isnan(told_at)]
        last = max([start, *within.tolist(), *([] if end is None else [end])])
        lengths[number], before = before, before + last - start
    spent = np.maximum(lengths[session] + told_at - starts[session], 0.0)
    return np.where(np.isnan(told_at), math.nan, np.fmax.accumulate(spent))


def _sessions(log: Path) -> Sequence[tuple[float, float | None]]:
    """Read the start of each session, ascending, and its end if it had one; lines that say neither are passed over."""
    found: list[tuple[float, float | None]] = []
    for event, time, _ in read_events(log):
        if event == "start" and (not found or time >= found[-1][0]):
            found.append((time, None))
        elif event != "start" and found:
            found[-1] = (found[-1][0], time)
    return found
