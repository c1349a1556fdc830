"""The contract of an executor: where jobs run."""

from __future__ import annotations

from typing import Protocol

from evo_nas.evaluators.base import Job
from genotypes.individual import Evaluation


class Executor(Protocol):
    """Runs jobs and hands back what became of them. Used from the main thread only.

    An implementation promises that every submitted job comes back from :meth:`next` exactly once, as a failed
    evaluation if its worker died.
    """

    slots: int
    """How many jobs may be submitted and not yet handed back."""

    def submit(self, job: Job) -> None:
        """Start a job, or queue it until the next call of :meth:`next`; never more than ``slots`` at a time."""

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Wait for jobs to end, ``timeout`` seconds at most, and hand back each one's id and evaluation."""

    def close(self) -> None:
        """Stop whatever runs, and leave no process behind."""
