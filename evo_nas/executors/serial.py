"""The serial executor: one job at a time, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.system.alarm import Alarm, TimeIsUp
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
        self._alarm = Alarm()

    def submit(self, job: Job, *, fresh: bool = False) -> None:
        """Queue the job."""
        self._jobs.append(job)

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Evaluate the submitted job, and abort it if it takes too long."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        try:
            with self._watch(job.id), self._alarm.limit(None if timeout is None else timeout + self._grace):
                evaluation = evaluate_safely(self._evaluator, job)
        except TimeIsUp:
            return []
        return [(job.id, evaluation)]

    def wake(self) -> None:
        """Abort the evaluation in progress, and each later one, after ``grace`` seconds."""
        self._alarm.ring_in(self._grace)

    def close(self) -> None:
        """Drop the queued job."""
        self._jobs.clear()
