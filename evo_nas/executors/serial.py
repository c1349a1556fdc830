"""The serial executor: one job at a time, in this process."""

from __future__ import annotations

from collections import deque

from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from genotypes.individual import Evaluation


class SerialExecutor:
    """Evaluates a job when its result is waited for. The simplest thing that works, and the easiest to debug."""

    slots = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Queue the job."""
        self._jobs.append(job)

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Evaluate the job that was submitted; the timeout cannot interrupt it."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        return [(job.id, evaluate_safely(self._evaluator, job))]

    def close(self) -> None:
        """Forget what was not started."""
        self._jobs.clear()
