"""The reasons why a search ended, which its log records, and their words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from genotypes.genotype import shorten
from genotypes.measure import Measure


class Reason(StrEnum):
    """The reason for which a search ended, as :data:`WHY` says it. After the last five it can be resumed."""

    TRIALS = "trials"
    TARGET = "target"
    EXHAUSTED = "exhausted"
    CONVERGED = "converged"
    REFUSED = "refused"
    TIME = "time"
    SCHEDULER = "scheduler"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    HUNG_UP = "hung-up"

    @property
    def is_final(self) -> bool:
        """Whether the search is over, so that resuming it needs a new budget or target."""
        return self in (Reason.TRIALS, Reason.TARGET, Reason.EXHAUSTED, Reason.CONVERGED, Reason.REFUSED)


WHY: Final[Mapping[str, str]] = {
    Reason.TRIALS: "all trials are done",
    Reason.TARGET: "the target {measure} is reached",
    Reason.EXHAUSTED: "the strategy has nothing more to propose",
    Reason.CONVERGED: "the strategy proposes only networks that are known",
    Reason.REFUSED: "the limits refuse whatever the strategy proposes",
    Reason.TIME: "the time limit is reached",
    Reason.SCHEDULER: "the scheduler wants the machine",
    Reason.INTERRUPTED: "Ctrl-C",
    Reason.TERMINATED: "SIGTERM",
    Reason.HUNG_UP: "the terminal was closed",
}
"""Why a search ended, in words, to be filled in by :func:`say_why`."""


def say_why(reason: str, measure: Measure) -> str:
    """Return why a search ended, in words; a reason that nobody knows is shortened."""
    return WHY[reason].format(measure=measure.name) if reason in WHY else shorten(reason, 200)
