"""Repair of a damaged history: its good rows go into a new file, and the damaged one is kept."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from evo_nas.errors import DamagedHistory, RunFolderError
from evo_nas.storage import schema
from evo_nas.storage.checksums import damage, file_sum, row_sum, sum_file
from evo_nas.storage.connection import connect
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import BESIDE_HISTORY, FILES, RunFolder, name_beside, resume_command, take_lock
from evo_nas.storage.salvage import Salvage, salvage
from evo_nas.storage.schema import ASK, ATTEMPT, CURVE, NOTE, RUNG, TELL, TRIAL, Table
from evo_nas.system.atomic import replace_whole, sync, write_whole
from evo_nas.system.links import refuse_links
from genotypes.genotype import shorten


@dataclass(frozen=True)
class Repair:
    """The result of a repair: how many trials are saved as they were, and which are not."""

    path: Path
    saved: int
    again: tuple[int, ...] = ()
    """ids of trials that are pending again: their asks are whole, what was told of them is not"""
    lost: tuple[int, ...] = ()
    """ids of trials that are lost"""
    kept: Path | None = None
    """where the damaged history lies now; ``None`` if there was nothing to repair"""

    @property
    def trials(self) -> int:
        """Number of trials that the history had, as far as can be known."""
        return self.saved + len(self.again) + len(self.lost)

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``repair --json``; ``kept`` is null if the history was sound."""
        return {
            "run": str(self.path),
            "sound": self.kept is None,
            "trials": self.trials,
            "saved": self.saved,
            "pending_again": list(self.again),
            "lost": list(self.lost),
            "kept": None if self.kept is None else str(self.kept),
        }

    def lines(self) -> Iterator[str]:
        """Return the text of ``repair``."""
        if self.kept is None:
            yield f"the history of {self.path} is sound: {self.saved} trials; nothing was changed"
            return
        found = [f"saved {self.saved} of {self.trials} trials"]
        found += [
            f"{word}: {len(ids)} ({_spell_ids(ids)})"
            for word, ids in (("pending again", self.again), ("lost", self.lost))
            if ids
        ]
        yield "; ".join(found)
        yield f"the damaged history is kept: {self.kept}"
        yield f"resume with: {resume_command(self.path)}"


def repair(path: Path) -> Repair:
    """Save what can be read of a damaged history into a new one of this version; a sound one is not touched.

    A trial whose tell is damaged, or whose learning curve is not complete, is pending again: ``resume`` trains it
    again under the same id, genotype and seed. Killed at any moment, it can be run again, and has lost nothing.

    Raises:
        RunFolderError: if there is no run, it is in use, or nothing can be saved; then nothing was changed.
    """
    _put_back_under_lock(path)
    with RunFolder.open(path) as folder:
        try:
            with suppress(DamagedHistory):
                return _sound(folder)
            found = salvage(folder.history)
            if not found.trials:
                raise RunFolderError(
                    f"no trial of {folder.history} can be read, so there is nothing to save; it is left as it is: "
                    "put the file back from a copy, or start a new run"
                )
            folder.log("repair")  # a history that is missing is missed from now on
            try:
                kept = _replace(folder, found)
            except BaseException:
                with suppress(OSError):  # if not now, then the next time
                    _put_back(folder.history)
                raise
        except OSError as error:
            raise RunFolderError(f"cannot use {error.filename or folder.history}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise RunFolderError(f"cannot write a new history into {path}: {error}") from error
        with suppress(OSError):  # without it the next to open the history reads it all
            write_whole(sum_file(folder.history), file_sum(folder.history) + "\n")
        again = tuple(id for id, trial in found.trials.items() if trial.was_told and not trial.tell)
        result = Repair(path, len(found.trials) - len(again), again, tuple(found.lost), kept)
        folder.log("repaired", **{name: value for name, value in result.to_json().items() if name != "run"})
        return result


def _sound(folder: RunFolder) -> Repair:
    """Return the empty repair of a sound history, whatever its checksum says.

    Raises:
        DamagedHistory: if it is damaged.
        RunFolderError: if there is none, or it is of another version.
    """
    History.exists(folder.history, locks=folder.has_locks)
    if name_beside(folder.history, "-journal").exists():  # to be taken back, which needs writing
        with suppress(sqlite3.Error), closing(connect(folder.history, "rw", folder.has_locks)) as connection:
            connection.execute("SELECT 1 FROM sqlite_master")
    History.read(folder.history, checked=False).close()
    with closing(connect(folder.history, "ro", folder.has_locks)) as connection:
        if found := damage(connection, folder.has_locks):
            raise DamagedHistory(found)
        (asked,) = connection.execute("SELECT count(*) FROM trial").fetchone()
    return Repair(folder.path, asked)


# From one file to the other ----------------------------------------------------------------------------------------


def _replace(folder: RunFolder, found: Salvage) -> Path:
    """Write a new history and put it into the place of the old one, which is kept under a name of its own.

    At every moment there is the old history whole, the new one whole, or none, and that nobody takes for a run.
    """
    history = folder.history
    for leftover in history.parent.glob(f"{history.name}.partial*"):
        leftover.unlink()  # of a repair that was killed; SQLite would take its log for that of the new one
    with replace_whole(history) as partial:
        _write(partial, found, folder.has_locks)
        kept = _free_name(history)
        # The history goes first and what lies beside it follows, so that nobody finds it without its log.
        _rename(history, kept)
        for suffix in BESIDE_HISTORY:
            _rename(name_beside(history, suffix), name_beside(kept, suffix))
        _rename(sum_file(history), sum_file(kept))
        sync(folder.path)
    return kept


def _put_back_under_lock(path: Path) -> None:
    """Undo what an earlier repair did that was killed, if there was one; without its history it is no run to open."""
    history = RunFolder(path).history
    if _find_last_copy(history) is not None and not os.path.lexists(history):
        refuse_links(path, FILES)
        lock, _ = take_lock(path / "run.lock", f"the run folder {path}")
        with closing(lock):
            _put_back(history)


def _put_back(history: Path) -> None:
    """Undo what a repair that was cut short did to the names: the history comes last, when all beside it is there."""
    last = _find_last_copy(history)
    if last is None or os.path.lexists(history):
        return
    for suffix in BESIDE_HISTORY:
        _rename(name_beside(last, suffix), name_beside(history, suffix))
    _rename(sum_file(last), sum_file(history))
    _rename(last, history)
    sync(history.parent)


def _find_last_copy(history: Path) -> Path | None:
    """Find the damaged history that was put aside last."""
    number = re.compile(r"history\.damaged-([1-9]\d{0,8})\.db")
    with suppress(OSError):
        kept = {int(match[1]): file for file in history.parent.iterdir() if (match := number.fullmatch(file.name))}
        return kept[max(kept)] if kept else None
    return None


def _rename(old: Path, new: Path) -> None:
    """Rename a file if it is there and the new name is free."""
    if os.path.lexists(old) and not os.path.lexists(new):
        old.rename(new)


def _free_name(history: Path) -> Path:
    """Name the next ``history.damaged-<n>.db`` for which nothing is there yet, nor beside it."""
    number = 1
    while any(file.name.startswith(f"history.damaged-{number}.") for file in history.parent.iterdir()):
        number += 1
    return history.with_name(f"history.damaged-{number}.db")


# The new history ---------------------------------------------------------------------------------------------------


def _write(place: Path, found: Salvage, locks: bool) -> None:
    """Write what was found as a history of this version, and read it again."""
    with closing(connect(place, "rwc", locks)) as connection:
        connection.execute(f"PRAGMA journal_mode = {'WAL' if locks else 'DELETE'}")
        schema.make(connection)
        with connection:
            for id, trial in found.trials.items():
                row: dict[str, Any] = {**dict(zip(ASK, trial.ask, strict=True)), "asked_sum": row_sum(*trial.ask)}
                if trial.tell:
                    row |= dict(zip(TELL, trial.tell, strict=True))
                    row["told_sum"] = row_sum(*trial.tell, len(trial.curve))
                connection.execute(TRIAL.insert(tuple(row)), tuple(row.values()))
                points = ((id, epoch, accuracy) for epoch, accuracy in enumerate(trial.curve, start=1))
                _insert(connection, CURVE, points)
            _insert(connection, NOTE, ((*key, value) for key, value in found.notes.items()))
            _insert(connection, ATTEMPT, ((*key, *row) for key, row in found.attempts.items()))
            _insert(connection, RUNG, ((*key, *row) for key, row in found.rungs.items()))
    with closing(connect(place, "rw", locks)) as connection:  # which leaves nothing beside it
        if wrong := damage(connection, locks):
            raise sqlite3.DatabaseError(f"what was written does not read as it should: {wrong}")


def _insert(connection: sqlite3.Connection, table: Table, rows: Iterator[tuple[Any, ...]]) -> None:
    """Insert rows with their sums."""
    for row in rows:
        connection.execute(table.insert(), (*row, row_sum(*row)))


def _spell_ids(ids: Sequence[int]) -> str:
    """Spell ids, runs of them as ``3-7``."""
    runs = []
    for _, group in groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        members = [id for _, id in group]
        runs.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return shorten(f"id {runs[0]}" if len(ids) == 1 else f"ids {', '.join(runs)}", 300)
