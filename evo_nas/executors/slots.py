"""Slots: one worker process each, so that a crash costs its own trial only."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import queue
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import IO, Any, Final

from joblib.externals.loky import ProcessPoolExecutor

from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.executors.orphans import die_with_parent
from evo_nas.executors.pool import THREAD_VARIABLES, Pool, WorkerDied
from genotypes.individual import Evaluation

_PATIENCE: Final = 2.0
"""Seconds to wait for a lock that the guards of a run that was killed hold for an instant, until they have died."""

_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)
"""Signals of terminals, schedulers and users that end a run: see :mod:`evo_nas.signals`."""

_evaluator: Evaluator | None = None
"""The evaluator of a worker process; it keeps its data between trials."""


class SlotsExecutor(Pool):
    """Run each job in one of ``slots`` worker processes, which live as long as the run.

    A slot is a loky executor with a single worker, because an executor with several would lose the jobs of all when
    one worker is killed. Workers are forked from a server that has the slow imports done.

    ``alive`` is a file that this process locks for as long as it lives. Each worker has a guard that waits for that
    lock, and ends the worker and what it has started when it gets it: however this process dies, its
    workers die too.
    Parent ids and pipes do not tell that a process whose parent is the fork server has lost its master.

    ``gpus`` are what CUDA_VISIBLE_DEVICES may say; slot i sees only one, the i-th of them modulo their number. Several
    slots share a GPU if there are more slots. Untested on CUDA hardware.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        slots: int,
        alive: Path | None = None,
        *,
        trial_timeout: float | None = None,
        recycle_after: int | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        word = f"process {os.getpid()}, {os.urandom(8).hex()}\n".encode()
        self._lock = _lock_alive_file(alive, word) if alive else None
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *evaluator.preload])
        with _block_stop_signals():
            forkserver.ensure_running()

        def hire(number: int) -> _Process:
            variables = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
            return _Process(self._context, (evaluator, (alive, word) if self._lock else None, variables))

        super().__init__(hire, slots, trial_timeout=trial_timeout, recycle_after=recycle_after)

    def close(self) -> None:
        """Kill all workers, and release the lock that keeps them alive."""
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class _Process:
    """A worker process of this machine."""

    def __init__(self, context: Any, arguments: tuple[Any, ...]) -> None:
        with _block_stop_signals():
            self._loky = ProcessPoolExecutor(
                max_workers=1, context=context, initializer=_start_worker, initargs=arguments
            )
        self._groups: set[int] = set()

    def start(self, job: Job) -> tuple[Future[None], Future[Evaluation]]:
        """Send two tasks; the worker starts the second once it has completed the first, which is empty."""
        with _without_main_module(), _block_stop_signals():
            try:
                begun = self._loky.submit(_begin)
                self._groups.update(self._loky._processes)  # loky forgets a worker that has died
                ended = self._loky.submit(_evaluate, job)
            except BrokenProcessPool as error:
                raise WorkerDied(str(error)) from error
        return begun, _translate(ended)

    def kill(self) -> None:
        """Kill the process and its children, even if it is dead already."""
        for pid in self._groups.union(self._loky._processes or ()):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # the worker leads a group of its own, in which its guard outlives it
        self._groups.clear()
        # Of a task that waits, loky's thread would look for what it has just thrown away, and end with a traceback.
        with suppress(queue.Empty):
            while True:
                self._loky._work_ids.get_nowait()
        self._loky.shutdown(wait=True, kill_workers=True)


def _translate(future: Future[Evaluation]) -> Future[Evaluation]:
    """Return a future that raises :class:`WorkerDied` for a dead worker."""
    ours: Future[Evaluation] = Future()

    def follow(done: Future[Evaluation]) -> None:
        if done.cancelled():
            ours.set_exception(WorkerDied("it was stopped"))
        elif isinstance(error := done.exception(), BrokenProcessPool):
            found = re.search(r"exit codes of the workers are \{(.*)\}", str(error))
            died = WorkerDied(f"the worker process died: {found[1] if found else error}")
            died.__cause__ = error
            ours.set_exception(died)
        elif error is not None:
            ours.set_exception(error)
        else:
            ours.set_result(done.result())

    future.add_done_callback(follow)
    return ours


def _lock_alive_file(alive: Path, word: bytes) -> IO[bytes] | None:
    """Lock the file that says that this process lives, and write its word; ``None`` if the file system cannot."""
    lock = alive.open("ab", buffering=0)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(word)
            return lock
        except OSError as error:
            if isinstance(error, BlockingIOError) and time.monotonic() < deadline:
                time.sleep(_PATIENCE / 100)
                continue
            lock.close()
            return None


def _set_guard(alive: Path, word: bytes) -> None:
    """Fork a process that waits for the lock that the main process holds while it lives, and then ends this group.

    If the file has another ``word`` the main process was killed before this worker was up, and the run was resumed.

    A thread could not do that: while an evaluation keeps the interpreter to itself, in C code, it would never run. As
    a member of the group the guard also keeps its number from being reused while the worker is dead.
    """
    if os.fork():
        return
    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # of pipes by whose end others tell that the worker has died
        with alive.open("rb") as lock:
            if lock.read() == word:
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)


@contextmanager
def _block_stop_signals() -> Iterator[None]:
    """Block the stop signals for processes that are started in the block.

    A terminal or a scheduler sends them to all processes of a run, but only the main one handles them. Here a signal is
    delivered after the block; a process started in it inherits the blocked mask for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        resource_tracker.ensure_running()  # which unblocks two of them when it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a worker that is started here from importing the main module, as multiprocessing has it do otherwise.

    A user's script calls ``evo_nas.search`` at its top level, and would search again in every worker. What an evaluator
    needs of the script is pickled by value.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__
    }
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _start_worker(evaluator: Evaluator, alive: tuple[Path, bytes] | None, variables: dict[str, str]) -> None:
    """Prepare a worker process."""
    for number in _STOPS:  # the fork server blocks them already; a child of an evaluation may unblock them
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)  # what an evaluation starts dies with it
    os.environ.update(variables)
    if alive is not None:
        die_with_parent()  # the fork server, whose end loses the worker
        _set_guard(*alive)
    _use_threads(evaluator.placement.threads)
    global _evaluator
    _evaluator = evaluator


def _use_threads(threads: int) -> None:
    """Limit the threads of libraries that would each take all cores."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    threadpool_limits(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


def _begin() -> None:
    """Do nothing: its completion shows that the worker begins with the next task."""


def _evaluate(job: Job) -> Evaluation:
    assert _evaluator is not None, "the initializer has run"
    return evaluate_safely(_evaluator, job, in_worker=True)
