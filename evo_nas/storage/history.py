"""The history of a run: one SQLite file, one writer, one transaction an event.

The tables are documented, with types and units, in ``docs/history.md``; analyses read them from there, not from here.
"""

from __future__ import annotations

import ctypes
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from evo_nas.errors import RunFolderError, RunFolderMoved
from evo_nas.storage import schema
from evo_nas.storage.checksums import file_sum, sum_file
from evo_nas.storage.connection import connect, set_durability
from evo_nas.storage.door import ASKED, ATTEMPTED, CURVE_POINT, NOTED, PAUSED, TOLD, spell_json, take_metric
from evo_nas.storage.opening import explain_errors, looking_mode
from evo_nas.storage.reader import HistoryReader
from evo_nas.storage.run_folder import resume_command
from evo_nas.storage.schema import ASK, TELL
from evo_nas.system.atomic import sync, write_whole
from evo_nas.system.failpoints import Failpoint, reach
from genotypes.individual import COSTS, Evaluation, Outcome, Proposal


class History(HistoryReader):
    """One run's record: :meth:`create` it, :meth:`open` it to write on, or :meth:`read` it beside a writer.

    What is committed survives the death of the process in any case. If ``durable``, a commit is on the disk before it
    returns, so that it survives a power cut too. If not, a power cut may take back the last commits, never one
    without those after it: the file stays sound, and the run goes on from there as the same search.

    Closed in order, a history gets a checksum of the whole file beside it, and is believed while that agrees. One that
    was cut short is read completely when it is opened next, and refused if a row of it is not what was written. Damage
    in its write-ahead log is no reason to refuse it: from the first bad page on SQLite drops the log, as after a power
    cut, so that what opens is exactly what the history was some events before.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writes: bool) -> None:
        super().__init__(connection, path, writes=writes)
        self._stat = path.stat()

    @classmethod
    def create(cls, path: Path, *, locks: bool = True, durable: bool = True) -> History:
        """Make an empty history; ``locks=False`` for a file system without file locks.

        Raises:
            RunFolderError: if the file exists or cannot be written.
        """
        if path.exists():
            raise RunFolderError(f"{path} exists already; continue it with: {resume_command(path.parent)}")
        return cls._new(path, locks, durable)

    @classmethod
    def open(cls, path: Path, *, locks: bool = True, durable: bool = True) -> History:
        """Open an existing history to go on writing it.

        One whose making was cut short is made now.

        Raises:
            RunFolderError: if there is none, it is damaged, or it is of another version.
        """
        if path.is_file() and not cls.exists(path, locks=locks):
            return cls._new(path, locks, durable)
        # Read without writing first: SQLite tidies up when it closes a file, and one that is refused stays as it is.
        cls._existing(path, looking_mode(path), locks).close()
        history = cls._existing(path, "rw", locks, durable, checked=False)
        with ExitStack() as stack, explain_errors(path):
            stack.callback(history._db.close)
            sum_file(path).unlink(missing_ok=True)
            schema.upgrade(history._db)
            stack.pop_all()
        reach(Failpoint.SUM_REMOVED)
        return history

    @classmethod
    def _new(cls, path: Path, locks: bool, durable: bool) -> History:
        """Make the tables, all of them or none."""
        with explain_errors(path):
            # Durable in any case: what is written beside it afterwards says that there is a history.
            connection = connect(path, "rwc", locks, durable=True)
            # WAL lets readers look on while we write, but needs shared memory, which comes with locks only.
            connection.execute(f"PRAGMA journal_mode = {'WAL' if locks else 'DELETE'}")
            schema.make(connection)
            set_durability(connection, locks, durable)
        reach(Failpoint.HISTORY_MADE)
        return cls(connection, path, writes=True)

    def settle(self) -> bool:
        """Have everything that is committed on the disk; return whether the file now holds all of it by itself."""
        # A reader can hold the log back: then the next to open it reads it all.
        with suppress(sqlite3.Error, OSError):
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            sync(self.path.parent)
            return not busy and not self._db.in_transaction
        return False

    def close(self) -> None:
        """Close the file; what is committed stays. If nobody stands in the way it gets the sum of its bytes."""
        if self._writes and not self.is_at(self.path):
            # Closing it, SQLite would remove the log of whatever stands at the old name now; so it stays open.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))
            return
        complete = self._writes and self.settle()
        if self._writes:
            reach(Failpoint.CHECKPOINTED)
        super().close()
        if complete:
            with suppress(OSError):  # without a sum the next to open it reads it all
                write_whole(sum_file(self.path), file_sum(self.path) + "\n")

    # Writing: one transaction an event ------------------------------------------------------------------------

    def is_at(self, path: Path) -> bool:
        """Return whether the file that is written to has this name; true also where the disk does not answer."""
        try:
            return os.path.samestat(self._stat, path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is written in the block, or nothing.

        Raises:
            RunFolderMoved: if the file is not where it was: SQLite writes on into one that was moved or removed.
        """
        try:
            with explain_errors(self.path), self._db:
                yield
        except RunFolderError:
            self._check_place()
            raise
        self._check_place()

    def _check_place(self) -> None:
        if not self.is_at(self.path):
            raise RunFolderMoved(f"{self.path} was moved, removed or replaced while its search was writing to it")

    def ask(
        self,
        id: int,
        proposal: Proposal,
        key: str,
        cell: Mapping[str, Any],
        seed: int,
        brief: tuple[float, ...],
        *,
        attempt: bool = False,
        answer: Evaluation | None = None,
    ) -> None:
        """Record an ask as the next event.

        In the same transaction, the first ``attempt`` if its training starts with it, or the tell, as the event after
        it, if it had its ``answer`` already.

        Raises:
            Refused: if a value would not come back equal, here and wherever something is recorded; nothing is, then.
        """
        now = time.time()
        row = {
            "id": id,
            "parent": proposal.parent,
            "genotype": str(proposal.genotype),
            "key": key,
            "seed": seed,
            "memo": spell_json("memo", proposal.memo),
            "brief": spell_json("brief", brief),
            "asked": self._event + 1,
            "asked_at": now,
            "cell": spell_json("cell", cell),
        }
        assert tuple(row) == ASK
        with self._transaction():
            self._db.execute(_INSERT_ASK, ASKED.seal(row.values()))
            reach(Failpoint.ASKING)
            if attempt:
                self._attempt(id, 1, now)
            if answer is not None:
                self._tell(id, answer, self._event + 2)
        self._event += 1 if answer is None else 2
        reach(Failpoint.ASKED)

    def attempt(self, id: int) -> None:
        """Record that a training starts; the number of the attempt counts from 1."""
        last = "SELECT coalesce(max(number), 0) FROM attempt WHERE trial = ?"  # a repair can have dropped earlier ones
        with self._transaction():
            self._attempt(id, 1 + self._one(last, id), time.time())

    def _attempt(self, id: int, number: int, now: float) -> None:
        self._db.execute(_INSERT_ATTEMPT, ATTEMPTED.seal((id, number, now, None, None)))

    def record_crash(self, id: int) -> None:
        """Record that an attempt took its process down; the trial stays pending."""
        with self._transaction():
            self._end_attempt(id, Outcome.CRASH, time.time())
        reach(Failpoint.CRASHED)

    def _end_attempt(self, id: int, outcome: Outcome, now: float) -> None:
        """Record how the last attempt ended. Earlier ones without an end were cut short with the run.

        That of a training which pauses has ended before its trial is told.
        """
        last = self._db.execute(
            "SELECT number, started_at, outcome FROM attempt WHERE trial = ? ORDER BY number DESC LIMIT 1", (id,)
        ).fetchone()
        if last is not None and last[2] is None:
            self._db.execute(_REPLACE_ATTEMPT, ATTEMPTED.seal((id, *last[:2], now, outcome)))

    def tell(self, id: int, evaluation: Evaluation) -> None:
        """Record how an ask ended, with its learning curve and the end of its attempt, as the next event."""
        with self._transaction():
            self._tell(id, evaluation, self._event + 1)
        self._event += 1
        reach(Failpoint.TOLD)

    def _tell(self, id: int, evaluation: Evaluation, event: int) -> None:
        metrics = {name: take_metric(value) for name, value in evaluation.metrics.items()}
        costs = [metrics.pop(name, None) for name in COSTS]
        now = time.time()
        row = {
            "id": id,
            "told": event,
            "outcome": evaluation.outcome,
            "fitness": evaluation.fitness,
            "test": evaluation.test_fitness,
            "seconds": evaluation.seconds,
            "parameters": costs[0],
            "mult_adds": costs[1],
            "metrics": spell_json("metrics", metrics),
            "error": evaluation.error,
            "told_at": now,
        }
        assert tuple(row) == TELL
        curve = [CURVE_POINT.seal((id, *point)) for point in enumerate(evaluation.curve, start=1)]
        _, *told = TOLD.seal(row.values(), len(curve))
        updated = self._db.execute(_UPDATE_TELL, (*told, id))
        assert updated.rowcount == 1, f"trial {id} was told twice or never asked"
        reach(Failpoint.TELLING)
        self._db.executemany(_INSERT_CURVE, curve)
        if evaluation.seconds is not None:
            self._end_attempt(id, evaluation.outcome, now)

    def pause(self, id: int, evaluation: Evaluation) -> None:
        """Record that a training paused after the last epoch of its curve, as the next event, and end its attempt.

        Raises:
            Refused: if a value would not come back equal; nothing is recorded then.
        """
        now = time.time()
        row = {
            "trial": id,
            "epoch": len(evaluation.curve),
            "event": self._event + 1,
            "score": evaluation.fitness,
            "test": evaluation.test_fitness,
            "seconds": evaluation.seconds,
            "metrics": spell_json("metrics", {name: take_metric(n) for name, n in evaluation.metrics.items()}),
            "curve": spell_json("curve", evaluation.curve),
            "paused_at": now,
        }
        with self._transaction():
            self._db.execute(_INSERT_RUNG, PAUSED.seal(row.values()))
            self._end_attempt(id, evaluation.outcome, now)
        self._event += 1
        reach(Failpoint.PAUSED)

    def note(self, id: int, notes: Mapping[str, float]) -> None:
        """Record what the strategy noted when it was told; noting it again changes nothing.

        What is not finite is left out: a note is no reason to end a search, and no number to keep.
        """
        rows = [NOTED.seal((id, name, value)) for name, value in notes.items() if math.isfinite(value)]
        with self._transaction():
            self._db.executemany(schema.NOTE.insert(verb="REPLACE"), rows)
        reach(Failpoint.NOTED)


_INSERT_ASK: Final = schema.TRIAL.insert((*ASK, "asked_sum"))
_INSERT_CURVE: Final = schema.CURVE.insert()
_INSERT_ATTEMPT: Final = schema.ATTEMPT.insert()
_INSERT_RUNG: Final = schema.RUNG.insert()
_REPLACE_ATTEMPT: Final = schema.ATTEMPT.insert(verb="REPLACE")
_UPDATE_TELL: Final = (
    f"UPDATE trial SET {', '.join(f'{name} = ?' for name in (*TELL[1:], 'told_sum'))} WHERE id = ? AND told IS NULL"
)
