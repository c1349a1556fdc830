"""The schema of a history.

``docs/history.md`` documents the tables for their readers.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from evo_nas.storage.checksums import mark

VERSION: Final = 3
"""``PRAGMA user_version`` of a history that is written by this evo_nas."""

TABLES: Final = """
CREATE TABLE trial (
    id INTEGER PRIMARY KEY, parent INTEGER, genotype TEXT NOT NULL, key TEXT NOT NULL,
    seed INTEGER NOT NULL, memo TEXT NOT NULL, brief TEXT NOT NULL,
    asked INTEGER NOT NULL UNIQUE, told INTEGER UNIQUE,
    outcome TEXT, fitness REAL, test REAL, seconds REAL, parameters INTEGER, mult_adds INTEGER,
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

_STAMP: Final = f"PRAGMA user_version = {VERSION}; PRAGMA application_id = {mark(VERSION)};"


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


def make(connection: sqlite3.Connection) -> None:
    """Make the tables of a new history, all of them or none."""
    connection.executescript(f"BEGIN; {TABLES} {INDEXES} {_STAMP} COMMIT;")
