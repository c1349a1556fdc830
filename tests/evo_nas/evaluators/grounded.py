"""A toy whose landscape needs groundwork: a plug-in for tests, driven by environment variables."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.groundwork import build_once, digest_of
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.system.atomic import write_whole
from genotypes.individual import Evaluation
from tests.waiting import wait_for


@dataclass
class Grounded(ToyEvaluator):
    """Writes ``steps`` files, one after another; every step that is taken leaves a line in ``$GROUND_LOG``.

    With ``$GROUND_KILL=i`` the process is killed before step i; with ``$GROUND_GATE=file`` step 1 waits for that file.
    """

    name: ClassVar[str] = "grounded"

    steps: int = 4

    def groundwork(self, hear: Callable[[str], None]) -> None:
        """Build, or find it built."""
        key = {"space": self.space.spelling, "steps": self.steps, "format": 1}
        self._place = build_once("toy", key, lambda folder: self._build(folder, hear), hear)

    def _build(self, folder: Path, hear: Callable[[str], None]) -> None:
        for step in range(self.steps):
            if (folder / f"step-{step}").exists():
                continue
            if os.environ.get("GROUND_KILL") == str(step):
                os.kill(os.getpid(), signal.SIGKILL)
            hear(f"groundwork: step {step + 1} of {self.steps}")
            if step == 1 and (gate := os.environ.get("GROUND_GATE")):
                wait_for(Path(gate).exists)
            with Path(os.environ["GROUND_LOG"]).open("a") as log:
                log.write(f"{step}\n")
            write_whole(folder / f"step-{step}", f"{self.space.spelling} {step}\n")

    def fingerprint(self) -> dict[str, str]:
        """Return the digest of what was built."""
        return {"groundwork": digest_of(self._place)}

    def evaluate(self, job: Job) -> Evaluation:
        """Evaluate only where the groundwork is whole."""
        assert len(list(self._place.glob("step-*"))) == self.steps
        return super().evaluate(job)
