"""The schema of a history, and how one of an earlier version becomes one of this.

``docs/history.md`` documents the tables for their readers.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from evo_nas.storage.checksums import SUMMED, mark, row_sum

VERSION: Final = 2
"""``PRAGMA user_version`` of a history that is written by this evo_nas."""

TABLES: Final = """
CREATE TABLE trial (
    id INTEGER PRIMARY KEY, parent INTEGER, genotype TEXT NOT NULL, key TEXT NOT NULL,
    seed INTEGER NOT NULL, memo TEXT NOT NULL, brief TEXT NOT NULL,
    asked INTEGER NOT NULL UNIQUE, told INTEGER UNIQUE,
    outcome TEXT, fitness REAL, report REAL, seconds REAL, parameters INTEGER, mult_adds INTEGER,
    metrics TEXT NOT NULL DEFAULT '{}', error TEXT, asked_at REAL NOT NULL, told_at REAL,
    asked_sum INTEGER, told_sum INTEGER, cell TEXT NOT NULL
);
CREATE TABLE curve (
    trial INTEGER NOT NULL, epoch INTEGER NOT NULL, accuracy REAL NOT NULL, sum INTEGER, PRIMARY KEY (trial, epoch)
) WITHOUT ROWID;
CREATE TABLE note (
    trial INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, sum INTEGER, PRIMARY KEY (trial, name)
) WITHOUT ROWID;
CREATE TABLE attempt (
    trial INTEGER NOT NULL, number INTEGER NOT NULL, started_at REAL NOT NULL,
    ended_at REAL, outcome TEXT, sum INTEGER, PRIMARY KEY (trial, number)
) WITHOUT ROWID;
"""

INDEXES: Final = """
CREATE INDEX trial_key ON trial (key) WHERE seconds IS NOT NULL;
CREATE INDEX trial_fitness ON trial (fitness DESC, told) WHERE outcome = 'ok';
CREATE INDEX trial_pending ON trial (id) WHERE told IS NULL;
CREATE INDEX trial_failed ON trial (told) WHERE fitness IS NULL;
"""
# What was trained, and nothing else, has a duration: a network is looked up among those.

_FROM_1: Final = """
ALTER TABLE trial ADD COLUMN asked_sum INTEGER;
ALTER TABLE trial ADD COLUMN told_sum INTEGER;
ALTER TABLE curve ADD COLUMN sum INTEGER;
ALTER TABLE note ADD COLUMN sum INTEGER;
ALTER TABLE attempt ADD COLUMN ended_at REAL;
ALTER TABLE attempt ADD COLUMN outcome TEXT;
ALTER TABLE attempt ADD COLUMN sum INTEGER;
DROP INDEX trial_key;
DROP INDEX trial_fitness;
DROP INDEX trial_pending;
"""


_STAMP: Final = f"PRAGMA user_version = {VERSION}; PRAGMA application_id = {mark(VERSION)};"


def make(connection: sqlite3.Connection) -> None:
    """Make the tables of a new history, all of them or none."""
    connection.executescript(f"BEGIN; {TABLES} {INDEXES} {_STAMP} COMMIT;")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a history of version 1 to this one, wholly or not at all: checksums, and how attempts ended.

    If it fails, nothing is committed, and the connection is to be closed.
    """
    connection.create_function("row_sum", -1, row_sum, deterministic=True)
    sums = "".join(
        f"UPDATE {table} SET {sum_} = row_sum({', '.join(columns)}) WHERE {when};"
        for table, _, sum_, columns, when in SUMMED
    )
    # What was trained was known by its attempt; now by its duration, also where the evaluator gave none.
    seconds = (
        "UPDATE trial SET seconds = 0.0 WHERE told IS NOT NULL AND seconds IS NULL "
        "AND outcome NOT IN ('reused', 'refused') AND id IN (SELECT trial FROM attempt);"
    )
    # The last attempt of a trial that was trained has ended with it; others were cut short with their run.
    ends = (
        "UPDATE attempt SET (ended_at, outcome) = (SELECT told_at, outcome FROM trial WHERE id = attempt.trial) "
        "WHERE trial IN (SELECT id FROM trial WHERE seconds IS NOT NULL) "
        "AND number = (SELECT max(number) FROM attempt AS other WHERE other.trial = attempt.trial);"
    )
    connection.executescript(f"BEGIN; {_FROM_1} {seconds} {ends} {sums} {INDEXES} {_STAMP} COMMIT;")
