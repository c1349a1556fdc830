"""The serial executor: one job at a time, in this process."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import NoReturn

from evo_nas.errors import Stopped
from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from genotypes.individual import Evaluation


class SerialExecutor:
    """Evaluate each job in this process, when its result is awaited. The simplest executor, and the easiest to debug.

    A job that takes its process down takes the run with it, and one that hangs hangs the run. All that can be done
    here is to give up an evaluation for good, by an alarm that reaches Python code: ``grace`` seconds after the
    timeout of :meth:`next` or after :meth:`wake`, because a stopping run grants its trials that time.

    ``watch`` is entered with the id of a job while that is evaluated, and at no other time: so that
    ``resume`` can attribute a crash in native code to its job (:meth:`evo_nas.storage.crashes.CrashFile.watch`).
    """

    slots = 1

    def __init__(
        self,
        evaluator: Evaluator,
        grace: float = 0.0,
        watch: Callable[[int], AbstractContextManager[None]] = lambda id: nullcontext(),
    ) -> None:
        self._evaluator = evaluator
        self._grace = grace
        self._watch = watch
        self._jobs: deque[Job] = deque()
        self._is_evaluating = self._is_woken = False

    def submit(self, job: Job, *, fresh: bool = False) -> None:
        """Queue the job."""
        self._jobs.append(job)

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Evaluate the submitted job, and abort it if it takes too long."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        if self._is_woken:
            timeout = 0.0
        with self._watch(job.id), self._alarm(None if timeout is None else timeout + self._grace):
            try:
                self._is_evaluating = True
                evaluation = evaluate_safely(self._evaluator, job)
                self._is_evaluating = False
            except _GivenUp:
                return []
            finally:
                self._is_evaluating = False
        return [(job.id, evaluation)]

    def wake(self) -> None:
        """Abort the evaluation in progress after ``grace`` seconds."""
        self._is_woken = True
        if self._is_evaluating:
            _ring_in(self._grace)

    @contextmanager
    def _alarm(self, seconds: float | None) -> Iterator[None]:
        """Abort the evaluation after ``seconds``, or on :meth:`wake`; tell Ctrl-C from what an evaluator raises."""
        if threading.current_thread() is not threading.main_thread():  # where no signal arrives
            yield
            return
        before = {signal.SIGALRM: signal.signal(signal.SIGALRM, self._give_up)}
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
        try:
            if seconds is not None:
                _ring_in(seconds)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        if self._is_evaluating:
            raise _GivenUp

    def close(self) -> None:
        """Drop the queued job."""
        self._jobs.clear()


class _GivenUp(Stopped):
    """An evaluation has taken too long."""


class _Interrupted(Stopped, KeyboardInterrupt):
    """Ctrl-C, where nobody else handles it."""


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted


def _ring_in(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # 0 would switch the alarm off
