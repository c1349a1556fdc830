"""Signals that end a search in order: the first stops it, a second one ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from evo_nas.errors import Stopped
from evo_nas.storage.endings import Reason
from evo_nas.system.stops import STOPS, heed_stops, signal_name

REASONS: Final = {
    signal.SIGINT: Reason.INTERRUPTED,
    signal.SIGTERM: Reason.TERMINATED,
    signal.SIGHUP: Reason.HUNG_UP,
    signal.SIGUSR1: Reason.SCHEDULER,
    signal.SIGXCPU: Reason.SCHEDULER,
}
"""Signal -> reason."""

EXIT_CODES: Final = {Reason.TIME: 75} | {reason: STOPS[number] for number, reason in REASONS.items()}
"""Exit codes of a search that is not over."""


class EndedAtOnce(Stopped):
    """A second signal arrived."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"a second signal: {reason}")
        self.reason = reason


@contextmanager
def handle_signals(stop: Callable[[Reason], None]) -> Iterator[None]:
    """Call ``stop`` at the first signal, and raise :class:`EndedAtOnce` at the next, until the end of the block.

    What counts as the next, and where nothing changes: :func:`evo_nas.system.stops.heed_stops`.
    """
    told: list[Reason] = []

    def first(number: int) -> None:
        told.append(REASONS[signal.Signals(number)])
        # Not print(): the main thread may be in the middle of one. How much is in flight it will say when it can.
        with suppress(OSError):
            os.write(2, f"\nevo_nas: stopping ({signal_name(number)}); once more ends it at once\n".encode())
        stop(told[0])

    def again(number: int) -> None:
        raise EndedAtOnce(told[0])

    with heed_stops(first, again):
        yield
