"""The population: individuals in the order in which they were told, bounded however long a search lasts."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Sequence
from typing import Final

from genotypes.individual import Individual, Outcome

BEST_KEPT: Final = 100
"""Number of the best that are at hand; older ones are in the history."""


class Population:
    """The told individuals that a strategy may use: those with a fitness. Failures are only counted.

    ``window`` is how many of the youngest are kept, as the strategy declares it. Keeping the youngest P and no
    others *is* aging (Real et al. 2018, algorithm 1: the oldest dies, even if it is the best).

    A population can begin in the middle of a history: ``alive`` and ``failed`` are how many were told before with and
    without a fitness, and ``best`` are the best trained of them, all that :meth:`best` would give. Once ``window``
    individuals with a fitness have been added, it answers as if all had been added from the beginning.

    Raises:
        ValueError: if the window is negative, or the numbers of earlier individuals are impossible.
    """

    def __init__(self, window: int = 0, *, alive: int = 0, failed: int = 0, best: Sequence[Individual] = ()) -> None:
        if window < 0:
            raise ValueError(f"the window of a population must be at least 0, not {window}")
        if failed < 0 or not len(best) <= min(alive, BEST_KEPT):
            raise ValueError(f"no population has {alive} alive, {failed} failed, and {len(best)} that are kept as best")
        if list(best) != sorted(best, key=_loss):
            raise ValueError("the best of a population come best first")
        self._youngest: deque[Individual] = deque(maxlen=window)
        self._best = list(best)
        self._alive = alive
        self._failed = failed

    def add(self, individual: Individual) -> None:
        """Append a told individual; the oldest falls out of the window."""
        if individual.fitness is None:
            self._failed += 1
            return
        self._alive += 1
        self._youngest.append(individual)
        # A reused fitness would only repeat an individual that stands here already.
        if individual.outcome is Outcome.OK and (
            len(self._best) < BEST_KEPT or individual.fitness > self._best[-1].score
        ):
            bisect.insort(self._best, individual, key=_loss)
            del self._best[BEST_KEPT:]

    def __len__(self) -> int:
        """Return the number of individuals told with a fitness, those outside the window included."""
        return self._alive

    @property
    def window(self) -> int:
        """The number of youngest individuals that are kept."""
        return self._youngest.maxlen or 0

    @property
    def failed(self) -> int:
        """The number of individuals told without a fitness."""
        return self._failed

    def youngest(self, n: int) -> list[Individual]:
        """Return the last ``n`` told with a fitness, oldest first; fewer while fewer have been told.

        Raises:
            ValueError: if ``n`` is larger than the window that was declared.
        """
        if n > self.window:
            raise ValueError(f"the population keeps the youngest {self.window}, not {n}: declare a larger window")
        members = list(self._youngest)
        return members[len(members) - n :] if n < len(members) else members

    def best(self, k: int = 1) -> list[Individual]:
        """Return the ``k`` best trained individuals, best first, earlier told first on ties.

        Raises:
            ValueError: if ``k`` is larger than what is kept.
        """
        if k > BEST_KEPT:
            raise ValueError(f"the population keeps the best {BEST_KEPT}, not {k}: ask the history")
        return self._best[:k]


def _loss(individual: Individual) -> float:
    """Return the sort key that puts the best first; ties keep the order of insertion."""
    return -individual.score
