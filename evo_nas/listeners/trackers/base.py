"""The tracker's contract: what it is shown of a run, and what it must do with that."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evo_nas.listeners.numbers import Entry
from evo_nas.storage.reader import HistoryReader
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.text import read_text
from genotypes.measure import Measure
from genotypes.space import Decision


@dataclass(frozen=True, slots=True)
class Sent:
    """The last event that a tracker holds, and when that was, in seconds since 1970."""

    event: int
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A new best network: its record as JSON, its picture as PNG where it can be drawn, its learning curve."""

    record: str
    picture: bytes | None
    curve: tuple[float, ...]


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers see it: ``settings`` decide it, ``labels`` may change when it is resumed.

    ``began`` is in seconds since 1970. ``draw`` turns the ``cell`` of a trial, a JSON text, into a PNG;
    ``find_decisions`` returns those of a space by its spelling, none of a user's own.
    """

    path: Path
    settings: Mapping[str, Any]
    labels: Mapping[str, Any]
    measure: Measure
    reader: HistoryReader
    draw: Callable[[str], bytes | None]
    find_decisions: Callable[[str], Sequence[Decision]]
    began: float | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.resolve().name

    def describe_incumbent(self, entry: Entry) -> Incumbent:
        """Return what is shown of a new best network."""
        told = entry.told
        cell = self.reader.trial(told.id).cell if told.outcome == "ok" else {}
        record = {"trial": told.id, "fitness": told.fitness, "genotype": told.genotype, "cell": cell}
        picture = self.draw(json.dumps(cell)) if cell else None
        return Incumbent(json.dumps(record, indent=2) + "\n", picture, self.reader.curve(told.id))


class Tracker(ABC):
    """Shows a run in another program. Any exception says that it could not, and it is closed and opened again later.

    In ``folder``, of the tracker's name in the run folder, lies what it needs to find its record again, and the record
    itself unless the variables of its library name another place.
    """

    name: ClassVar[str]

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.folder = run.path / self.name

    @abstractmethod
    def open(self) -> Sent | None:
        """Connect, with a new record or the known one; return how far that is, ``None`` if it is empty."""

    @abstractmethod
    def send(self, entries: Sequence[Entry]) -> None:
        """Add trials, in the order told. The first may be the last that was sent already: it is not added twice."""

    @abstractmethod
    def close(self, *, has_ended: bool, reason: str | None) -> None:
        """Close the record; ``reason`` is why the search ended or stopped, ``has_ended`` that it is over."""

    @abstractmethod
    def forget(self) -> None:
        """Disconnect, and begin a new record when opened next: the known one is of another history."""

    def read_note(self) -> Mapping[str, Any]:
        """Read what :meth:`write_note` wrote last; empty if there is nothing that can be read."""
        try:
            found = json.loads(read_text(self._note))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, Mapping) else {}

    def write_note(self, note: Mapping[str, Any]) -> None:
        """Keep by which name the record is found again."""
        make_folder(self.folder)
        write_whole(self._note, json.dumps(note, indent=2) + "\n")

    @property
    def _note(self) -> Path:
        return self.folder / "evo_nas.json"
