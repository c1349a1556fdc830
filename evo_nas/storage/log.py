"""The log of a run folder: when the run was started, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from evo_nas.system.text import read_text


@dataclass(frozen=True)
class Log:
    """The times in ``log.jsonl``: when the run was begun and when it was started last, in seconds since 1970."""

    began: float | None = None
    started: float | None = None
    starts: int = 0
    last: str | None = None
    """``start``, ``end`` or ``stop``, whichever came last"""
    reason: str | None = None
    """why it ended, or the error that stopped it"""


def read_log(path: Path) -> Log:
    """Read the log."""
    began = started = None
    starts = 0
    last = reason = None
    for event, moment, entry in read_events(path):
        if event == "start":
            began, started, starts = moment if began is None else began, moment, starts + 1
        last, reason = event, {"end": entry.get("reason"), "stop": entry.get("error")}.get(event)
        reason = None if reason is None else str(reason)
    return Log(began, started, starts, last, reason)


def read_events(path: Path) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """Yield each ``start``, ``end`` and ``stop`` of a log, its moment in seconds since 1970, and the whole entry.

    Lines that are none, such as one that a full disk cut short, are passed over; so is a log that cannot be read.
    """
    try:
        lines = read_text(path, errors="replace").split("\n")
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            entry = json.loads(line)
            event, moment = entry["event"], datetime.fromisoformat(entry["time"]).timestamp()
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if event in ("start", "end", "stop"):
            yield event, moment, entry
