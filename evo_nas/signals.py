"""Signals that end a search in order: the first stops it, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from evo_nas.errors import Stopped
from evo_nas.manager import Reason

REASONS: Final = {
    signal.SIGINT: Reason.INTERRUPTED,
    signal.SIGTERM: Reason.TERMINATED,
    signal.SIGHUP: Reason.HUNG_UP,
    signal.SIGUSR1: Reason.SCHEDULER,
    signal.SIGXCPU: Reason.SCHEDULER,
}
"""Signal -> reason. Slurm is asked to send SIGUSR1 before the time is up; Grid Engine sends SIGXCPU."""

EXIT_CODES: Final = {
    Reason.INTERRUPTED: 128 + signal.SIGINT,
    Reason.TERMINATED: 128 + signal.SIGTERM,
    Reason.HUNG_UP: 128 + signal.SIGHUP,
    Reason.SCHEDULER: 75,
    Reason.TIME: 75,
}
"""Exit codes of a search that is not over. 75 is EX_TEMPFAIL of sysexits.h: try again later."""


ECHO: Final = 0.2
"""Seconds in which the same signal counts once: timeout(1), for one, sends its to the process and to its group."""


class EndedAtOnce(Stopped):
    """A second signal arrived."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"a second signal: {reason}")
        self.reason = reason


@contextmanager
def handle_signals(stop: Callable[[Reason], None]) -> Iterator[None]:
    """Call ``stop`` at the first signal, and raise :class:`EndedAtOnce` at the next, until the end of the block.

    A signal that a program sends twice at once, as timeout(1) does, counts once; two presses of Ctrl-C count twice. An
    ignored signal stays ignored, as under ``nohup``. Outside the main thread nothing changes, because no signal
    arrives there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[tuple[int, Reason, float]] = []

    def heed(number: int, frame: FrameType | None) -> None:
        reason = REASONS[signal.Signals(number)]
        if first:
            earlier, told, when = first[0]
            if number == earlier != signal.SIGINT and time.monotonic() - when < ECHO:
                return
            raise EndedAtOnce(told)
        first.append((number, reason, time.monotonic()))
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        # Not print(): the main thread may be in the middle of one. How much is in flight it will say when it can.
        with suppress(OSError):
            os.write(2, f"\nevo_nas: stopping ({name}); once more ends it at once\n".encode())
        stop(reason)

    before = {number: signal.getsignal(number) for number in REASONS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, heed)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
