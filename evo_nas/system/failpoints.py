"""Failpoints: the places between two steps of writing at which a test can have the process killed.

A promise to survive a crash at any moment is worth what its tests are worth. Each member names the moment right after
something was written, or is about to be; the tests go through all of them. Without the environment variable
``EVO_NAS_FAILPOINT`` they do nothing.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from typing import Final

VARIABLE: Final = "EVO_NAS_FAILPOINT"
"""``NAME`` or ``NAME:N``: be killed when NAME is reached, or reached for the Nth time."""


class Failpoint(StrEnum):
    """A moment between two steps of writing."""

    FOLDER_MADE = "folder-made"
    """the run folder exists and is locked, nothing is in it"""
    CONFIG_WRITTEN = "config-written"
    """``run.toml`` is there"""
    ENVIRONMENT_WRITTEN = "environment-written"
    """``env.json`` is there"""
    HISTORY_MADE = "history-made"
    """``history.db`` has its tables"""
    CONFIG_REWRITTEN = "config-rewritten"
    """a resumed run has its new ``run.toml``"""
    SUM_REMOVED = "sum-removed"
    """a closed history is open for writing again, its checksum gone"""
    RESTORED = "restored"
    """the strategy was told the history again"""
    ASKING = "asking"
    """in the transaction of an ask, before its attempt is inserted"""
    ASKED = "asked"
    """an ask is committed, nothing acts on it yet"""
    SUBMITTED = "submitted"
    """the executor has the job"""
    EVALUATED = "evaluated"
    """a result is in our hands and nowhere else"""
    PAUSED = "paused"
    """a pause is committed, no state was removed and nobody has left the race"""
    PROMOTED = "promoted"
    """the attempt of a training that goes on is committed and not submitted"""
    CRASHED = "crashed"
    """the end of a crashed attempt is committed, the next attempt is not"""
    RETRYING = "retrying"
    """the second attempt is committed and not submitted"""
    TELLING = "telling"
    """in the transaction of a tell, before its learning curve is inserted"""
    TOLD = "told"
    """a tell is committed, the strategy has not heard of it"""
    LEARNED = "learned"
    """the strategy has learned, its notes are not committed"""
    NOTED = "noted"
    """notes are committed, the listeners have not heard"""
    ENDED = "ended"
    """the run has ended and logged it, the history is not closed"""
    CHECKPOINTED = "checkpointed"
    """the write-ahead log is back in the history, which has no checksum yet"""


_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count or 1)


def reach(point: Failpoint) -> None:
    """Kill this process if the environment names this failpoint."""
    global _left
    if point == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
