"""Slots: one worker process each, so that a trial that dies takes nothing with it but itself."""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor

from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from genotypes.individual import Evaluation, Outcome

_evaluator: Evaluator | None = None
"""The evaluator of a worker process; it keeps its data between trials."""


class SlotsExecutor:
    """Runs each job in one of ``slots`` worker processes, which live as long as the run.

    A slot is a loky executor with a single worker, because an executor with several would lose the jobs of all when
    one worker is killed. Workers are forked from a server that has imported torch already.
    """

    def __init__(self, evaluator: Evaluator, slots: int) -> None:
        self.slots = slots
        self._evaluator = evaluator
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "evo_nas.evaluators.base"])
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future[Evaluation], tuple[int, ProcessPoolExecutor]] = {}

    def submit(self, job: Job) -> None:
        """Start the job in an idle slot."""
        slot = self._idle.pop() if self._idle else self._new_slot()
        self._busy[slot.submit(_evaluate, job)] = (job.id, slot)

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
        return sorted(results, key=lambda result: result[0])

    def close(self) -> None:
        """Kill the workers, whatever they are doing."""
        for slot in [*self._idle, *(slot for _, slot in self._busy.values())]:
            _stop(slot)
        self._idle.clear()
        self._busy.clear()

    def _new_slot(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=1, context=self._context, initializer=_start_worker, initargs=(self._evaluator,)
        )


def _stop(slot: Any) -> None:
    slot.shutdown(wait=True, kill_workers=True)


def _start_worker(evaluator: Evaluator) -> None:
    """Get a worker ready. Ctrl-C reaches every process of the terminal, but only the main one decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _evaluator
    _evaluator = evaluator


def _evaluate(job: Job) -> Evaluation:
    assert _evaluator is not None, "the initializer has run"
    return evaluate_safely(_evaluator, job)
