"""An evaluator that does all that none may: each trial raises, returns or prints something else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.individual import Evaluation, Outcome


class Odd(BaseException):
    """Neither an error nor an exit."""


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise Odd


class Homebound(Evaluation):
    """Cannot be pickled."""

    def __reduce__(self) -> str:
        raise RuntimeError("not for travelling")


def throw(error: BaseException) -> Callable[[], Any]:
    """Return a function that raises."""

    def raise_it() -> None:
        raise error

    return raise_it


def changed(**values: Any) -> Callable[[], Evaluation]:
    """Return a function that returns an evaluation with values that its own checks would refuse."""

    def change() -> Evaluation:
        evaluation = Evaluation(Outcome.OK, fitness=0.5)
        for name, value in values.items():
            object.__setattr__(evaluation, name, value)
        return evaluation

    return change


def hush() -> Evaluation:
    """Close and remove the standard streams."""
    sys.stdout.close()
    sys.stderr.close()
    sys.stdout = None  # type: ignore[assignment]
    return Evaluation(Outcome.OK, fitness=0.5)


DEEDS: Final[tuple[tuple[Callable[[], Any], Outcome, str], ...]] = (
    (throw(SystemExit(3)), Outcome.ERROR, "SystemExit: 3"),
    (throw(KeyboardInterrupt()), Outcome.ERROR, "KeyboardInterrupt"),
    (throw(GeneratorExit()), Outcome.ERROR, "GeneratorExit"),
    (throw(asyncio.CancelledError()), Outcome.ERROR, "CancelledError"),
    (throw(Odd("strange")), Outcome.ERROR, "Odd: strange"),
    (throw(BaseExceptionGroup("many", [Odd("one"), SystemExit(1)])), Outcome.ERROR, "many (2 sub-exceptions)"),
    (throw(Mute()), Outcome.ERROR, "Mute: <exception str() failed>"),
    (throw(OSError(2, "no file", "\udcff.png")), Outcome.ERROR, r"'\udcff.png'"),
    (throw(ValueError("x\udcff")), Outcome.ERROR, r"ValueError: x\udcff"),
    (throw(ValueError("long" * 10**6)), Outcome.ERROR, "longlong"),
    (throw(RuntimeError("CUDA out of memory")), Outcome.OOM, "CUDA out of memory"),
    (lambda: None, Outcome.ERROR, "returned None, which is no Evaluation"),
    (lambda: 0.5, Outcome.ERROR, "returned 0.5, which is no Evaluation"),
    (lambda: Evaluation, Outcome.ERROR, "which is no Evaluation"),
    (lambda: Evaluation(Outcome.REUSED, 0.5), Outcome.ERROR, "which is for what was not evaluated"),
    (changed(fitness=7.0), Outcome.ERROR, "fitness is a fraction in [0, 1], got 7.0"),
    (changed(fitness=float("nan")), Outcome.NAN, "the fitness is no number"),
    (changed(error=b"bytes"), Outcome.OK, ""),
    (changed(metrics={"loss": float("inf")}), Outcome.ERROR, "metric 'loss' must be finite, got inf"),
    (changed(metrics={"parameters": 2**63}), Outcome.ERROR, "a whole number of 64 bits"),
    (changed(metrics={"\udcff": 1.0}), Outcome.ERROR, "must be text that UTF-8 can hold"),
    (changed(metrics={f"{number:0100}": 1.0 for number in range(2 * 10**4)}), Outcome.ERROR, "1,048,576 bytes"),
    (changed(metrics=None), Outcome.ERROR, "has no attribute 'items'"),
    (changed(curve=(93.1,)), Outcome.ERROR, "a learning curve holds fractions"),
    (lambda: Homebound(Outcome.OK, 0.5), Outcome.OK, ""),
    (lambda: print("x\udcff" * 100), Outcome.ERROR, ""),
    (hush, Outcome.OK, ""),
    (lambda: print("the streams are there") or Evaluation(Outcome.OK, 0.5), Outcome.OK, ""),  # type: ignore[func-returns-value]
)
"""What is done, how the trial ends, and what its error says."""


@dataclass
class Rude(ToyEvaluator):
    """Does in trial i the i-th deed; after the last it behaves."""

    def evaluate(self, job: Job) -> Evaluation:
        if job.id > len(DEEDS):
            return super().evaluate(job)
        answer: Evaluation = DEEDS[job.id - 1][0]()
        return answer


def check_deed(id: int, evaluation: Evaluation) -> None:
    """Fail unless a trial ended as its deed is to end, before a history looks at it."""
    _, outcome, words = DEEDS[id - 1]
    outcome, words = (Outcome.OK, "") if "1,048,576" in words else (outcome, words)
    assert (type(evaluation), evaluation.outcome) == (Evaluation, outcome)
    assert words in (evaluation.error or "x").splitlines()[-1], "the last line is what is shown"
    assert len((evaluation.error or "").encode()) <= 1 << 20
