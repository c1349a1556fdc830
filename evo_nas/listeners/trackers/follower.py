"""A tracker brought up to a run's history, again and again until the run has ended, whatever fails in between."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from evo_nas.errors import RunFolderError
from evo_nas.listeners.numbers import Entry, Numbers
from evo_nas.listeners.trackers.base import Sent, TrackedRun, Tracker
from genotypes.genotype import shorten

AGAIN: Final = 60.0
"""Seconds until a tracker is tried again that could not be reached."""

_AT_ONCE: Final = 500
"""Trials that are read at a time: while it reads, the history's log cannot be taken over into its file."""


class Follower:
    """Shows a run to one tracker; ``last`` is the P of "mean of the last P", ``warn`` takes a reason in a line.

    A tracker that fails is warned of once, and tried again after :data:`AGAIN` seconds, and at the end.
    """

    def __init__(self, run: TrackedRun, tracker: Tracker, last: int, warn: Callable[[str], None]) -> None:
        self.tracker = tracker
        self.fault: str | None = None
        self._run = run
        self._last = last
        self._warn = warn
        self._has_warned = False
        self._is_open = False
        self._not_before = float("-inf")
        self._sent = self._read = 0
        self._numbers = Numbers(last, run.measure)

    def catch_up(self, *, is_over: bool, has_ended: bool = False, reason: str | None = None) -> None:
        """Send what was told since the last time; if the run is over, all, and close the record."""
        if not is_over and time.monotonic() < self._not_before:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries about themselves
                self._send(is_over)
                if is_over:
                    self.tracker.close(has_ended=has_ended, reason=reason)
            self.fault = None
        except RunFolderError:
            raise
        except Exception as error:
            self.fault = shorten(" ".join(f"{type(error).__name__}: {error}".split()), 300)
            self._not_before, self._is_open = time.monotonic() + AGAIN, False
            if not self._has_warned:
                self._has_warned = True
                self._warn(self.fault)

    def _send(self, is_over: bool) -> None:
        if not self._is_open:
            self._open()
        newest = self._run.reader.last_event
        while told := [*self._run.reader.follow(self._read, _AT_ONCE)]:
            entries: list[Entry] = []
            for one in told:
                if one.event >= newest and not is_over:  # the strategy may be about to note something
                    break
                entry = self._numbers.add(one)
                self._read = one.event
                if one.event >= self._sent:
                    entries.append(entry)
            if entries:
                self.tracker.send(entries)
                self._sent = self._read
            if len(told) < _AT_ONCE or self._read < told[-1].event:
                break

    def _open(self) -> None:
        """Open the tracker, with a new record if the known one is of another history, such as one that was repaired."""
        sent = self.tracker.open()
        if sent is not None and not self._fits(sent):
            self.tracker.forget()
            sent = self.tracker.open()
        self._sent, self._read = 0 if sent is None else sent.event, 0
        self._numbers = Numbers(self._last, self._run.measure)
        self._is_open = True

    def _fits(self, sent: Sent) -> bool:
        told = next(iter([*self._run.reader.follow(sent.event - 1, 1)]), None)
        return told is not None and told.event == sent.event and sent.at in (None, told.at)


def quiet_libraries() -> None:
    """Have the libraries of trackers say nothing: what fails is said in a line of ours."""
    for name in ("mlflow", "alembic", "urllib3", "wandb", "optuna"):
        with suppress(ValueError):
            logging.getLogger(name).setLevel(logging.CRITICAL)
