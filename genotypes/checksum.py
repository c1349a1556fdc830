"""Checksums of a history: of each of its rows, and of the file as a whole.

SQLite notices a damaged page only where the damage breaks the structure of the file; a number that became another
number it hands out. So every row carries a sum of its values, and a file that was closed in order lies beside the sum
of all its bytes, which is quick to compare. Writer and analysis look at histories in this one way.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path
from typing import Final, NamedTuple

ASK: Final = ("id", "parent", "genotype", "key", "seed", "memo", "brief", "asked", "asked_at", "cell")
"""Columns of ``trial`` that ``asked_sum`` covers: what is known when a trial is asked."""

TELL: Final = (
    *("id", "told", "outcome", "fitness", "report", "seconds", "parameters", "mult_adds"),
    *("metrics", "error", "told_at"),
)
"""Columns of ``trial`` that ``told_sum`` covers: what became of it."""


class Summed(NamedTuple):
    """Rows that carry a sum: their table, the column of the trial's id, that of the sum, and what it covers."""

    table: str
    trial: str
    sum: str
    columns: tuple[str, ...]
    when: str = "true"


SUMMED: Final = (
    Summed("trial", "id", "asked_sum", ASK),
    Summed("trial", "id", "told_sum", TELL, "told IS NOT NULL"),
    Summed("curve", "trial", "sum", ("trial", "epoch", "accuracy")),
    Summed("note", "trial", "sum", ("trial", "name", "value")),
    Summed("attempt", "trial", "sum", ("trial", "number", "started_at", "ended_at", "outcome")),
)
"""Every sum in a history."""


def row_sum(*values: object) -> int:
    """Sum up the values of a row: the CRC-32 of their Python spelling as a tuple, in ASCII."""
    return zlib.crc32(ascii(values).encode())


def file_sum(path: Path) -> str:
    """Sum up a file: the CRC-32 of its bytes in hexadecimal digits, and its size in bytes."""
    found = size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
            size += len(block)
    return f"{found:08x} {size}"


def sum_file(history: Path) -> Path:
    """Name the file that holds the sum of a history that was closed in order."""
    return history.with_suffix(".sum")


def is_untouched(history: Path) -> bool:
    """Say whether a history is what it was when it was last closed in order; a live or killed run's is not."""
    try:
        return sum_file(history).read_text("ascii").strip() == file_sum(history)
    except (OSError, ValueError):
        return False


def damage(connection: sqlite3.Connection) -> str | None:
    """Read a history completely, and say what is wrong with it; ``None`` if nothing is."""
    connection.create_function("row_sum", -1, row_sum, deterministic=True)
    try:
        if (found := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            return str(found).splitlines()[-1]
        for table, trial, sum_, columns, when in SUMMED:
            wrong = f"{when} AND {sum_} IS NOT row_sum({', '.join(columns)})"
            row = connection.execute(f"SELECT {trial} FROM {table} WHERE {wrong} LIMIT 1").fetchone()
            if row is not None:
                return f"a row of trial {row[0]} in table {table} does not agree with its checksum"
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return str(error)
    return None


def good_trials(connection: sqlite3.Connection) -> int:
    """Find the last trial up to which all rows of ``trial`` can be read and agree with their sums; 0 for none."""
    good = 0
    names = dict.fromkeys((*ASK, *TELL, "asked_sum", "told_sum"))
    try:
        for values in connection.execute(f"SELECT {', '.join(names)} FROM trial NOT INDEXED ORDER BY id"):
            row = dict(zip(names, values, strict=True))
            if row["asked_sum"] != row_sum(*(row[name] for name in ASK)):
                break
            if row["told"] is not None and row["told_sum"] != row_sum(*(row[name] for name in TELL)):
                break
            good = int(row["id"])
    except (sqlite3.Error, UnicodeDecodeError):
        pass
    return good
