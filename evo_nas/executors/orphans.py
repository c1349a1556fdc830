"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # of <linux/prctl.h>


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, even while an evaluation keeps the interpreter to itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
