"""The errors that end a command, each with its exit code.

EvoNasError (1)
├── UsageError (2)    what was asked for cannot be done: an unknown name, a bad value
├── RunFolderError (3)  the run folder is busy or unusable
│   ├── RunFolderMoved  it is not where it was when it was opened
│   └── HistoryError    its history cannot be looked back on
│       └── DamagedHistory  it is not what was written
├── PluginError (2)   a strategy, a space or an evaluator does not keep its contract
├── DataError (4)     an image set or a table is missing or damaged
├── WorkersError      worker processes cannot be started
├── TooManyFailures (5)  the run was ended because trial after trial failed
└── StudyFailed       runs of a study failed; it ends with the highest exit code among them

The message of each is one line that says what was wrong, where, and how to mend it.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import ClassVar


class Stopped(BaseException):
    """A signal to us, raised wherever the program is. No failure of a trial or a plug-in: nothing may swallow it."""


class EvoNasError(Exception):
    """Anything that ends a command with one line and an exit code instead of a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(EvoNasError):
    """A request that cannot be met: an unknown name, a value out of range, a file of the wrong kind."""

    exit_code = 2


class RunFolderError(EvoNasError):
    """The run folder is in use, not empty, no run, or damaged."""

    exit_code = 3


class RunFolderMoved(RunFolderError):
    """The run folder is not where it was when the search began: moved, removed, or another one stands in its place."""


class HistoryError(RunFolderError, ValueError):
    """A run that cannot be looked back on; one line that says which, why, and what to do."""


class DamagedHistory(HistoryError):
    """A history is not what was written; the message names its last good trial and the command that saves it."""


class PluginError(EvoNasError):
    """A strategy, a space or an evaluator raised what it may not, or answered what its contract does not allow."""

    exit_code = 2


class calling:
    """Turn what goes wrong with a method of a plug-in into one line: its class, the method, and the error or the rule.

    The block calls the method and checks its answer. ``allowed`` are exceptions that its contract knows; those of this
    file and Ctrl-C pass too.

    Raises:
        PluginError: for all others.
    """

    def __init__(self, part: object, method: str, *allowed: type[Exception]) -> None:
        self._part = part
        self._method = method
        self._allowed = allowed

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (*self._allowed, EvoNasError, Stopped, KeyboardInterrupt)):
            return
        from genotypes.genotype import (  # a foreign genotypes may hide ours: system/shadows.py says so
            printable,
            shorten,
        )

        part = type(self._part)
        words = traceback.format_exception_only(error)[0].strip()  # not str(error), which may raise another one
        if isinstance(error, ValueError):  # as the checks of contracts raise it
            words = words.partition(": ")[2] or words
        own = getattr(sys.modules.get(part.__module__), "__file__", None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
        place = f" ({Path(own).name}, line {lines[-1]})" if own and lines else ""
        raise PluginError(
            f"{part.__module__}:{part.__qualname__} does not keep its contract: {self._method}: "
            f"{shorten(printable(words), 300)}{place}"
        ) from error


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
