"""An alarm that ends a block of Python code from within."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from evo_nas.errors import Stopped


class TimeIsUp(Stopped):
    """A block of code has taken too long."""


class Alarm:
    """Ends a block, ``with alarm.limit(seconds):``, that takes too long, by :class:`TimeIsUp`.

    Outside the main thread, where no signal arrives, never. C code is not ended: the exception is raised when it
    returns to Python. A block that nothing limits costs next to nothing: a search has three of them per trial.
    """

    def __init__(self) -> None:
        self._seconds: float | None = None  # that each block may take
        self._of_block: float | None = None  # that the next one may take, if less is not said by then
        self._is_set = False
        self._before: Any = None  # the handler in whose place ours stands, while it does

    def limit(self, seconds: float | None = None) -> Self:
        """Return the context of a block that may take so many seconds; after :meth:`ring_in` what that says counts."""
        self._of_block = seconds
        return self

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._is_set = True  # first: a handler that rings between the two lines is heard by one of them
        seconds = self._of_block if self._seconds is None else self._seconds
        if seconds is not None:
            self._set_timer(seconds)

    def __exit__(self, *_: object) -> None:
        self._is_set = False
        if self._before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
            self._before = None

    def ring_in(self, seconds: float) -> None:
        """Let the block that runs now take so many seconds more, and each later one so many.

        May be called from a signal handler.
        """
        self._seconds = seconds
        if self._is_set:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        if self._before is None:
            self._before = signal.signal(signal.SIGALRM, self._ring) or signal.SIG_DFL
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # 0 would switch the alarm off

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._is_set:
            raise TimeIsUp
