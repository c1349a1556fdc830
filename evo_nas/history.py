"""The history of a run: one SQLite file, one writer, one transaction an event.

The tables are documented, with types and units, in ``docs/history.md``; analyses read them from there, not from here.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2
from tempfile import TemporaryDirectory
from typing import Any, Final

from evo_nas.errors import RunFolderError
from evo_nas.folder import resume_command
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Individual, Outcome
from strategies.base import Proposal

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE trial (
    id INTEGER PRIMARY KEY, parent INTEGER, genotype TEXT NOT NULL, cell TEXT NOT NULL, key TEXT NOT NULL,
    seed INTEGER NOT NULL, memo TEXT NOT NULL, brief TEXT NOT NULL,
    asked INTEGER NOT NULL UNIQUE, told INTEGER UNIQUE,
    outcome TEXT, fitness REAL, report REAL, seconds REAL, parameters INTEGER, mult_adds INTEGER,
    metrics TEXT NOT NULL DEFAULT '{}', error TEXT, asked_at REAL NOT NULL, told_at REAL
);
CREATE INDEX trial_key ON trial (key);
CREATE INDEX trial_fitness ON trial (fitness) WHERE outcome = 'ok';
CREATE INDEX trial_pending ON trial (id) WHERE told IS NULL;
CREATE TABLE curve (
    trial INTEGER NOT NULL, epoch INTEGER NOT NULL, accuracy REAL NOT NULL, PRIMARY KEY (trial, epoch)
) WITHOUT ROWID;
CREATE TABLE note (
    trial INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (trial, name)
) WITHOUT ROWID;
CREATE TABLE attempt (
    trial INTEGER NOT NULL, number INTEGER NOT NULL, started_at REAL NOT NULL, PRIMARY KEY (trial, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """An ask that is recorded and not yet told."""

    id: int
    proposal: Proposal
    key: str
    brief: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a network that was evaluated before."""

    outcome: Outcome
    fitness: float | None
    report: float | None
    parameters: int | None
    mult_adds: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class TopTrial:
    """One of the best trials, as ``show`` prints it."""

    id: int
    genotype: str
    cell: dict[str, Any]
    fitness: float
    parameters: int | None
    mult_adds: int | None
    seconds: float | None


class History:
    """One run's record: :meth:`create` it, :meth:`open` it to write on, or :meth:`read` it beside a writer.

    What is committed survives the death of the process in any case. If ``durable``, a commit is on the disk before it
    returns, so that it survives a power cut too. If not, a power cut may take back the last commits, never one
    without those after it: the file stays sound, and the run goes on from there as the same search.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._db.row_factory = sqlite3.Row
        self.path = path
        self._copies: TemporaryDirectory[str] | None = None
        self._event: int = self._one("SELECT max(max(asked), coalesce(max(told), 0)) FROM trial") or 0

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
        """Open an existing history to go on writing it; one whose making was cut short is made now.

        Raises:
            RunFolderError: if there is none, or it is not one of this version.
        """
        if path.is_file() and not cls.begun(path, locks=locks):
            return cls._new(path, locks, durable)
        return cls._existing(path, "rw", locks, durable)

    @classmethod
    def _new(cls, path: Path, locks: bool, durable: bool) -> History:
        """Make the tables, all of them or none."""
        with _explained(path):
            connection = _connect(path, "rwc", locks, durable)
            # WAL lets readers look on while we write, but needs shared memory, which comes with locks only.
            connection.execute(f"PRAGMA journal_mode = {'WAL' if locks else 'DELETE'}")
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            return cls(connection, path)

    @staticmethod
    def begun(path: Path, *, locks: bool = True) -> bool:
        """Say whether there is a history at all; a start that is killed early leaves none, or a file without tables."""
        if not path.is_file():
            return False
        with _explained(path):
            connection = _connect(path, "rw", locks, True)
            begun = _has_tables(connection)
            connection.close()
            return begun

    @classmethod
    def read(cls, path: Path) -> History:
        """Open an existing history read-only, also while a run is writing it, also on a read-only file system.

        Raises:
            RunFolderError: if there is none, or it is not one of this version.
        """
        if not path.is_file() or os.access(path.parent, os.W_OK):
            return cls._existing(path, "ro", True)
        # WAL wants files beside the history that cannot be made there: look at a copy.
        copies = TemporaryDirectory(prefix="evo_nas-")
        for file in path.parent.glob(f"{path.name}*"):
            copy2(file, copies.name)
        history = cls._existing(Path(copies.name) / path.name, "rw", True)
        history._copies = copies
        return history

    @classmethod
    def _existing(cls, path: Path, mode: str, locks: bool, durable: bool = True) -> History:
        if not path.is_file():
            raise RunFolderError(f"{path.parent} holds no run: {path.name} is not there")
        with _explained(path):
            connection = _connect(path, mode, locks, durable)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if not _has_tables(connection):
                connection.close()
                raise RunFolderError(
                    f"{path} holds no trial: the run was stopped before it began; go on with: "
                    f"{resume_command(path.parent)}"
                )
            if version != SCHEMA_VERSION:
                connection.close()
                raise RunFolderError(
                    f"{path} has schema version {version}, this evo_nas reads version {SCHEMA_VERSION}: "
                    "use the evo_nas that wrote it (env.json beside it names the version)"
                )
            return cls(connection, path)

    def close(self) -> None:
        """Close the file; what is committed stays."""
        self._db.close()
        if self._copies is not None:
            self._copies.cleanup()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing: one transaction an event ------------------------------------------------------------------------

    def ask(
        self, id: int, proposal: Proposal, key: str, cell: Mapping[str, Any], seed: int, brief: tuple[float, ...]
    ) -> None:
        """Record an ask as the next event."""
        with _explained(self.path), self._db:
            self._db.execute(
                "INSERT INTO trial (id, parent, genotype, cell, key, seed, memo, brief, asked, asked_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    id,
                    proposal.parent,
                    str(proposal.genotype),
                    _json(cell),
                    key,
                    seed,
                    _json(proposal.memo),
                    _json(brief),
                    self._event + 1,
                    time.time(),
                ),
            )
        self._event += 1

    def attempt(self, id: int) -> None:
        """Record that a training starts; the number of the attempt counts from 1."""
        with _explained(self.path), self._db:
            self._db.execute(
                "INSERT INTO attempt SELECT ?, 1 + count(*), ? FROM attempt WHERE trial = ?", (id, time.time(), id)
            )

    def tell(self, id: int, evaluation: Evaluation) -> None:
        """Record how an ask ended, with its learning curve, as the next event."""
        metrics = dict(evaluation.metrics)
        costs = [int(metrics.pop(name)) if name in metrics else None for name in ("parameters", "mult_adds")]
        with _explained(self.path), self._db:
            updated = self._db.execute(
                "UPDATE trial SET told = ?, outcome = ?, fitness = ?, report = ?, seconds = ?, parameters = ?, "
                "mult_adds = ?, metrics = ?, error = ?, told_at = ? WHERE id = ? AND told IS NULL",
                (
                    self._event + 1,
                    str(evaluation.outcome),
                    evaluation.fitness,
                    evaluation.report,
                    evaluation.seconds,
                    *costs,
                    _json(metrics),
                    evaluation.error,
                    time.time(),
                    id,
                ),
            )
            assert updated.rowcount == 1, f"trial {id} was told twice or never asked"
            self._db.executemany(
                "INSERT INTO curve VALUES (?, ?, ?)",
                [(id, epoch, accuracy) for epoch, accuracy in enumerate(evaluation.curve, start=1)],
            )
        self._event += 1

    def note(self, id: int, notes: Mapping[str, float]) -> None:
        """Record what the strategy noted when it was told; noting it again changes nothing.

        What is not finite is left out: a note is no reason to end a search, and no number to keep.
        """
        rows = [(id, name, float(value)) for name, value in notes.items() if math.isfinite(value)]
        with _explained(self.path), self._db:
            self._db.executemany("INSERT OR REPLACE INTO note VALUES (?, ?, ?)", rows)

    # Reading ---------------------------------------------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """Id of the last ask; 0 before the first."""
        return self._one("SELECT max(id) FROM trial") or 0

    def told(self) -> Iterator[Individual]:
        """Yield what was told, in the order in which it was told."""
        rows = self._rows(
            "SELECT id, genotype, outcome, fitness, parent, memo FROM trial WHERE told IS NOT NULL ORDER BY told"
        )
        for row in rows:
            with _explained(self.path, row["id"]):
                individual = Individual(
                    row["id"],
                    Genotype.parse(row["genotype"]),
                    Outcome(row["outcome"]),
                    row["fitness"],
                    row["parent"],
                    tuple(json.loads(row["memo"])),
                )
            yield individual

    def pending(self) -> list[Pending]:
        """List the asks that are not told yet, by ascending id."""
        pending = []
        for row in self._rows(
            "SELECT id, genotype, parent, memo, key, brief FROM trial WHERE told IS NULL ORDER BY id"
        ):
            with _explained(self.path, row["id"]):
                proposal = Proposal(Genotype.parse(row["genotype"]), row["parent"], tuple(json.loads(row["memo"])))
                pending.append(Pending(row["id"], proposal, row["key"], tuple(json.loads(row["brief"]))))
        return pending

    def find(self, key: str) -> Ended | None:
        """Look up what came of the first training of this network; a success goes before a failure."""
        rows = self._rows(
            "SELECT outcome, fitness, report, parameters, mult_adds, error FROM trial "
            "WHERE key = ? AND told IS NOT NULL AND outcome NOT IN ('reused', 'refused') "
            "ORDER BY outcome <> 'ok', told LIMIT 1",
            key,
        )
        return next((Ended(Outcome(row["outcome"]), *tuple(row)[1:]) for row in rows), None)

    def trained(self) -> int:
        """Count the trainings that ended, failed ones included and retries not: what a budget of trials limits."""
        return int(self._one("SELECT count(*) FROM trial WHERE told IS NOT NULL AND id IN (SELECT trial FROM attempt)"))

    def untrained_in_a_row(self) -> int:
        """Count the last asks in a row that were answered without a training."""
        return int(
            self._one(
                "SELECT count(*) FROM trial WHERE told IS NOT NULL "
                "AND id > (SELECT coalesce(max(trial), 0) FROM attempt)"
            )
        )

    def outcomes(self) -> dict[str, int]:
        """Count the told asks by outcome."""
        rows = self._rows("SELECT outcome, count(*) FROM trial WHERE told IS NOT NULL GROUP BY outcome")
        return {row[0]: row[1] for row in rows}

    def seconds(self) -> float:
        """Sum the durations of all evaluations, in seconds."""
        return float(self._one("SELECT coalesce(sum(seconds), 0.0) FROM trial"))

    def top(self, k: int) -> list[TopTrial]:
        """List the best trials of ``k`` different networks, best first, earlier told first on ties."""
        rows = self._rows(
            "SELECT id, genotype, cell, key, fitness, parameters, mult_adds, seconds FROM trial "
            "WHERE outcome = 'ok' ORDER BY fitness DESC, told"
        )
        best: dict[str, TopTrial] = {}
        for row in rows:
            if len(best) == k:
                break
            best.setdefault(row["key"], self._top_trial(row))
        return list(best.values())

    def trial(self, id: int) -> TopTrial | None:
        """Find a trial that has succeeded; ``None`` if there is none with this id."""
        rows = self._rows(
            "SELECT id, genotype, cell, key, fitness, parameters, mult_adds, seconds FROM trial "
            "WHERE outcome = 'ok' AND id = ?",
            id,
        )
        row = next(rows, None)
        return None if row is None else self._top_trial(row)

    def _top_trial(self, row: sqlite3.Row) -> TopTrial:
        with _explained(self.path, row["id"]):
            cell = json.loads(row["cell"])
        names = ("fitness", "parameters", "mult_adds", "seconds")
        return TopTrial(row["id"], row["genotype"], cell, *(row[name] for name in names))

    def _rows(self, query: str, *values: object) -> Iterator[sqlite3.Row]:
        with _explained(self.path):
            # Not `yield from`: it closes the cursor when a reader stops early, which can be after the history.
            for row in self._db.execute(query, values):  # noqa: UP028
                yield row

    def _one(self, query: str) -> Any:
        with _explained(self.path):
            return self._db.execute(query).fetchone()[0]


class _explained:
    """Turn SQLite's errors, and those of reading a damaged row, into one line that names the file and the trial."""

    def __init__(self, path: Path, trial: int | None = None) -> None:
        self.path = path
        self.trial = trial

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise RunFolderError(f"the history {self.path} cannot be used: {error}") from error
        if isinstance(error, ValueError) and self.trial is not None:
            raise RunFolderError(f"the history {self.path} is damaged at trial {self.trial}: {error}") from error


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _connect(path: Path, mode: str, locks: bool, durable: bool) -> sqlite3.Connection:
    """Connect without creating more than asked, and if durable, with every commit on disk before it returns."""
    uri = f"{path.absolute().as_uri()}?mode={mode}{'' if locks else '&nolock=1'}"
    connection = sqlite3.connect(uri, uri=True, timeout=10.0)
    if mode != "ro":
        # NORMAL keeps a file whole that has a write-ahead log; a rollback journal, without locks, needs FULL for that.
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable or not locks else 'NORMAL'}")
    return connection


_json: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Writes compact JSON that is JSON: NaN and infinity are refused. Made once: ``dumps`` makes an encoder a call."""
