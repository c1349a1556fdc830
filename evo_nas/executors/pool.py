"""A pool of workers: jobs in other processes, local or on a cluster.

Start, end, time limit, death and replacement are the same for worker processes of this machine and for actors of a
cluster. They differ in their :class:`Worker`.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from evo_nas.errors import EvoNasError, TooManyFailures
from evo_nas.evaluators.base import Job
from genotypes.individual import Evaluation, Outcome

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Where libraries that are loaded later read how many threads a worker may use."""


STARTS: Final = 3
"""So many workers in a row that do not start end the run."""


class WorkerDied(Exception):
    """The process of a worker has ended; the message holds the known reason."""


class Worker(Protocol):
    """One process that evaluates one job at a time."""

    def start(self, job: Job) -> tuple[Future[None], Future[Evaluation]]:
        """Send a job, and return two futures: of its start, and of its evaluation.

        Both end with :class:`WorkerDied` if the process does, and the first with whatever keeps it from starting.

        Raises:
            WorkerDied: if it has died already.
            WorkersError: if there can be no process.
        """

    def kill(self) -> None:
        """Kill the process at once."""


@dataclass
class _Slot:
    """A worker, its job, and the start of that job (monotonic seconds; ``None`` before it has begun)."""

    worker: Worker
    jobs_done: int = 0
    job: Job | None = None
    submitted: float = 0.0
    began: float | None = None
    begun: Future[None] | None = None
    ended: Future[Evaluation] | None = None


class Pool:
    """Run each job in one of ``slots`` workers, which are started on demand and reused.

    ``hire`` makes a worker for a slot number, from 0. ``trial_timeout`` is in seconds from the moment when the worker
    says that it begins; an overdue worker is killed. After ``recycle_after`` jobs, and after one that ran out of
    memory or lost its device, a worker is replaced.

    A worker that does not start says nothing against its job, which is given to another one.
    """

    start_limit: ClassVar[float | None] = None
    """Seconds that a worker may take to start; generous, because imports take long on a crowded machine."""

    patience: ClassVar[float] = 60.0
    """Seconds that a job waits for a worker that does not come up, as on a cluster that has lost a node, before it
    takes one that became idle."""

    def __init__(
        self,
        hire: Callable[[int], Worker],
        slots: int,
        *,
        trial_timeout: float | None = None,
        recycle_after: int | None = None,
    ) -> None:
        self.slots = slots
        self._hire = hire
        self._trial_timeout = trial_timeout
        self._recycle_after = recycle_after
        self._idle: dict[int, _Slot] = {}
        self._busy: dict[int, _Slot] = {}  # by slot number
        self._is_woken = False
        self._failed_starts = 0  # in a row
        # Whatever happens in another thread or in a signal handler writes a byte, which ends the wait in `next`.
        self._bell, self._ringer = os.pipe()
        for end in (self._bell, self._ringer):
            os.set_blocking(end, False)

    def submit(self, job: Job, *, fresh: bool = False) -> None:
        """Start the job in an idle worker, or hire one."""
        while self._idle:
            number, slot = self._idle.popitem()
            if not fresh:
                with suppress(WorkerDied):  # it was killed while it had nothing to do
                    return self._start(number, slot, job)
            slot.worker.kill()
            fresh = False
            return self._start(number, _Slot(self._hire(number)), job)
        number = next(n for n in range(self.slots) if n not in self._busy)
        return self._start(number, _Slot(self._hire(number)), job)

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Return the jobs that ended; a dead worker's job as a crash, an overdue one as a timeout after a kill.

        Raises:
            TooManyFailures: if one worker after another does not start.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            ended = self._collect() + self._overdue()
            self._share_out()
            if ended or self._is_woken:
                self._is_woken = False
                return sorted(ended, key=lambda pair: pair[0])
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return []
            limits = [deadline, *map(self._limit, self._busy.values())]
            if self._idle:
                limits += [slot.submitted + self.patience for slot in self._busy.values() if slot.began is None]
            self._wait(min((limit - now for limit in limits if limit is not None), default=None))

    def wake(self) -> None:
        """End the wait of :meth:`next`."""
        self._is_woken = True
        self._ring()

    def close(self) -> None:
        """Kill all workers."""
        for slot in [*self._idle.values(), *self._busy.values()]:
            slot.worker.kill()
        self._idle.clear()
        self._busy.clear()
        for end in (self._bell, self._ringer):
            with suppress(OSError):
                os.close(end)
        self._bell = self._ringer = -1

    def _start(self, number: int, slot: _Slot, job: Job) -> None:
        begun, ended = slot.worker.start(job)
        slot.job, slot.submitted, slot.began, slot.begun, slot.ended = job, time.monotonic(), None, begun, ended
        self._busy[number] = slot

        def begins(future: Future[None]) -> None:
            if slot.ended is ended and not future.cancelled() and future.exception() is None:
                slot.began = time.monotonic()
                self._failed_starts = 0
            self._ring()

        begun.add_done_callback(begins)
        ended.add_done_callback(lambda _: self._ring())

    def _collect(self) -> list[tuple[int, Evaluation]]:
        """Remove the ended jobs from their slots, and return them."""
        results = []
        for number, slot in list(self._busy.items()):
            assert slot.begun is not None, "it is busy"
            assert slot.ended is not None, "it is busy"
            if slot.begun.done() and (fault := slot.begun.exception()) is not None:
                self._start_again(number, fault)
            elif slot.ended.done():
                try:
                    results.append(self._release(number, slot.ended.result()))
                except WorkerDied as error:
                    if not slot.begun.done():  # which of the two hears of a death first is chance
                        continue
                    results.append(self._release(number, _fail(Outcome.CRASH, slot, str(error)), dead=True))
                except Exception as error:  # what cannot be sent from one process to the other
                    words = f"{type(error).__name__}: {error}"
                    results.append(self._release(number, _fail(Outcome.ERROR, slot, words)))
        return results

    def _overdue(self) -> list[tuple[int, Evaluation]]:
        """Kill the workers that have taken too long."""
        results = []
        for number, slot in list(self._busy.items()):
            limit = self._limit(slot)
            if limit is None or time.monotonic() < limit:
                continue
            if slot.began is None:
                self._start_again(number, TimeoutError(f"it took longer than {self.start_limit:g} seconds"))
            else:
                words = f"took longer than {self._trial_timeout:g} seconds and was stopped"
                results.append(self._release(number, _fail(Outcome.TIMEOUT, slot, words), dead=True))
        return results

    def _release(self, number: int, evaluation: Evaluation, *, dead: bool = False) -> tuple[int, Evaluation]:
        """Free a slot; its worker is reused unless it died, is worn, ran out of memory or lost its device."""
        slot = self._busy.pop(number)
        assert slot.job is not None, "it was busy"
        job, slot.job, slot.begun, slot.ended = slot.job, None, None, None
        slot.jobs_done += 1
        is_worn = self._recycle_after is not None and slot.jobs_done >= self._recycle_after
        if dead or is_worn or evaluation.outcome in (Outcome.OOM, Outcome.CRASH):
            slot.worker.kill()
        else:
            self._idle[number] = slot
        return job.id, evaluation

    def _limit(self, slot: _Slot) -> float | None:
        """Return the moment at which a job, or the start of its worker, becomes overdue."""
        if slot.began is None:
            return None if self.start_limit is None else slot.submitted + self.start_limit
        return None if self._trial_timeout is None else slot.began + self._trial_timeout

    def _start_again(self, number: int, fault: BaseException) -> None:
        """Give a job whose worker did not start to another one.

        Raises:
            TooManyFailures: if that has happened too often.
        """
        if not (self._busy[number].jobs_done and isinstance(fault, WorkerDied)):  # else it was up, and died since
            self._failed_starts += 1
        if self._failed_starts >= STARTS:
            last = explain_failed_start(fault)
            raise TooManyFailures(f"cannot start workers: {self._failed_starts} in a row failed, the last one: {last}")
        self._resubmit(number)

    def _share_out(self) -> None:
        """Move a job whose worker has not started to an idle one: the first may never start."""
        for number, slot in list(self._busy.items()):
            late = slot.began is None and time.monotonic() - slot.submitted >= self.patience
            if late and self._idle:
                self._resubmit(number)

    def _resubmit(self, number: int) -> None:
        """Move a job that has not begun to another worker."""
        slot = self._busy.pop(number)
        assert slot.job is not None, "it was busy"
        slot.worker.kill()
        self.submit(slot.job)

    def _wait(self, seconds: float | None) -> None:
        """Sleep until an event, or for ``seconds``."""
        select.select([self._bell], [], [], None if seconds is None else max(seconds, 0.0))
        with suppress(BlockingIOError):
            while os.read(self._bell, 4096):
                pass

    def _ring(self) -> None:
        with suppress(OSError):  # full is as good as rung; after the end nobody listens
            os.write(self._ringer, b"!")


def explain_failed_start(fault: BaseException) -> str:
    """Return in words what kept a worker from starting."""
    is_plain = isinstance(fault, WorkerDied | TimeoutError | EvoNasError)
    return str(fault) if is_plain else f"{type(fault).__name__}: {fault}"


def _fail(outcome: Outcome, slot: _Slot, words: str) -> Evaluation:
    began = slot.submitted if slot.began is None else slot.began
    return Evaluation.failed(outcome, words, seconds=time.monotonic() - began)
