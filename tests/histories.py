"""Histories by hand: their rows and checksums, so that no test of a reader depends on who writes them."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from struct import pack

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
UPDATE rung SET sum = row_sum(trial, epoch, event, score, test, seconds, metrics, curve, paused_at);
"""
"""The checksums, as docs/history.md has them."""


def row_sum(*values: object) -> int:
    """Sum up the values of a row, byte by byte as docs/history.md spells them."""
    return zlib.crc32(b"(" + pack("<i", len(values)) + b"".join(map(_spell, values)))


def _spell(value: object) -> bytes:
    match value:
        case None:
            return b"N"
        case float():
            return b"g" + pack("<d", value)
        case str():
            data = value.encode()
            return b"u" + pack("<i", len(data)) + data
        case bytes():  # there is none but in what is damaged
            return b"s" + pack("<i", len(value)) + value
        case int() if -(2**31) <= value < 2**31:
            return b"i" + pack("<i", value)
        case int():
            digits = [abs(value) >> shift & 0x7FFF for shift in range(0, abs(value).bit_length(), 15)]
            return b"l" + pack(f"<i{len(digits)}H", len(digits) if value > 0 else -len(digits), *digits)
    raise AssertionError(f"no value of a history: {value!r}")


def add_sums(connection: sqlite3.Connection) -> None:
    """Give every row the sum of what stands in it."""
    connection.create_function("row_sum", -1, row_sum)
    connection.executescript(SUMS)


def close_in_order(run: Path) -> None:
    """Bring the checksums up to date, with that of the whole file, as a run does that ends."""
    history = run / "history.db"
    with closing(sqlite3.connect(history)) as connection:
        add_sums(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = history.read_bytes()
    (run / "history.sum").write_text(f"{zlib.crc32(data):08x} {len(data)}\n")
