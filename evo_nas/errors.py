"""The errors that end a command, each with its exit code.

EvoNasError (1)
├── UsageError (2)    what was asked for cannot be done: an unknown name, a bad value
├── RunFolderError (3)  the run folder is busy or unusable
│   └── HistoryError    its history cannot be looked back on
│       └── DamagedHistory  it is not what was written
├── DataError (4)     an image set or a table is missing or damaged
├── WorkersError      worker processes cannot be started
├── TooManyFailures (5)  the run was ended because trial after trial failed
└── StudyFailed       runs of a study failed; it ends with the highest exit code among them

The message of each is one line that says what was wrong, where, and how to mend it.
"""

from __future__ import annotations

from typing import ClassVar


class EvoNasError(Exception):
    """Anything that ends a command with one line and an exit code instead of a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(EvoNasError):
    """A request that cannot be met: an unknown name, a value out of range, a file of the wrong kind."""

    exit_code = 2


class RunFolderError(EvoNasError):
    """The run folder is in use, not empty, no run, or damaged."""

    exit_code = 3


class HistoryError(RunFolderError, ValueError):
    """A run that cannot be looked back on; one line that says which, why, and what to do."""


class DamagedHistory(HistoryError):
    """A history is not what was written; the message names its last good trial and the command that saves it."""


class DataError(EvoNasError):
    """An image set or a table is missing or damaged; the message ends with what mends it."""

    exit_code = 4


class WorkersError(EvoNasError):
    """This machine does not let worker processes start; the message says why, and what mends it."""


class TooManyFailures(EvoNasError):
    """Trial after trial failed, so that going on would only burn time."""

    exit_code = 5


class StudyFailed(EvoNasError):
    """Some runs of a study failed; the others are there. Each has its own reason, the worst gives the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # of the instance: as of the run that failed
