"""A journal of Optuna that is written in batches. Imports Optuna."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock


class BatchedJournal(BaseJournalBackend):
    """A journal file for one storage, which reads what it has appended at once; :meth:`flush` writes it.

    Each write of Optuna's own file waits until the disk has it, and so may the search beside it.
    """

    def __init__(self, path: Path) -> None:
        self._file = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._is_read = False
        self._held: list[dict[str, Any]] = []
        self._unread: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return what the file holds, the first time, and then what was appended since the last read."""
        found = self._unread if self._is_read else [*self._file.read_logs(log_number_from), *self._unread]
        self._is_read, self._unread = True, []
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Hold them for the file."""
        held = json.loads(json.dumps(logs))  # as they are read from the file
        self._held += held
        self._unread += held

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self._file.append_logs(self._held)
            self._held = []
