"""A search in progress in TensorBoard: a view of the run's history, which stays the record."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from evo_nas.listeners.numbers import Numbers
from evo_nas.loop.listener import Listener
from evo_nas.storage.history import History
from evo_nas.storage.replay import Told
from genotypes.individual import Evaluation, Individual
from genotypes.measure import ACCURACY, Measure
from genotypes.population import Population

SECONDS_BETWEEN_WRITES: Final = 1.0
"""Seconds between two writes: a table answers thousands of trials per second."""

"""The chart of TensorBoard's tab "custom scalars": all trials, the best and the mean in one."""


class _Events:
    """A file of TensorBoard's events, written where it is called: a full disk is an error here, and in no thread."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._event = Event
        # Without a buffer: one that cannot be written would be tried again, and complain, when Python ends.
        self._records = RecordWriter((folder / name).open("wb", buffering=0))
        try:
            self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        except OSError:
            self.close()
            raise

    def add(self, summary: Any, step: int = 0, at: float | None = None) -> None:
        """Write a summary; ``at`` is its wall time, in seconds since 1970, by default now."""
        wall_time = time.time() if at is None else at
        self._records.write(self._event(summary=summary, step=step, wall_time=wall_time).SerializeToString())

    def close(self) -> None:
        """Close the file."""
        self._records.close()


class TensorBoard(Listener):
    """Write the history of a run, and its new trials, as TensorBoard's events.

    ``run`` is the run folder, ``last`` the P of "mean of the last P". The step is the number of trainings that had
    ended, the wall time that of the history. Accuracies are fractions in [0, 1]. The events of an earlier session
    are written again, so that nothing is missing after a crash, or where the option came later than the run.

    A view is no reason to end a search: if the events cannot be written it says so, once, and is silent from then on.
    It is a context manager; leaving it writes the rest.
    """

    def __init__(self, run: Path, history: History, last: int) -> None:
        self.folder = run / "tensorboard"
        self.history = history
        self._events: _Events | None = None
        self._is_broken = False
        self._written = float("-inf")
        self._event = 0
        self._measure = ACCURACY
        self._last = last
        self._numbers = Numbers(last, ACCURACY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(ends=True)

    def starting(self, measure: Measure) -> None:
        """Take the word for the fitness."""
        self._measure = measure
        self._numbers = Numbers(self._last, measure)

    def restored(self, population: Population, trained: int) -> None:
        """Write the trials that the history holds already."""
        self._write()

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Write the trials that ended since the last time, unless that was just now."""
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write()

    def _write(self, *, ends: bool = False) -> None:
        """Bring the events up to the history, which holds every trial before any listener hears of it."""
        if self._is_broken:
            return
        try:
            if self._events is None:
                self._events = self._begin()
            for told in self.history.follow(self._event):
                self._add(self._events, told)
                self._event = told.event
            if ends:
                self._events.close()
        except (OSError, ImportError) as error:
            self._is_broken = True
            if self._events is not None:
                self._events.close()
            print(f"evo_nas: warning: no more events for TensorBoard in {self.folder}: {error}", file=sys.stderr)
        self._written = time.monotonic()

    def _begin(self) -> _Events:
        """Delete the events of an earlier session, and open a new file."""
        from torch.utils.tensorboard.summary import custom_scalars

        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        events = _Events(self.folder)
        name = self._measure.name
        events.add(custom_scalars({"search": {name: ["Multiline", [f"{re.escape(name)}/.*"]]}}))
        return events

    def _add(self, events: _Events, told: Told) -> None:
        """Write one event with all numbers of a trial, and the genotype and curve of a new incumbent."""
        from torch.utils.tensorboard.summary import scalar, text

        entry = self._numbers.add(told)
        values = [scalar(name, value) for name, value in entry.numbers.items()]
        if entry.is_incumbent:
            values.append(text("incumbent", f"trial {told.id}\n\n    {told.genotype}"))  # 4 spaces: as it stands
        event = type(values[0])()
        for value in values:
            event.MergeFrom(value)
        events.add(event, entry.trained, told.at)
        if entry.is_incumbent:
            for epoch, value in enumerate(self.history.curve(told.id), 1):
                curve = scalar(f"incumbents_learning_curve/trial_{told.id}", value)
                events.add(curve, epoch, told.at)
