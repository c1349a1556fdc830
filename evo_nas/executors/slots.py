"""Slots: one worker process each, so that a trial that dies takes nothing with it but itself."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import IO, Any

from joblib.externals.loky import ProcessPoolExecutor

from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from genotypes.individual import Evaluation, Outcome

_evaluator: Evaluator | None = None
"""The evaluator of a worker process; it keeps its data between trials."""


class SlotsExecutor:
    """Runs each job in one of ``slots`` worker processes, which live as long as the run.

    A slot is a loky executor with a single worker, because an executor with several would lose the jobs of all when
    one worker is killed. Workers are forked from a server that has imported what takes long already.

    ``alive`` is a file that this process locks for as long as it lives. Each worker waits for that lock in a
    thread, and ends itself when it gets it: however this process dies, its workers follow. Parent ids and pipes do
    not tell that a process whose parent is the fork server has lost its master.
    """

    def __init__(self, evaluator: Evaluator, slots: int, alive: Path | None = None) -> None:
        self.slots = slots
        self._alive = alive
        self._lock = _locked(alive) if alive else None
        self._evaluator = evaluator
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *evaluator.preload])
        with _ignoring_ctrl_c():  # while the server imports; it hands this on to the workers
            forkserver.ensure_running()
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future[Evaluation], tuple[int, ProcessPoolExecutor]] = {}

    def submit(self, job: Job) -> None:
        """Start the job in an idle slot."""
        with _without_main_module():
            while self._idle:
                slot = self._idle.pop()
                try:
                    future = slot.submit(_evaluate, job)
                    break
                except BrokenProcessPool:  # the worker was killed while it had nothing to do
                    _stop(slot)
            else:
                slot = self._new_slot()
                future = slot.submit(_evaluate, job)
        self._busy[future] = (job.id, slot)

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Hand back whatever has ended; a worker that died comes back as a crash, and its slot is made anew."""
        ended, _ = wait(self._busy, timeout=timeout, return_when=FIRST_COMPLETED)
        results = []
        for future in ended:
            id, slot = self._busy.pop(future)
            try:
                results.append((id, future.result()))
                self._idle.append(slot)
            except BrokenProcessPool as error:
                _stop(slot)
                results.append((id, Evaluation.failed(Outcome.CRASH, f"the worker process died: {error}")))
            except Exception as error:  # what cannot be sent from one process to the other
                self._idle.append(slot)
                results.append((id, Evaluation.failed(Outcome.ERROR, f"{type(error).__name__}: {error}")))
        return sorted(results, key=lambda result: result[0])

    def close(self) -> None:
        """Kill the workers, whatever they are doing."""
        for slot in [*self._idle, *(slot for _, slot in self._busy.values())]:
            _stop(slot)
        self._idle.clear()
        self._busy.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _new_slot(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=1,
            context=self._context,
            initializer=_start_worker,
            initargs=(self._evaluator, self._alive if self._lock else None),
        )


def _stop(slot: Any) -> None:
    slot.shutdown(wait=True, kill_workers=True)


def _locked(alive: Path) -> IO[bytes] | None:
    """Lock the file that says that this process lives; ``None`` where the file system has no locks."""
    lock = alive.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def _die_with_master(alive: Path) -> None:
    """Wait for the lock that the main process holds while it lives, and end this process."""
    with alive.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    os._exit(1)


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _start_worker(evaluator: Evaluator, alive: Path | None) -> None:
    """Get a worker ready. Ctrl-C reaches every process of the terminal, but only the main one decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if alive is not None:
        threading.Thread(target=_die_with_master, args=(alive,), daemon=True).start()
    global _evaluator
    _evaluator = evaluator


def _evaluate(job: Job) -> Evaluation:
    assert _evaluator is not None, "the initializer has run"
    return evaluate_safely(_evaluator, job)
