"""Asynchronous successive halving with resumption: which paused training goes on, and which leaves the race.

ASHA (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2): trainings pause at rungs.
When a worker is free, the best of those that pause in the top 1/eta of a rung goes on to the next one, from the highest
rung down; where there is none, a new trial begins at the bottom.

In the paper a paused trial waits for ever, for it may be promoted at the end of a long search. A strategy would then
hear of most trials when nothing is left to be asked. So a trial waits until ``patience`` others have come to its rung
after it: if it is not in the top 1/eta then, it leaves, and the strategy is told its score. That also bounds the states
of paused trainings on the disk, to ``patience`` a rung and those that are about to go on.

All is a function of who came to which rung in which order with which score, so that a search can be replayed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from genotypes.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs of trainings of ``epochs`` epochs: after ``first`` epochs, then each time after ``eta`` times as many.

    Raises:
        ValueError: if a number is out of range, or the first rung is not before the last epoch.
    """

    epochs: int
    first: int
    eta: int

    def __post_init__(self) -> None:
        check_ranges(self, first="[1, inf)", eta="[2, inf)")
        if self.first >= self.epochs:
            raise ValueError(
                f"the first rung (fidelity_epochs) must be before the last epoch of a training, which has "
                f"{self.epochs}; it is {self.first}"
            )

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, after which a training pauses: ascending, all before the last."""
        found = [self.first]
        while found[-1] * self.eta < self.epochs:
            found.append(found[-1] * self.eta)
        return tuple(found)

    def find_next(self, done: int) -> int:
        """Return the epoch to which a training goes next after so many epochs: a rung, or the last epoch."""
        return next((rung for rung in self.rungs if rung > done), self.epochs)


@dataclass
class _Rung:
    """One rung: all scores that were reached there, best first and earlier ids first on ties, and who pauses there."""

    scores: list[tuple[float, int]] = field(default_factory=list)  # (-score, trial)
    paused: dict[int, tuple[float, int]] = field(default_factory=dict)  # trial -> (-score, how many came before it)

    def rank(self, trial: int) -> int:
        """Return the place of a paused trial among all that came here, from 0."""
        return bisect_left(self.scores, (self.paused[trial][0], trial))


class Race:
    """The trials of one search on a ladder: who pauses where, who goes on, who leaves.

    ``patience`` is how many others come to a rung before one that is not in the top 1/eta leaves.

    Raises:
        ValueError: if the patience is so small that a trial would leave before others can be compared with it.
    """

    def __init__(self, ladder: Ladder, patience: int) -> None:
        if patience < ladder.eta - 1:
            raise ValueError(
                f"the patience (fidelity_patience) must be at least eta - 1, that is {ladder.eta - 1}, not {patience}: "
                "with less the first trial of a rung would leave before any can go on"
            )
        self.ladder, self.patience = ladder, patience
        self._rungs = {epoch: _Rung() for epoch in ladder.rungs}
        self._paused: dict[int, int] = {}

    @property
    def paused(self) -> Mapping[int, int]:
        """The trials that pause, in the order in which they came to their rungs, and after how many epochs."""
        return MappingProxyType(self._paused)

    def arrive(self, trial: int, epoch: int, score: float) -> None:
        """Let a trial pause at a rung; its score, a fraction in [0, 1], counts there from now on."""
        rung = self._rungs[epoch]
        rung.paused[trial] = -score, len(rung.scores)
        insort(rung.scores, (-score, trial))
        self._paused[trial] = epoch

    def release(self, trial: int) -> None:
        """Let a paused trial go on, or leave; its score stays where it was reached."""
        del self._rungs[self._paused.pop(trial)].paused[trial]

    def find_promotable(self) -> int | None:
        """Return the trial that goes on next: the best one in the top 1/eta of the highest rung that has such a one."""
        return self._find_best(lambda rung: len(rung.scores) // self.ladder.eta)

    def find_finalist(self) -> int | None:
        """Return who goes on when nobody else will come: as before, but the first of each rung goes on in any case.

        So at least one trial of a search is trained to the end.
        """
        return self._find_best(lambda rung: max(1, len(rung.scores) // self.ladder.eta))

    def find_loser(self) -> int | None:
        """Return the trial that leaves next: its patience is over, and it is not in the top 1/eta of its rung."""
        for epoch in self.ladder.rungs:
            rung = self._rungs[epoch]
            for trial, (_, before) in rung.paused.items():
                if len(rung.scores) - 1 - before < self.patience:
                    break  # those behind it came later still
                if rung.rank(trial) >= len(rung.scores) // self.ladder.eta:
                    return trial
        return None

    def _find_best(self, count_places: Callable[[_Rung], int]) -> int | None:
        for epoch in reversed(self.ladder.rungs):
            rung = self._rungs[epoch]
            places = count_places(rung)
            if within := [trial for trial in rung.paused if rung.rank(trial) < places]:
                return min(within, key=rung.rank)
        return None
