"""A bounded memory of told individuals: some of the best and the latest."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from genotypes.individual import Individual


def drop_beyond(told: Sequence[Individual], memory: int) -> list[Individual]:
    """Return the individuals, in the order told, without the oldest of the worse half while there are more.

    The better half of the memory is never dropped, so that a long search still knows what it has found. All have a
    fitness.
    """
    kept = list(told)
    while len(kept) > memory:
        best = {one.id for one in heapq.nlargest(memory // 2, kept, key=lambda one: one.score)}
        kept.pop(next(index for index, one in enumerate(kept) if one.id not in best))
    return kept
