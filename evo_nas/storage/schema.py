"""The schema of a history: every table and column once; SQL, checksums, frames and docs/history.md follow from it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from genotypes.individual import Outcome

VERSION: Final = 5
"""``PRAGMA user_version`` of a history that is written by this evo_nas."""

WITHOUT_RUNGS: Final = 4
"""The version before, in which no training paused: it is read as it is, and brought up to date when it is resumed."""

_MARK: Final = 0x65766F00  # "evo", and room for the version


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what it may hold, and what that means.

    ``halves`` names the checksums that cover it; ``words`` are all that it may say; ``unit`` is ``fraction``,
    ``seconds``, ``clock`` (seconds since 1970) or nothing.
    """

    name: str
    type: str
    meaning: str
    halves: tuple[str, ...] = ()
    may_miss: bool = False
    constraint: str = ""
    unit: str = ""
    words: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The column as ``CREATE TABLE`` has it."""
        needed = "" if self.may_miss or self.constraint == "PRIMARY KEY" else "NOT NULL"
        return " ".join(filter(None, (self.name, self.type, needed, self.constraint)))

    @property
    def dtype(self) -> str:
        """Type in which pandas holds it."""
        if self.words:
            return "category"
        if self.unit == "clock":
            return "datetime64[us, UTC]"
        integers = "Int64" if self.may_miss else "int64"
        return {"INTEGER": integers, "REAL": "float64", "TEXT": "string"}[self.type]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns as they lie in a row; a side table has its ``key`` among them, and no rowid."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def sql(self) -> str:
        """The statement that makes it."""
        parts = [column.sql for column in self.columns]
        parts += [f"PRIMARY KEY ({', '.join(self.key)})"] if self.key else []
        return f"CREATE TABLE {self.name} ({', '.join(parts)}){' WITHOUT ROWID' if self.key else ''};"

    def list_summed_columns(self, half: str) -> tuple[str, ...]:
        """Return the columns that a checksum covers, in its order."""
        return tuple(column.name for column in self.columns if half in column.halves)

    def insert(self, names: tuple[str, ...] | None = None, verb: str = "INSERT") -> str:
        """Return the statement that inserts a row of these columns, or of all."""
        names = names or self.names
        return f"{verb} INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


_ASKED: Final = ("asked_sum",)
_TOLD: Final = ("told_sum",)
OUTCOMES: Final = tuple(map(str, Outcome))

TRIAL: Final = Table(
    "trial",
    (
        Column("id", "INTEGER", "counts the asks of the run from 1", _ASKED + _TOLD, constraint="PRIMARY KEY"),
        Column("parent", "INTEGER", "id of the individual that was mutated; missing if there was none", _ASKED, True),
        Column("genotype", "TEXT", "text form of the genotype, space:choice.choice...", _ASKED),
        Column("key", "TEXT", "canonical spelling; equal exactly for genotypes that describe the same network", _ASKED),
        Column("seed", "INTEGER", "seed of the run", _ASKED),
        Column("memo", "TEXT", "JSON list of numbers that the strategy wanted back", _ASKED),
        Column("brief", "TEXT", "JSON list of numbers that the evaluator wanted to know of others", _ASKED),
        Column(
            "asked", "INTEGER", "position of the ask in the sequence of events, from 1", _ASKED, constraint="UNIQUE"
        ),
        Column(
            *("told", "INTEGER", "position of the tell in the sequence of events; missing while pending", _TOLD, True),
            constraint="UNIQUE",
        ),
        Column(
            *("outcome", "TEXT", f"{', '.join(OUTCOMES[:-1])} or {OUTCOMES[-1]}; missing while pending", _TOLD, True),
            words=OUTCOMES,
        ),
        Column(
            *(
                "fitness",
                "REAL",
                "the evaluator's measure, fraction in [0, 1]; only ok and reused have one",
                _TOLD,
                True,
            ),
            unit="fraction",
        ),
        Column(
            *("test", "REAL", "test fitness, a second measure that the search never saw, fraction in [0, 1]"),
            *(_TOLD, True),
            unit="fraction",
        ),
        Column(
            *("seconds", "REAL", "duration of the evaluation in seconds; missing where nothing was evaluated"),
            *(_TOLD, True),
            unit="seconds",
        ),
        Column("parameters", "INTEGER", "weights of the network as it was trained", _TOLD, True),
        Column("mult_adds", "INTEGER", "multiply-adds of the network as it was trained, for one image", _TOLD, True),
        Column("metrics", "TEXT", "JSON object of further finite numbers", _TOLD, constraint="DEFAULT '{}'"),
        Column("error", "TEXT", "why the trial failed", _TOLD, True),
        Column("asked_at", "REAL", "wall clock of the ask", _ASKED, unit="clock"),
        Column("told_at", "REAL", "wall clock of the tell", _TOLD, True, unit="clock"),
        Column("asked_sum", "INTEGER", "checksum of what was known at the ask", (), True),
        Column("told_sum", "INTEGER", "checksum of what became of it; missing while pending", (), True),
        Column("cell", "TEXT", "JSON text of the readable cell, or of whatever the space describes", _ASKED),
    ),
)
"""A row per ask."""

_SUM: Final = Column("sum", "INTEGER", "checksum of the row", (), True)
_ROW: Final = ("sum",)

CURVE: Final = Table(
    "curve",
    (
        Column("trial", "INTEGER", "id of the trial", _ROW),
        Column("epoch", "INTEGER", "epoch of the training, from 1", _ROW),
        Column("accuracy", "REAL", "the evaluator's measure after the epoch, fraction in [0, 1]", _ROW),
        _SUM,
    ),
    key=("trial", "epoch"),
)
"""A row per epoch of a trained trial."""

NOTE: Final = Table(
    "note",
    (
        Column("trial", "INTEGER", "id of the trial that was told", _ROW),
        Column("name", "TEXT", "name of the number, such as entropy", _ROW),
        Column("value", "REAL", "the number that the strategy returned when it was told", _ROW),
        _SUM,
    ),
    key=("trial", "name"),
)
"""A row per number that the strategy returned when it was told."""

ATTEMPT: Final = Table(
    "attempt",
    (
        Column("trial", "INTEGER", "id of the trial", _ROW),
        Column("number", "INTEGER", "counts the attempts of the trial from 1", _ROW),
        Column(
            *("started_at", "REAL", "wall clock when it was given to a worker or queued for one", _ROW), unit="clock"
        ),
        Column("ended_at", "REAL", "wall clock of its end", _ROW, True, unit="clock"),
        Column("outcome", "TEXT", "how it ended, in the words of `trial`", _ROW, True, words=OUTCOMES),
        _SUM,
    ),
    key=("trial", "number"),
)
"""A row per start of a training."""

RUNG: Final = Table(
    "rung",
    (
        Column("trial", "INTEGER", "id of the trial", _ROW),
        Column("epoch", "INTEGER", "epochs after which its training paused", _ROW),
        Column("event", "INTEGER", "position of the pause in the sequence of events, from 1", _ROW),
        Column("score", "REAL", "the evaluator's measure after the epoch, fraction in [0, 1]", _ROW, unit="fraction"),
        Column(
            *("test", "REAL", "test fitness after the epoch, fraction in [0, 1]; missing where nobody measures it"),
            *(_ROW, True),
            unit="fraction",
        ),
        Column(
            "seconds",
            "REAL",
            "duration of the training so far in seconds, all its parts together",
            _ROW,
            unit="seconds",
        ),
        Column("metrics", "TEXT", "JSON object of further finite numbers, those so far", _ROW),
        Column("curve", "TEXT", "JSON list of the evaluator's measure after each epoch so far", _ROW),
        Column("paused_at", "REAL", "wall clock of the pause", _ROW, unit="clock"),
        _SUM,
    ),
    key=("trial", "epoch"),
)
"""A row per pause of a training."""

TABLES: Final = (TRIAL, CURVE, NOTE, ATTEMPT, RUNG)

ASK: Final = TRIAL.list_summed_columns("asked_sum")
"""Columns of ``trial`` that ``asked_sum`` covers: what is known when a trial is asked."""

TELL: Final = TRIAL.list_summed_columns("told_sum")
"""Columns of ``trial`` that ``told_sum`` covers: what became of it."""

EPOCHS: Final = "(SELECT count(*) FROM curve WHERE curve.trial = trial.id)"
"""Number of rows of a trial's learning curve, as SQL; ``told_sum`` covers it last, so that none can go missing."""


class Summed(NamedTuple):
    """Rows that carry a sum: their table, the column of the trial's id, that of the sum, and what it covers."""

    table: str
    trial: str
    sum: str
    columns: tuple[str, ...]
    when: str = "true"


SUMMED: Final = (
    Summed("trial", "id", "asked_sum", ASK),
    Summed("trial", "id", "told_sum", (*TELL, EPOCHS), "(told IS NOT NULL OR told_sum IS NOT NULL)"),
    *(Summed(table.name, "trial", "sum", table.list_summed_columns("sum")) for table in (CURVE, NOTE, ATTEMPT, RUNG)),
)
"""Every sum in a history."""

INDEXES: Final = """
CREATE INDEX trial_key ON trial (key) WHERE seconds IS NOT NULL;
CREATE INDEX trial_fitness ON trial (fitness DESC, told) WHERE outcome = 'ok';
CREATE INDEX trial_pending ON trial (id) WHERE told IS NULL;
CREATE INDEX trial_failed ON trial (told) WHERE fitness IS NULL;
"""
# What was trained, and nothing else, has a duration: a network is looked up among those.


def mark(version: int) -> int:
    """Return the ``PRAGMA application_id`` of a history of this version."""
    return _MARK + version


def is_garbled(connection: sqlite3.Connection) -> bool:
    """Return whether a history's version is not the one that was written: it stands there twice."""
    version, found = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    return found not in (0, mark(version))


_OBJECTS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


@cache
def _ours(version: int) -> frozenset[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        make(connection)
        if version == WITHOUT_RUNGS:
            connection.execute("DROP TABLE rung")
        return frozenset(connection.execute(_OBJECTS))


def difference(connection: sqlite3.Connection, version: int = VERSION) -> str | None:
    """Return the first thing that a file's schema has and that of a version has not, or lacks; ``None`` if equal.

    A trigger, a view or a column that computes is code, and whoever made the file could have it run by us.
    """
    found = frozenset(connection.execute(_OBJECTS))
    ours = _ours(version)
    for kind, name, table, _ in sorted(found - ours, key=str):
        known = any(other[:2] == (kind, name) for other in ours)
        return f"its {kind} {name} is another" if known else f"it has a {kind} {name} on {table}"
    return next((f"it lacks the {kind} {name}" for kind, name, *_ in sorted(ours - found, key=str)), None)


def refusal(history: Path, version: int) -> str:
    """Return why a history of another version is not read, and how to go on."""
    if version < VERSION:
        return (
            f"{history} was made by an unreleased version of evo_nas (schema version {version}; this one reads "
            f"{VERSION}): start a new run with this one, or look at it with the version that made it"
        )
    return (
        f"{history} has schema version {version}, and this evo_nas reads version {VERSION}: use the evo_nas that "
        "wrote it (env.json beside it names the version)"
    )


def add_missing(connection: sqlite3.Connection) -> None:
    """Add, for this connection alone, the table that a history of the version before lacks: empty, beside the file."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == WITHOUT_RUNGS:
        connection.execute(RUNG.sql.replace("CREATE TABLE", "CREATE TEMP TABLE"))


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring a history of the version before up to date, all of it or nothing."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == WITHOUT_RUNGS:
        connection.executescript(f"DROP TABLE temp.rung; BEGIN; {RUNG.sql} {_STAMP} COMMIT;")


_STAMP: Final = f"PRAGMA user_version = {VERSION}; PRAGMA application_id = {mark(VERSION)};"


def make(connection: sqlite3.Connection) -> None:
    """Make the tables of a new history, all of them or none."""
    tables = " ".join(table.sql for table in TABLES)
    connection.executescript(f"BEGIN; {tables} {INDEXES} {_STAMP} COMMIT;")
