"""A subject that was recorded, the states in which a power cut may leave it, and what is wrong with one of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crash.disk import State, choose_states, read_tree, replay
from benchmarks.crash.recording import CannotRecord, Operation, record
from benchmarks.crash.subject import Subject


@dataclass(frozen=True)
class Recording:
    """What a subject does at a ``place``, what was there ``before``, and the ``whole`` that nothing cut off."""

    subject: Subject
    operations: Sequence[Operation]
    before: Path
    place: Path
    whole: Path

    @classmethod
    def make(cls, subject: Subject, library: Path, folder: Path) -> Recording:
        """Record a subject below an empty folder.

        Raises:
            CannotRecord: if it fails, or writes something that the recorder does not see.
        """
        before, place, whole = (folder.resolve() / name for name in ("before", "at", "whole"))
        before.mkdir()
        subject.prepare(before)
        shutil.copytree(before, place, symlinks=True)
        words = ["-m", "benchmarks.crash.subjects", subject.name, str(place)]
        operations = record(library, place, words, folder / "log")
        place.rename(whole)
        made, real = replay(before, operations, place), read_tree(whole)
        differ = sorted(name for name in made.keys() | real.keys() if made.get(name, 0) != real.get(name, 0))
        if differ := [name for name in differ if not name.endswith("-shm")]:  # which SQLite writes as memory
            raise CannotRecord(f"not everything was recorded of {', '.join(differ)}")
        return cls(subject, operations, before, place, whole)

    def states(self, count: int, seed: int, after: range | None = None) -> Iterator[State]:
        """Draw states that a power cut may leave, after any number of operations or after one of some."""
        return choose_states(self.before, self.operations, count, seed, self.place, after)

    def faults(self, state: State) -> list[str]:
        """List what is wrong with a state; a refusal to go on is a fault too."""
        state.write(self.place, self.whole)
        try:
            return self.subject.problems(self.place, state.marks, self.whole)
        except Exception as error:
            return [f"{type(error).__name__}: {error}".replace(str(self.place), "")]
        finally:
            shutil.rmtree(self.place)
