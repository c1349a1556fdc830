"""Ranks of numbers: scipy.stats has them too, and takes longer to import than a whole search of a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def rank_values(values: ArrayLike) -> np.ndarray:
    """Return the rank of each value of shape (n,), from 1 for the smallest; equal ones share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()  # the rank of the last of each group of equal values
    ranks: np.ndarray = (last - (counts - 1) / 2)[which]
    return ranks
