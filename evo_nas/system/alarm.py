"""An alarm that ends a block of Python code from within."""

from __future__ import annotations

# The public module turns handlers into enums, which took most of the time of a limit, and a trial has three of them.
import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from evo_nas.errors import Stopped
from evo_nas.system.stops import raise_stop


class TimeIsUp(Stopped):
    """A block of code has taken too long."""


class Alarm:
    """Ends a block that takes too long, by :class:`TimeIsUp`. Outside the main thread, where no signal arrives, never.

    C code is not ended: the exception is raised when it returns to Python.
    """

    def __init__(self) -> None:
        self._is_set = False

    @contextmanager
    def limit(self, seconds: float | None = None) -> Iterator[None]:
        """Let the block take so many seconds; ``None`` lets it take as long as it wants, unless :meth:`ring_in` says.

        Ctrl-C can be told there from what the code raises, also where nobody else handles it.

        Raises:
            TimeIsUp: in the block, if it takes longer.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signal.SIGALRM: _signal.signal(signal.SIGALRM, self._ring)}
        if _signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = _signal.signal(signal.SIGINT, lambda number, frame: raise_stop(number))
        try:
            self._is_set = True
            if seconds is not None:
                self.ring_in(seconds)
            yield
        finally:
            self._is_set = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                _signal.signal(number, handler)

    def ring_in(self, seconds: float) -> None:
        """Let the block that runs now, if one does, take so many seconds more. May be called from a signal handler."""
        if self._is_set:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # 0 would switch the alarm off

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._is_set:
            raise TimeIsUp
