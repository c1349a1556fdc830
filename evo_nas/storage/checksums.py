"""Checksums of a history: of each of its rows, and of the file as a whole.

SQLite notices a damaged page only where the damage breaks the structure of the file; a number that became another
number it hands out. So every row carries a sum of its values, and a file that was closed in order lies beside the sum
of all its bytes, which is quick to compare. Writer and analysis look at histories in this one way.
"""

from __future__ import annotations

import marshal
import sqlite3
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from evo_nas.storage.connection import connect, heed_interrupt, map_file
from evo_nas.storage.run_folder import name_beside
from evo_nas.storage.schema import ASK, SUMMED, add_missing, is_garbled
from evo_nas.system.text import read_text
from genotypes.genotype import printable

_MARSHAL: Final = 2
"""The last version of marshal in which equal values have equal bytes: later ones refer to objects seen before."""

_BLOCK: Final = 1 << 23
"""Bytes that are read at a time; large, because the interpreter is waited for after each."""


def row_sum(*values: Any) -> int:
    """Sum up the values of a row: the CRC-32 of their tuple in version 2 of marshal, which docs/history.md spells."""
    return zlib.crc32(marshal.dumps(values, _MARSHAL))


def file_sum(path: Path) -> str:
    """Sum up a file: the CRC-32 of its bytes in hexadecimal digits, and its size in bytes."""
    found = size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
            size += len(block)
    return f"{found:08x} {size}"


def sum_file(history: Path) -> Path:
    """Name the file that holds the sum of a history that was closed in order."""
    return history.with_suffix(".sum")


def is_untouched(history: Path) -> bool:
    """Return whether a history is what it was when it was last closed in order; a live or killed run's is not."""
    try:
        return may_be_untouched(history) and read_text(sum_file(history)).strip() == file_sum(history)
    except (OSError, ValueError):
        return False


def may_be_untouched(history: Path) -> bool:
    """Return whether the sizes of the file and its log agree with :func:`is_untouched`; the file is not read."""
    try:
        size = read_text(sum_file(history)).split()[-1]
        log = name_beside(history, "-wal")  # if it holds anything, somebody else has written since
        return size == str(history.stat().st_size) and (not log.exists() or log.stat().st_size == 0)
    except (OSError, ValueError, IndexError):
        return False


def damage(connection: sqlite3.Connection, locks: bool = True) -> str | None:
    """Return in a line what is wrong with a history, all of which is read; ``None`` if nothing is.

    SQLite looks at the structure of the file in a second thread: there it needs no interpreter, and the sums of the
    rows need little else. Each has a connection of its own, over the mapped file.
    """
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if is_garbled(connection):
            return f"its schema version reads {version}"
        file = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        with (
            closing(connect(file, "ro", locks)) as mine,
            closing(connect(file, "ro", locks, any_thread=True)) as another,
            ThreadPoolExecutor(1) as beside,
        ):
            add_missing(mine)
            if locks:  # without them a writer can cut the file short while it is mapped
                _read_through(file)
                map_file(mine)
                map_file(another)
            structure = beside.submit(_wrong_structure, another)
            try:
                wrong_row = _wrong_row(mine) or _orphan(mine)
                return structure.result() or wrong_row
            except BaseException:
                another.interrupt()
                raise
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        heed_interrupt(error)
        return one_line(error)


def _read_through(path: Path) -> None:
    """Read a file once and in order: a fault of the disk is an error here, and a signal (SIGBUS) where it is mapped."""
    block = bytearray(_BLOCK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def _wrong_structure(connection: sqlite3.Connection) -> str | None:
    found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return None if found == "ok" else one_line(found.splitlines()[-1])


def _orphan(connection: sqlite3.Connection) -> str | None:
    """Find a row of a trial that is not there: a write-ahead log that was cut off in the middle can leave one."""
    for table, trial in (("curve", "told"), ("note", "told"), ("attempt", "asked"), ("rung", "asked")):
        owner = f"SELECT 1 FROM trial WHERE id = {table}.trial AND {trial} IS NOT NULL"
        row = connection.execute(f"SELECT trial FROM {table} WHERE NOT EXISTS ({owner}) LIMIT 1").fetchone()
        if row is not None:
            return f"table {table} has a row of trial {row[0]}, which was not {trial}"
    return None


def _wrong_row(connection: sqlite3.Connection) -> str | None:
    """Find a row that does not agree with one of its sums; each row is read once."""
    for table, halves in groupby(SUMMED, key=lambda summed: summed.table):
        selected: list[str] = []
        places: list[tuple[int, int]] = []
        for half in halves:
            first = len(selected) + 3
            selected += [half.trial, half.sum, half.when, *half.columns]
            places.append((first, len(selected)))
        for row in connection.execute(f"SELECT {', '.join(selected)} FROM {table}"):
            for first, last in places:
                if row[first - 1] and row_sum(*row[first:last]) != row[first - 2]:
                    return f"a row of trial {row[0]} in table {table} does not agree with its checksum"
    return None


def good_trials(connection: sqlite3.Connection) -> int:
    """Find the last trial up to which all are good: they can be read and agree with their sums; 0 for none."""
    good = 0
    try:
        connection.create_function("row_sum", -1, row_sum, deterministic=True)
        told = next(summed for summed in SUMMED if summed.sum == "told_sum")
        is_good = (
            f"asked_sum IS row_sum({', '.join(ASK)}) "
            f"AND (NOT {told.when} OR told_sum IS row_sum({', '.join(told.columns)})) "
            "AND NOT EXISTS (SELECT 1 FROM curve WHERE trial = id AND sum IS NOT row_sum(trial, epoch, accuracy))"
        )
        for id, is_so in connection.execute(f"SELECT id, {is_good} FROM trial NOT INDEXED ORDER BY id"):
            if id != good + 1 or not is_so:
                break
            good = id
    except (sqlite3.Error, UnicodeDecodeError) as error:
        heed_interrupt(error)
    return good


def one_line(error: object) -> str:
    """Write what SQLite says as one line: of a damaged file it quotes whatever stands there."""
    return printable(error)[:300]
