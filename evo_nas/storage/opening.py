"""Opening a history for reading: it is checked, refused with the reason and the mend, and never changed."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from evo_nas.errors import DamagedHistory, HistoryError, RunFolderError
from evo_nas.storage import schema
from evo_nas.storage.checksums import damage, good_trials, is_untouched, may_be_untouched, one_line, sum_file
from evo_nas.storage.connection import connect, heed_interrupt, map_file
from evo_nas.storage.run_folder import RunFolder, name_beside, repair_command, resume_command

_PATIENCE: Final = 2.0
"""Seconds to wait for a writer that locks readers out, which one with a write-ahead log never does."""


@contextmanager
def open_to_read(history: Path) -> Iterator[sqlite3.Connection]:
    """Open a history for reading only, check that it is one, and turn what goes wrong on the way into one line.

    One that was closed in order is believed while it is what it was then, which is found out while it is being read:
    what was read counts if nothing is raised at the end. Any other is read completely first: one that is being
    written, and one whose run was killed.
    """
    believed = may_be_untouched(history)  # looked at before SQLite touches anything
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            closing(_connect_to_read(history, Path(scratch))) as connection,
            ThreadPoolExecutor(max_workers=1) as beside,
        ):
            untouched = beside.submit(is_untouched, history) if believed else None
            if believed:  # nobody writes to it
                map_file(connection)
            try:
                check(history, connection, believed)
                yield connection
            finally:
                if untouched is not None and not untouched.result():
                    _look_through(history)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # of a damaged schema SQLite quotes what is no text
        heed_interrupt(error)
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in ABOUT_ACCESS:
            raise HistoryError(f"{history} cannot be read as a history: {error}") from None
        raise describe_damage(history, str(error)) from None
    except OSError as error:
        raise HistoryError(f"{error.filename or history} cannot be read: {error.strerror or error}") from None


def _look_through(history: Path) -> None:
    """Refuse a damaged history, over a connection of its own: another may be in the middle of a query.

    Raises:
        HistoryError: as :func:`_check` does.
    """
    with tempfile.TemporaryDirectory() as scratch, closing(_connect_to_read(history, Path(scratch))) as connection:
        check(history, connection, believed=False)


def check(history: Path, connection: sqlite3.Connection, believed: bool, locks: bool = True) -> None:
    """Refuse what is no history, is of another version, or is damaged; a believed one is not looked through.

    Raises:
        HistoryError: saying so.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not believed and schema.is_garbled(connection):
        raise describe_damage(history, f"its schema version reads {version}", connection)
    if version not in (0, schema.WITHOUT_RUNGS, schema.VERSION):
        raise HistoryError(schema.refusal(history, version))
    lacking = {schema.RUNG.name} if version == schema.WITHOUT_RUNGS else set()
    if version == 0 or not {table.name for table in schema.TABLES} - lacking <= tables:
        if version or was_begun(history):
            raise describe_damage(history, "it lacks tables of a history", connection)
        raise HistoryError(f"{history} is no history of a run: it lacks the tables of one")
    if found := schema.difference(connection, version):
        # What is damaged is counted by queries, and these may be no tables: nothing here is asked any further.
        what = f"the history {history} is not as evo_nas makes one: {one_line(found)}; nothing in it was run"
        raise DamagedHistory(what + _mend(history))
    if not believed and (found := damage(connection, locks)):
        raise describe_damage(history, found, connection)
    schema.add_missing(connection)


ABOUT_ACCESS: Final = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
"""SQLite's errors about access, such as locks and permissions, not about what is in the file."""


def _connect_to_read(history: Path, scratch: Path) -> sqlite3.Connection:
    """Connect for reading only; where the file system gives no locks or no shared memory, to a copy in ``scratch``.

    Opening the original as immutable instead would leave out what still stands in the write-ahead log.
    """
    connection = connect(history, "ro", patience=_PATIENCE)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        copy = scratch / "history.db"
        try:
            shutil.copyfile(history, copy)
            for suffix in ("-wal", "-journal"):  # not what SQLite shares with others in memory
                if (beside := name_beside(history, suffix)).is_file():
                    shutil.copyfile(beside, name_beside(copy, suffix))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise HistoryError(
                f"{history} is read from a copy, because its folder takes no locks, and there is no room for one in "
                f"{scratch.parent}: let TMPDIR name a folder with room"
            ) from None
        connection = connect(copy, "rw")
    except BaseException:
        connection.close()
        raise
    return connection


def describe_damage(history: Path, what: str, connection: sqlite3.Connection | None = None) -> DamagedHistory:
    """Return what is wrong with a history, how much of it is good, and how to save that."""
    good = 0
    with tempfile.TemporaryDirectory() as scratch, suppress(sqlite3.Error, UnicodeDecodeError, OSError, HistoryError):
        if connection is not None:
            good = good_trials(connection)
        else:
            with closing(_connect_to_read(history, Path(scratch))) as another:
                good = good_trials(another)
    extent = f"its trials are good up to number {good}" if good else "none of its trials is known to be good"
    return DamagedHistory(f"the history {history} is damaged: {one_line(what)}; {extent}{_mend(history)}")


def _mend(history: Path) -> str:
    """Say how to save what a run folder's history holds; nothing where the file lies elsewhere."""
    is_ours = history.name == "history.db"
    return f"; save what can be read with: {repair_command(history.parent)}" if is_ours else ""


class explain_errors:
    """Turn SQLite's errors, and those of reading a damaged row, into one line that names the file and the trial."""

    def __init__(self, path: Path, trial: int | None = None) -> None:
        self.path = path
        self.trial = trial

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HistoryError):
            return
        if isinstance(error, sqlite3.Error):
            heed_interrupt(error)
            raise self._reason(error) from error
        if isinstance(error, UnicodeDecodeError):  # of a damaged schema SQLite quotes what is no text
            raise describe_damage(self.path, str(error)) from error
        kinds = (ValueError, TypeError, AttributeError, RecursionError)  # a row can hold anything
        if isinstance(error, kinds) and self.trial is not None:
            raise describe_damage(self.path, f"at trial {self.trial}: {error}") from error

    def _reason(self, error: sqlite3.Error) -> RunFolderError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest are details
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return RunFolderError(
                f"the history {self.path} cannot be written: {error}; nothing that it holds is lost: when there is "
                f"space, resume with: {resume_command(self.path.parent)}"
            )
        if code in ABOUT_ACCESS:
            return RunFolderError(f"the history {self.path} cannot be used: {error}")
        return describe_damage(self.path, str(error))


def was_begun(path: Path) -> bool:
    """Return whether there is a trace of a history whose tables were there once."""
    return sum_file(path).exists() or RunFolder(path.parent).log_file.exists()


def has_tables(connection: sqlite3.Connection) -> bool:
    """Return whether a file has any table."""
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def looking_mode(path: Path) -> str:
    """Name the mode in which a history is looked at: without writing, but for what a rollback journal takes back."""
    return "rw" if name_beside(path, "-journal").exists() else "ro"
