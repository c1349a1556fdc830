"""The one door through which SQLite opens a history, which may come from anybody: nothing in the file can run."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Final

from evo_nas.errors import HistoryError
from evo_nas.storage.run_folder import BESIDE_HISTORY, name_beside

LONGEST: Final = 16 << 20
"""Bytes of the longest text that is read or written, and of the longest row."""

_PATIENCE: Final = 10.0
"""Seconds to wait for another process that holds the file."""

_MAPPED: Final = 1 << 40
"""Bytes of a history that may be mapped into memory: SQLite takes what it can of it."""

_STEPS: Final = 1_000_000
"""Steps of SQLite's machine, some hundredths of a second, between two looks whether a signal has arrived."""


def connect(
    path: Path,
    mode: str,
    locks: bool = True,
    durable: bool = True,
    *,
    patience: float = _PATIENCE,
    any_thread: bool = False,
) -> sqlite3.Connection:
    """Return a connection that creates no more than ``mode`` says; if durable, a commit is on disk when it returns.

    ``mode`` is ``ro``, ``rw`` or ``rwc``; ``patience`` is in seconds; ``any_thread`` lets another thread use it, one
    at a time.

    Raises:
        HistoryError: if a pipe or a device stands in the place of one of its files: SQLite would wait for it.
    """
    for file in (path, *(name_beside(path, suffix) for suffix in BESIDE_HISTORY)):
        if file.exists() and not file.is_file():
            raise HistoryError(f"{file} is no file: remove it")
    uri = f"{path.absolute().as_uri()}?mode={mode}{'' if locks else '&nolock=1'}"
    connection = sqlite3.connect(uri, uri=True, timeout=patience, check_same_thread=not any_thread)
    # A file can bring along triggers, views and columns that compute: schema.difference finds them, and where it was
    # not asked they may call nothing. https://www.sqlite.org/security.html
    connection.execute("PRAGMA trusted_schema = OFF")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    # Python looks for signals only while it runs, and a query can take long.
    connection.set_progress_handler(lambda: False, _STEPS)
    if mode != "ro":
        set_durability(connection, locks, durable)
    return connection


def set_durability(connection: sqlite3.Connection, locks: bool, durable: bool) -> None:
    """Have every commit from now on the disk before it returns, or leave the file whole and the disk behind.

    NORMAL keeps a file whole that has a write-ahead log; a rollback journal, without locks, needs FULL for that. A
    commit ends with the removal of that journal, which a power cut takes back unless EXTRA syncs the folder.
    """
    connection.execute(f"PRAGMA synchronous = {'EXTRA' if durable else 'NORMAL' if locks else 'FULL'}")


def map_file(connection: sqlite3.Connection) -> None:
    """Map the file into memory, for a third of the time that reading takes; nobody may cut it short meanwhile."""
    connection.execute(f"PRAGMA mmap_size = {_MAPPED}")


def heed_interrupt(error: Exception) -> None:
    """Raise ``KeyboardInterrupt`` if SQLite stopped because a signal had arrived; what its handler raised is gone."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        raise KeyboardInterrupt from None
