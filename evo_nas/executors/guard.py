"""A guard over each worker: its parent, which ends it and all that it has started, wherever that went."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

END: Final = signal.SIGUSR2
"""What tells a guard to end its worker: no signal that a terminal, a user or a service manager sends to all."""

PARENT: Final = "_EVO_NAS_PARENT"
"""The variable in which a fork server finds the id of the process that it is to end with."""

# of <linux/prctl.h>
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def divide_off_guard(alive: tuple[Path, bytes] | None) -> None:
    """Fork: the new process returns and is the worker; this one becomes its guard, and never returns.

    The guard ends the worker and its descendants when it gets :data:`END`, when the fork server dies, and when the main
    process does, however that dies: ``alive`` is the file that the main process keeps locked, and the word that it
    wrote there. Another word says that it was killed before this worker was up, and the run was resumed. When the
    worker ends, the guard ends what that has left, and then itself in the same way.

    Linux makes the guard the parent of all processes that lose theirs (prctl(2), PR_SET_CHILD_SUBREAPER), so that it
    finds also those that moved to a session of their own. Elsewhere only the worker's process group is ended.

    A thread of the worker could do none of that: while an evaluation keeps the interpreter to itself, in C code, it
    would never run.
    """
    guard = os.getpid()
    heeded = {END, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heeded)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    die_with_parent(END)  # the fork server, which loses the worker
    worker = os.fork()
    if worker:
        try:
            _guard(worker, alive, heeded)
        finally:
            os._exit(1)
    os.setpgid(0, 0)  # what an evaluation starts dies with it
    die_with_parent(signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent(number: signal.Signals) -> None:
    """Have Linux send this process a signal when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _guard(worker: int, alive: tuple[Path, bytes] | None, heeded: set[signal.Signals]) -> None:
    """Wait for the end of the worker, of the fork server or of the main process, and end all that is left."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # of pipes by whose end others tell that the worker has died
    with suppress(OSError):  # as the worker does
        os.setpgid(worker, worker)
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # POSIX keeps no signal that would be ignored
    if alive is not None:
        threading.Thread(target=_wait_for_main, args=alive, daemon=True).start()
    status = None
    while status is None and signal.sigwait(heeded) == signal.SIGCHLD:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = ended[1] if ended[0] == worker else status
    _end_all(worker, has_ended=status is not None)
    if status is None:
        return
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _wait_for_main(alive: Path, word: bytes) -> None:
    """Wait for the lock that the main process holds while it lives, and have the guard end."""
    with suppress(OSError), alive.open("rb") as lock:
        if lock.read() == word:
            fcntl.flock(lock, fcntl.LOCK_SH)
    os.kill(os.getpid(), END)


def _end_all(worker: int, *, has_ended: bool) -> None:
    """Kill the worker, its group, and its descendants: each generation becomes the guard's own when its parent dies."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    if not has_ended:
        with suppress(ProcessLookupError):  # where a system knows no more of what waits to be reaped
            os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    with suppress(ChildProcessError):  # no more children, as nearly always at once
        while True:
            os.waitpid(-1, os.WNOHANG)
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> Iterator[int]:
    """Return the ids of this process's children, as ``/proc`` lists them: proc(5), field 4 of ``stat``."""
    own = str(os.getpid()).encode()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            if entry.read_bytes().rpartition(b")")[2].split()[1] == own:
                yield int(entry.parent.name)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
