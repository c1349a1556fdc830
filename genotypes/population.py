"""The population: individuals in the order in which they were told, bounded however long a search lasts."""

from __future__ import annotations

import bisect
from collections import deque
from typing import Final

from genotypes.individual import Individual, Outcome

BEST_KEPT: Final = 100
"""How many of the best are at hand; older ones are in the history."""


class Population:
    """What a strategy may look back on. It holds individuals with a fitness; failures only count.

    ``window`` is how many of the youngest are kept, as the strategy declares it. Keeping the youngest P and no
    others *is* aging (Real et al. 2018, algorithm 1: the oldest dies, even if it is the best).

    Raises:
        ValueError: if the window is negative.
    """

    def __init__(self, window: int = 0) -> None:
        if window < 0:
            raise ValueError(f"the window of a population must be at least 0, not {window}")
        self._youngest: deque[Individual] = deque(maxlen=window)
        self._best: list[tuple[float, int, Individual]] = []
        self._alive = 0
        self._failed = 0

    def add(self, individual: Individual) -> None:
        """Append a told individual; the oldest falls out of the window."""
        if individual.fitness is None:
            self._failed += 1
            return
        self._alive += 1
        self._youngest.append(individual)
        # A reused fitness would only repeat an individual that stands here already.
        if individual.outcome is Outcome.OK:
            bisect.insort(self._best, (-individual.fitness, self._alive, individual))
            del self._best[BEST_KEPT:]

    def __len__(self) -> int:
        """How many individuals with a fitness have ever been told, those no longer at hand included."""
        return self._alive

    @property
    def window(self) -> int:
        """How many of the youngest are kept."""
        return self._youngest.maxlen or 0

    @property
    def failed(self) -> int:
        """How many were told without a fitness."""
        return self._failed

    def youngest(self, n: int) -> list[Individual]:
        """Give the last ``n`` told with a fitness, oldest first; fewer while fewer have been told.

        Raises:
            ValueError: if ``n`` is larger than the window that was declared.
        """
        if n > self.window:
            raise ValueError(f"the population keeps the youngest {self.window}, not {n}: declare a larger window")
        members = list(self._youngest)
        return members[len(members) - n :] if n < len(members) else members

    def best(self, k: int = 1) -> list[Individual]:
        """Give the ``k`` best trained individuals, best first, earlier told first on ties.

        Raises:
            ValueError: if ``k`` is larger than what is kept.
        """
        if k > BEST_KEPT:
            raise ValueError(f"the population keeps the best {BEST_KEPT}, not {k}: ask the history")
        return [individual for _, _, individual in self._best[:k]]
