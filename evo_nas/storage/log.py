"""The log of a run folder: when the run was started, and how it ended."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Log:
    """What ``log.jsonl`` says: when the run was begun and when it was started last, in seconds since 1970."""

    began: float | None = None
    started: float | None = None
    starts: int = 0
    last: str | None = None
    """``start``, ``end`` or ``stop``, whichever came last"""
    reason: str | None = None
    """why it ended, or the error that stopped it"""
    sessions: tuple[tuple[float, float | None], ...] = ()
    """start of each session, ascending, and its end; ``None`` where it was killed, or goes on"""


def read_log(path: Path) -> Log:
    """Read the log; lines that are none, such as one that a full disk cut short, are passed over."""
    began = started = None
    starts = 0
    last = reason = None
    sessions: list[tuple[float, float | None]] = []
    with suppress(OSError):
        for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
                event, moment = entry["event"], datetime.fromisoformat(entry["time"]).timestamp()
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if event == "start":
                began, started, starts = moment if began is None else began, moment, starts + 1
                if not sessions or moment >= sessions[-1][0]:
                    sessions.append((moment, None))
            elif event in ("end", "stop") and sessions:
                sessions[-1] = sessions[-1][0], moment
            if event in ("start", "end", "stop"):
                last, reason = event, {"end": entry.get("reason"), "stop": entry.get("error")}.get(event)
                reason = None if reason is None else str(reason)
    return Log(began, started, starts, last, reason, tuple(sessions))
