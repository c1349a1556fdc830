"""The Pareto front of fitness, which is maximised, and costs, which are minimised."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(accuracy: ArrayLike, costs: ArrayLike) -> NDArray[np.intp]:
    """Return the indices, from 0, of the points that no other dominates, the most accurate first.

    ``accuracy`` has the shape (n,), the larger the better; ``costs`` has the shape (n, m), one column per cost, the
    smaller the better. One point dominates another if it is no worse in anything and better in something (Deb et al.
    2002, section I). Of points that are equal in everything the first stands for all.

    A point of which anything is NaN is unknown and is left out. The time is that of sorting, and of looking at all
    points once for each of the front.

    Raises:
        ValueError: if there is not one row of costs per point.
    """
    gains, spent = np.asarray(accuracy, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if gains.ndim != 1 or spent.ndim != 2 or len(gains) != len(spent):
        raise ValueError(
            f"a front needs accuracies of shape (n,) and costs of shape (n, m), not {gains.shape} and {spent.shape}"
        )
    points = np.column_stack([-gains, spent])
    known = np.flatnonzero(~np.isnan(points).any(axis=1))
    # Ranks instead of values: where one point dominates another its sum of ranks is smaller, exactly, as no sum of
    # floats could promise. So the first remaining point is never dominated.
    ranks = np.column_stack([np.unique(column, return_inverse=True)[1] for column in points[known].T])
    order = np.argsort(ranks.sum(axis=1), kind="stable")
    known, ranks = known[order], ranks[order]
    found = []
    while len(known):
        found.append(int(known[0]))
        left = (ranks < ranks[0]).any(axis=1)
        known, ranks = known[left], ranks[left]
    return np.array(sorted(found, key=lambda index: (*points[index], index)), dtype=np.intp)
