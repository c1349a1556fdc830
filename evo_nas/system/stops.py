"""Signals that end a command: from the first line of its own code to the last, whatever it is doing."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from evo_nas.errors import Stopped

STOPS: Final = {
    signal.SIGINT: 128 + signal.SIGINT,
    signal.SIGTERM: 128 + signal.SIGTERM,
    signal.SIGHUP: 128 + signal.SIGHUP,
    signal.SIGUSR1: 75,
    signal.SIGXCPU: 75,
}
"""Signals of terminals, schedulers and users that end a command -> exit code.

Slurm is asked to send SIGUSR1 before the time is up; Grid Engine sends SIGXCPU. 75 is EX_TEMPFAIL of sysexits.h: try
again later.
"""

ECHO: Final = 0.2
"""Seconds in which the same signal counts once: timeout(1), for one, sends its to the process and to its group."""

DEAF: Final = 2.0
"""Seconds in which a second signal must reach Python code."""

_HEARD: Final = b"\0"

_ear = -1
"""The pipe to the watcher of this process, if it has one."""


class StoppedBySignal(Stopped, KeyboardInterrupt):
    """A signal of :data:`STOPS` arrived; all that unwinds for Ctrl-C unwinds for it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal_name(number))
        self.number = number


def signal_name(number: int) -> str:
    """Return how a user knows the signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def raise_stop(number: int) -> None:
    """Raise :class:`StoppedBySignal`."""
    raise StoppedBySignal(number)


@contextmanager
def name_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be told from a KeyboardInterrupt that other code raises in the block, where nobody handles it."""
    is_free = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: raise_stop(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def heed_stops(first: Callable[[int], None], again: Callable[[int], None]) -> Iterator[None]:
    """Call ``first`` with the first signal of :data:`STOPS` in the block, and ``again`` with each later one.

    A signal that a program sends twice at once, as timeout(1) does, counts once; two presses of Ctrl-C count twice. An
    ignored signal stays ignored, as under ``nohup``. Outside the main thread nothing changes, because no signal
    arrives there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier: list[tuple[int, float]] = []

    def heed(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(_ear, _HEARD)
        now = time.monotonic()
        if not earlier:
            earlier.append((number, now))
            first(number)
        elif number != earlier[0][0] or number == signal.SIGINT or now - earlier[0][1] >= ECHO:
            again(number)

    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, heed)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def set_watcher() -> None:
    """Fork a process that kills this one if it is deaf to a second signal: in C code that keeps the interpreter.

    Python runs a handler between two steps of its own; the bare number of a signal is written to a pipe at once
    (:func:`signal.set_wakeup_fd`). To be called early: what this process has open and in memory, its watcher has too.
    """
    global _ear
    main = os.getpid()
    ear, _ear = os.pipe()
    os.set_blocking(_ear, False)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # those that reach the whole group are not for it
    if os.fork() == 0:
        try:
            os.closerange(0, ear)
            os.closerange(ear + 1, os.sysconf("SC_OPEN_MAX"))
            _watch(main, ear)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(ear)
    signal.set_wakeup_fd(_ear, warn_on_full_buffer=False)


def _watch(main: int, ear: int) -> None:
    """Read the numbers of signals until the other end of the pipe is closed."""
    signals: list[tuple[int, float]] = []
    while True:
        is_told, _, _ = select.select([ear], [], [], DEAF if signals[1:] else None)
        if not is_told:
            os.kill(main, signal.SIGKILL)
            return
        if not (told := os.read(ear, 1)):
            return
        now = time.monotonic()
        if told == _HEARD:
            signals = signals[:1]
        elif told[0] in STOPS:
            # Of two that wait, the kernel delivers the lower number first: another number is no echo.
            number = told[0]
            if number == signal.SIGINT or not signals or number != signals[0][0] or now - signals[0][1] >= ECHO:
                signals.append((number, now))
