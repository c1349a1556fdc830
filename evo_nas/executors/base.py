"""The contract of an executor: where jobs run."""

from __future__ import annotations

from typing import Protocol

from evo_nas.evaluators.base import Job
from genotypes.individual import Evaluation


class Executor(Protocol):
    """Run jobs and return their evaluations. Used from the main thread only.

    An implementation promises that every submitted job comes back from :meth:`next` exactly once, as a failed
    evaluation if its worker died or had to be killed, unless the run ends before.
    """

    slots: int
    """Number of jobs that may be submitted and not yet handed back."""

    def submit(self, job: Job, *, fresh: bool = False) -> None:
        """Start a job, or queue it until the next call of :meth:`next`; never more than ``slots`` at a time.

        ``fresh`` asks for a worker that has run nothing before, where there are workers.
        """

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Return the id and evaluation of each job that ended; wait for one if there is none.

        The list is empty after ``timeout`` seconds, and after :meth:`wake`.
        """

    def wake(self) -> None:
        """Make the present or the next call of :meth:`next` return early. May be called from a signal handler."""

    def close(self) -> None:
        """Stop all jobs, and leave no process behind."""
