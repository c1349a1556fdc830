"""Crashes in native code of this very process: which attempt one ended, and where.

A process that dies of SIGSEGV or its kin can record nothing afterwards. Python's faulthandler can, in the instant
before: it writes where the crash happened into a file. The process that resumes the run finds it there. A process that
dies of anything else, such as SIGKILL or a power cut, leaves no such words.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from evo_nas.storage.replay import Replay
from genotypes.genotype import shorten
from genotypes.individual import Evaluation, Outcome

_LONGEST: Final = 1 << 16
"""Bytes of a crash file that are looked at: faulthandler names 100 calls of a thread."""

_FRAMES: Final = 10
"""Calls that are kept of the thread that crashed, the most recent first."""

_FATAL: Final = re.compile(
    r"trial (?P<trial>[1-9][0-9]{0,17}), attempt (?P<attempt>[1-9][0-9]{0,8})\n"
    r"Fatal Python error: (?P<what>[A-Z][A-Za-z -]{1,40})\n"
)
_THREAD: Final = re.compile(r"^Current thread [^\n]*\n((?:  [^\n]*(?:\n|\Z))+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash that ended an attempt of a trial, and the process: ``at`` seconds since the epoch, with the reason."""

    trial: int
    attempt: int
    at: float
    words: str


class CrashFile:
    """The file of a run folder into which a native crash is written, while :meth:`watch` says whose it would be.

    It is data like the rest of the folder: what is read from it is checked, and what lies there is never written to.
    A disk that is full or refuses it ends no run: a crash then says nothing against the trial.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._before: Any = None  # where faulthandler wrote until we came

    def read(self) -> Crash | None:
        """Return the crash that is recorded; ``None`` if there is none, or the file is not what we write."""
        try:
            number = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # which waits for no pipe
        except OSError:
            return None
        try:
            found = os.fstat(number)
            text = os.read(number, _LONGEST).decode("utf-8", "replace") if stat.S_ISREG(found.st_mode) else ""
        except OSError:
            return None
        finally:
            os.close(number)
        if not (fatal := _FATAL.match(text)):
            return None
        return Crash(int(fatal["trial"]), int(fatal["attempt"]), found.st_mtime, _words(fatal["what"], text))

    def remove(self) -> None:
        """Remove the file, if it can be."""
        with suppress(OSError):
            self.path.unlink()

    @contextmanager
    def watch(self, trial: int, attempt: int) -> Iterator[None]:
        """Record a native crash until the end of the block as one of this attempt.

        faulthandler serves one at a time, and does not always tell whom. Where it writes into a file that Python knows,
        as it does with PYTHONFAULTHANDLER, it does so again afterwards; where it writes to a bare number it is left
        alone. Outside of the main thread nothing is recorded: another thread may be searching too.
        """
        try:
            self._begin(trial, attempt)
            yield
        finally:
            self._end()

    def close(self) -> None:
        """Close the file."""
        self._end()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self, trial: int, attempt: int) -> None:
        global _watching
        if _watching is not None or threading.current_thread() is not threading.main_thread():
            return
        self._before = _find_output()
        if self._before is None and faulthandler.is_enabled():
            return
        with suppress(OSError):
            if self._file is None:
                self.remove()  # what lies there may have another name elsewhere, or be no file at all
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
                self._file = os.fdopen(os.open(self.path, flags, 0o666), "ab", buffering=0)
            self._file.truncate(0)
            self._file.write(f"trial {trial}, attempt {attempt}\n".encode("ascii"))
            _watching = self
            faulthandler.enable(self._file)

    def _end(self) -> None:
        if _watching is self:
            _give_back()


def take_crash(crash_file: CrashFile, history: Replay) -> dict[int, Evaluation]:
    """Return how the attempt ended, by the id of its trial, that took the process of the last search down, if one did.

    A crash counts once: one of an attempt that has an end, or that is not the last of its trial, is none any more.
    """
    crash = crash_file.read()
    attempt = history.find_open_attempt(crash.trial) if crash else None
    if crash is None or attempt is None or attempt[0] != crash.attempt:
        crash_file.remove()
        return {}
    seconds = max(0.0, min(crash.at, time.time()) - attempt[1])
    return {crash.trial: Evaluation.failed(Outcome.CRASH, crash.words, seconds=seconds)}


_watching: CrashFile | None = None
"""The one that faulthandler writes to, if any."""


def _give_back() -> None:
    """Point faulthandler back to where it wrote before, unless other code has taken it over."""
    global _watching
    crash_file, _watching = _watching, None
    if crash_file is not None and _find_output() is crash_file._file:
        faulthandler.disable()
        if crash_file._before is not None:
            with suppress(OSError, ValueError, RuntimeError):  # it was closed in the meantime
                faulthandler.enable(crash_file._before)


os.register_at_fork(after_in_child=_give_back)  # the crash of a child is not that of this process


def _find_output() -> Any:
    """Find the file that faulthandler writes to; ``None`` if it is off, or writes to a bare number.

    There is no question that it answers, but it tells the garbage collector what it holds. Files that it writes to on
    request are among them, so that more than one say nothing.
    """
    files = {id(one): one for one in gc.get_referents(faulthandler) if hasattr(one, "fileno")}
    return next(iter(files.values())) if faulthandler.is_enabled() and len(files) == 1 else None


def _words(what: str, text: str) -> str:
    """Return in some lines where a process died; the last one is complete on its own."""
    thread = _THREAD.search(text)
    frames = [shorten(line.strip(), 300) for line in thread[1].splitlines()[:_FRAMES]] if thread else []
    place = next((f" ({frame})" for frame in frames if frame.startswith("File ")), "")
    return "\n".join([*frames, f"the process of the search died: {what}{place}"])
