"""Waiting for what must happen, however long this machine takes: pyproject.toml ends a test that waits for ever."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.individual import Evaluation

T = TypeVar("T")

GATED = f"{__name__}:Gated"
"""How the command line names :class:`Gated`; a process that is started needs the project on its PYTHONPATH."""


def wait_for(condition: Callable[[], T]) -> T:
    """Return what a condition gives as soon as it is true."""
    while not (found := condition()):
        time.sleep(0.005)
    return found


def is_alive(pid: int) -> bool:
    """Return whether the process still runs; one that has ended and waits to be reaped (Z) does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


@dataclass
class Gated(ToyEvaluator):
    """The toy landscape, where the trials from ``first`` on last until the file ``gate`` exists."""

    name: ClassVar[str] = "gated"

    gate: str = "gate"
    first: int = 1

    def evaluate(self, job: Job) -> Evaluation:
        if job.id >= self.first:
            wait_for(Path(self.gate).exists)
        return super().evaluate(job)
