"""Histories by hand: their rows and checksums, so that no test of a reader depends on who writes them."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from evo_nas.storage.schema import INDEXES, TABLES

SCHEMA = " ".join(table.sql for table in TABLES) + INDEXES
"""As a history has it: one with another schema is refused, since what it holds may be code."""
SUMS = """
UPDATE trial SET asked_sum = row_sum(id, parent, genotype, key, seed, memo, brief, asked, asked_at, cell);
UPDATE trial SET told_sum = row_sum(
    id, told, outcome, fitness, test, seconds, parameters, mult_adds, metrics, error, told_at,
    (SELECT count(*) FROM curve WHERE trial = trial.id)
) WHERE told IS NOT NULL;
UPDATE curve SET sum = row_sum(trial, epoch, accuracy);
UPDATE note SET sum = row_sum(trial, name, value);
UPDATE attempt SET sum = row_sum(trial, number, started_at, ended_at, outcome);
"""
"""The checksums, as docs/history.md has them."""


def add_sums(connection: sqlite3.Connection) -> None:
    """Give every row the sum of what stands in it."""
    connection.create_function("row_sum", -1, lambda *values: zlib.crc32(ascii(values).encode()))
    connection.executescript(SUMS)


def close_in_order(run: Path) -> None:
    """Bring the checksums up to date, with that of the whole file, as a run does that ends."""
    history = run / "history.db"
    with closing(sqlite3.connect(history)) as connection:
        add_sums(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = history.read_bytes()
    (run / "history.sum").write_text(f"{zlib.crc32(data):08x} {len(data)}\n")
