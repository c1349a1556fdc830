"""Evidence for a donor: whether what it speaks for does better here than what it does not know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

FEWEST: Final = 4
"""So many results of either kind are seen before a donor is judged."""


def compute_superiority(some: Sequence[float | None], others: Sequence[float | None]) -> float:
    """Return how often one of some is better than one of others, of all pairs, a fraction in [0, 1]; ties count half.

    This is the statistic of Mann and Whitney 1947, over the number of pairs. A failure, ``None``, is worse than any
    fitness.
    """
    first, second = (
        np.array([-math.inf if fitness is None else fitness for fitness in fitnesses]) for fitnesses in (some, others)
    )
    better, equal = first[:, None] > second[None, :], first[:, None] == second[None, :]
    return float((better + 0.5 * equal).mean())


def is_misleading(advised: Sequence[float | None], others: Sequence[float | None]) -> bool:
    """Return whether what a donor advised is worse here than the others, as far as can be told yet."""
    return min(len(advised), len(others)) >= FEWEST and compute_superiority(advised, others) < 0.5
