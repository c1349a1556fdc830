"""The run folder: what lies where, and the lock that makes one process its only writer."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from evo_nas.errors import RunFolderError, RunFolderMoved
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.failpoints import Failpoint, reach
from evo_nas.system.links import refuse_links
from evo_nas.system.text import open_file, read_text
from genotypes.measure import Measure

BESIDE_HISTORY: Final = ("-wal", "-shm", "-journal")
"""Endings that SQLite adds to a history's name: such a file belongs to the file of that name and to no other."""


def name_beside(history: Path, suffix: str) -> Path:
    """Name the file beside a history that belongs to it, by one of :data:`BESIDE_HISTORY`."""
    return history.with_name(history.name + suffix)


FILES: Final = (
    *(
        "run.toml",
        "knowledge.json",
        "env.json",
        "log.jsonl",
        "run.lock",
        "alive.lock",
        "crash.txt",
        "history.db",
        "history.sum",
    ),
    *(f"history.db{suffix}" for suffix in BESIDE_HISTORY),
)
"""Files in a run folder, beside the folders :data:`FOLDERS`."""

_WRITTEN_WHOLE: Final = ("run.toml", "knowledge.json", "env.json", "history.sum")
"""Files of which a part can be left under another name, if their writing was cut short."""

RECORDS: Final = frozenset(
    (*FILES, "study.json", "study.lock", "train.json", "train.lock", "checkpoint.json", "curve.csv", "result.json")
)
"""Names of files by which a run, a study or a training is resumed: nothing else is written in their place."""

FOLDERS: Final = ("weights", "figures")

STATES: Final = "states"
"""The folder of the states of paused trainings, there only while there are any."""

TRACKERS: Final = ("tensorboard", "mlflow", "wandb", "optuna")
"""Trackers of a search, and their folders, there only where they are asked for."""

_PATIENCE: Final = 0.1
"""Seconds to wait for a lock: whoever looks whether a run is alive holds it for an instant."""


def read_environment(path: Path) -> Mapping[str, Any]:
    """Read ``env.json`` of a run folder; empty if there is none, or it cannot be read."""
    try:
        found = json.loads(read_text(path / "env.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def measure_of(path: Path) -> Measure:
    """Return what the fitness of the run in a folder is, as ``env.json`` records it."""
    return Measure.from_json(read_environment(path).get("measure"))


class RunFolder:
    """``run.toml``, ``env.json``, ``history.db``, ``log.jsonl``, ``weights/``, ``figures/``, and two locks.

    ``knowledge.json`` is there if the search learns from other runs.

    ``run.lock`` is held by the only writer, ``alive.lock`` tells its workers that it lives; ``crash.txt`` is there only
    while that writer trains in its own process, or if it died of that. The folder is data, never code, and can be
    moved. :meth:`create` and :meth:`open` hold its lock until :meth:`close`.
    """

    def __init__(self, path: Path) -> None:
        self.has_locks = True
        self._is_new = False
        self._lock: IO[str] | None = None
        self._take_names(path)

    def _take_names(self, path: Path) -> None:
        self.path = path
        self.config = path / "run.toml"
        self.knowledge = path / "knowledge.json"
        self.environment = path / "env.json"
        self.history = path / "history.db"
        self.log_file = path / "log.jsonl"
        self.crash = path / "crash.txt"
        self.weights = path / "weights"
        self.figures = path / "figures"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new run folder and take its lock; nothing that exists is overwritten.

        Raises:
            RunFolderError: if there is something in it already, it is in use, or it cannot be written.
        """
        folder = cls(path)
        folder._is_new = not path.exists()
        try:
            make_folder(path)
        except OSError as error:
            raise RunFolderError(f"cannot make the run folder {path}: {error.strerror}") from error
        had_lock = (path / "run.lock").exists()
        folder._take_lock()
        reach(Failpoint.FOLDER_MADE)
        # These alone are the trace of a start that failed before it had a configuration.
        if any(entry.name not in ("run.lock", "run.toml.partial") for entry in path.iterdir()):
            folder.close()
            if not had_lock:
                (path / "run.lock").unlink(missing_ok=True)
            is_run = folder.history.exists() or folder.config.exists()
            mend = f"name a new one{f', or resume its run with: {resume_command(path)}' if is_run else ''}"
            raise RunFolderError(f"the run folder {path} is not empty; {mend}")
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder to resume its run, and take its lock.

        Raises:
            RunFolderError: if it holds no run, or it is in use.
        """
        folder = cls.existing(path)
        folder._take_lock()
        return folder

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """Name an existing run folder to read from it; takes no lock.

        Raises:
            RunFolderError: if it holds no run.
        """
        folder = cls(path)
        if not path.exists():
            raise RunFolderError(f"{path} holds no run: there is no such folder")
        if not folder.history.is_file() and not folder.config.is_file():
            raise RunFolderError(f"{path} holds no run: there is no history.db in it")
        return folder

    def measure(self) -> Measure:
        """Read from ``env.json`` what the fitness is."""
        return measure_of(self.path)

    def holder(self) -> str | None:
        """Return who is writing to the run, as in ``process 4711 on host``; ``None`` if nobody is."""
        return lock_holder(self.path / "run.lock")

    def discard(self) -> None:
        """Take a folder back in which nothing was begun."""
        (self.path / "run.lock").unlink(missing_ok=True)
        if self._is_new:
            with suppress(OSError):  # not empty, so not ours to remove
                self.path.rmdir()

    def write_config(self, text: str) -> None:
        """Write ``run.toml``, whole or not at all.

        Raises:
            RunFolderError: if it cannot be written.
        """
        with _explain_refusal(self.config):
            write_whole(self.config, text)

    def write_knowledge(self, text: str) -> None:
        """Write ``knowledge.json``, whole or not at all.

        Raises:
            RunFolderError: if it cannot be written.
        """
        with _explain_refusal(self.knowledge):
            write_whole(self.knowledge, text)

    def write_environment(self, text: str) -> None:
        """Write ``env.json``, whole or not at all, and make the folders for what is to come.

        Raises:
            RunFolderError: if that cannot be written.
        """
        with _explain_refusal(self.environment):
            for name in FOLDERS:
                (self.path / name).mkdir(exist_ok=True)
            write_whole(self.environment, text)

    def follow(self) -> None:
        """Go on under the present name of a folder that was moved while it was open, on Linux.

        Raises:
            RunFolderMoved: if it is gone, or its new name cannot be found out.
        """
        assert self._lock is not None
        if _stands_at(self._lock, self.path / "run.lock"):
            return
        with suppress(OSError):
            lock = Path(f"/proc/self/fd/{self._lock.fileno()}").readlink()
            if _stands_at(self._lock, lock):
                self._take_names(lock.parent)
                return
        became = "its files were removed or replaced" if self.path.exists() else "it was removed"
        raise RunFolderMoved(
            f"the run folder {self.path} is gone: {became} while its search was writing to it, and what was recorded "
            "went with it; put the folder back and resume it, or start a new run"
        )

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, event: str, **details: Any) -> None:
        """Append one line to ``log.jsonl``: the time in UTC, what happened, and details.

        A log that cannot be written ends no run: what counts stands in the history.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with suppress(OSError), self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, "event": event, **details}, default=str) + "\n")

    def _take_lock(self) -> None:
        """Lock the folder for this process, or say who holds it."""
        refuse_links(self.path, (*FILES, *FOLDERS, STATES, *TRACKERS))
        self._lock, self.has_locks = take_lock(self.path / "run.lock", f"the run folder {self.path}")


def take_lock(path: Path, what: str) -> tuple[IO[str], bool]:
    """Lock a file for this process until what is returned is closed; also say whether the file system knows locks.

    Raises:
        RunFolderError: if another process holds it, who is named, or ``what`` it stands for cannot be written.
    """
    try:
        # No link is followed: what is written here must not land in a file elsewhere.
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RunFolderError(f"cannot write to {what}: {error.strerror}") from error
    lock = os.fdopen(number, "a+", encoding="utf-8")
    has_locks = True
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_PATIENCE / 10)
                continue
            holder = _read_holder(lock)
            lock.close()
            raise RunFolderError(f"{what} is in use by {holder}; wait for it or stop it") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                lock.close()
                raise RunFolderError(f"cannot lock {what}: {error.strerror}") from error
            has_locks = False
            break
    if not _stands_at(lock, path):  # whoever held it took the folder back: what we have locked is a file without a name
        lock.close()
        return take_lock(path, what)
    try:
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
    except OSError as error:
        with suppress(OSError):
            lock.close()
        raise RunFolderError(f"cannot write to {what}: {error.strerror}") from error
    return lock, has_locks


def _stands_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except OSError:
        return False


def lock_holder(path: Path) -> str | None:
    """Return who holds a lock of :func:`take_lock`; ``None`` if nobody does, or that cannot be known."""
    with suppress(OSError, ValueError), os.fdopen(open_file(path), encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(lock)
    return None


def _read_holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read(200).strip() or "another process"


@contextmanager
def _explain_refusal(path: Path) -> Iterator[None]:
    """Turn the refusal to write a file of a run folder into one line."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"cannot write {error.filename or path}: {error.strerror}") from error


def is_of_a_run(name: str) -> bool:
    """Return whether a start that was killed leaves something of this name in its run folder."""
    return name in (*FILES, *FOLDERS, STATES) or name in [f"{file}.partial" for file in _WRITTEN_WHOLE]


def resume_command(path: Path) -> str:
    """Spell the command that resumes a run, ready to be pasted into a shell."""
    return f"python -m evo_nas resume {shlex.quote(str(path))}"


def track_command(path: Path, trackers: Iterable[str]) -> str:
    """Spell the command that sends trackers what they lack of a run."""
    return f"python -m evo_nas track {shlex.quote(str(path))} --tracker {','.join(trackers)}"


def repair_command(path: Path) -> str:
    """Spell the command that saves what can be read of a damaged run."""
    return f"python -m evo_nas repair {shlex.quote(str(path))}"
