"""Trust in scores of candidates that are not trained: they are measured by a sample of the space, and weighed.

A score is a number without a unit, and on a new space nobody knows what it says, or which way it points. So each
becomes a normal score by its place in a sample, and the fitness that they let expect is a sum with unknown weights,
signs included: a Gaussian prior on the weights, whose settings the marginal likelihood chooses (Rasmussen & Williams
2006, sections 2.1 and 5.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri

from genotypes.genotype import Genotype
from genotypes.space import SearchSpace
from strategies.base import Score

Array = NDArray[np.float64]

_BEYOND: Final = 1.0
"""How far a normal score may lie beyond those of the sample, so that one absurd number rules nothing."""

_SAMPLE: Final = 64
"""Genotypes of a sample."""


class Sample:
    """Different random genotypes of a space, and what a strategy knows of scores by them.

    ``columns`` are theirs, see :class:`Ruler`, of shape (genotypes, columns).
    """

    def __init__(self, space: SearchSpace, score: Score, rng: np.random.Generator) -> None:
        drawn = [space.sample(rng) for _ in range(_SAMPLE)]
        self.genotypes = list({space.key(one): one for one in reversed(drawn)}.values())
        self._score = score
        rows = [score(one) for one in self.genotypes]
        self._ruler = Ruler(rows)
        self.columns = self._ruler(rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return ("all", *self._ruler.names)

    def measure(self, genotypes: Sequence[Genotype]) -> Array:
        """Score n genotypes, and return their columns, of shape (n, columns)."""
        return self._ruler([self._score(one) for one in genotypes])


class Ruler:
    """Turn the scores of genotypes into columns that compare, by the places in a sample of the space.

    The first column is that of the sum of the logarithms of all places (Lee and Ham 2024, AZ-NAS); the others, one per
    name in the order of ``names``, are those of the single scores. Each is a normal score: 0 in the middle of the
    sample, higher is better. Between the values of the sample they are interpolated. No finite number has the lowest
    place. A name that a genotype lacks is filled in with the mean of its others.
    """

    def __init__(self, sample: Sequence[Mapping[str, float]]) -> None:
        self.names = tuple(dict.fromkeys(name for row in sample for name in row))
        self._scales = [_Scale(column) for column in self._columns(sample)]
        self._total = _Scale(self._sums(self._single(sample)))

    def __call__(self, rows: Sequence[Mapping[str, float]]) -> Array:
        """Return the columns of n genotypes, of shape (n, 1 + names)."""
        single = self._single(rows)
        return np.column_stack([self._total(self._sums(single)), single])

    def _columns(self, rows: Sequence[Mapping[str, float]]) -> list[Array]:
        """Return the values of each name: infinitely low if they are no finite number, nan if they are not known."""
        columns = []
        for name in self.names:
            values = [float(row[name]) if name in row else None for row in rows]
            finite = [value if value is None or np.isfinite(value) else -np.inf for value in values]
            columns.append(np.array([np.nan if value is None else value for value in finite]))
        return columns

    def _single(self, rows: Sequence[Mapping[str, float]]) -> Array:
        columns = self._columns(rows)
        if not columns:
            return np.zeros((len(rows), 0))
        single = np.column_stack([scale(column) for scale, column in zip(self._scales, columns, strict=True)])
        known = ~np.isnan(single)
        means = np.where(known, single, 0.0).sum(1) / np.maximum(known.sum(1), 1)
        filled: Array = np.where(known, single, means[:, None])
        return filled

    def _sums(self, single: Array) -> Array:
        total: Array = log_ndtr(single).sum(1)
        return total


class _Scale:
    """The normal score of a value by its place among those of a sample, some of them nan or infinitely low."""

    def __init__(self, values: Array) -> None:
        known = np.sort(values[~np.isnan(values)])
        finite = known[np.isfinite(known)]
        self._knots = np.unique(finite)
        self._normal = self._place(known, self._knots)
        self._worst = float(self._place(known, np.array([-np.inf]))[0])
        self._deviation = float(finite.std()) if len(finite) else 0.0

    def __call__(self, values: Array) -> Array:
        """Return the normal scores of n values, of shape (n,); nan stays nan."""
        normal = np.where(np.isneginf(values), self._worst, values)
        finite = np.isfinite(values)
        if len(self._knots) == 0 or not finite.any():
            normal[finite] = 0.0
            return normal
        asked = values[finite]
        inside = np.interp(asked, self._knots, self._normal)
        if self._deviation > 0:
            beyond = asked - np.clip(asked, self._knots[0], self._knots[-1])
            inside = inside + np.clip(beyond / self._deviation, -_BEYOND, _BEYOND)
        normal[finite] = inside
        return normal

    @staticmethod
    def _place(known: Array, values: Array) -> Array:
        below, up_to = (np.searchsorted(known, values, side=side) for side in ("left", "right"))
        normal: Array = ndtri(((below + up_to) / 2 + 0.5) / (len(known) + 1))
        return normal


@dataclass(frozen=True, slots=True)
class Trust:
    """A prior on what scores say of a fitness of variance 1, by the columns of a :class:`Ruler`.

    The weight of the first column has the mean ``pull`` and the variance ``total``. Each single score has a weight of
    mean 0; together these have the variance ``each``. All 0 is no trust at all.
    """

    pull: float = 0.0
    total: float = 0.0
    each: float = 0.0

    def expect(self, columns: Array) -> Array:
        """Return what is expected of n genotypes before any training, of shape (n,)."""
        return self.pull * columns[:, 0]

    def covariances(self, some: Array, others: Array) -> Array:
        """Return the prior covariances of n genotypes with m, of shape (n, m)."""
        covariances: Array = (some * self._variances(some)) @ others.T
        return covariances

    def variances(self, columns: Array) -> Array:
        """Return the prior variances of n genotypes, of shape (n,)."""
        variances: Array = (columns**2) @ self._variances(columns)
        return variances

    def weigh(self, columns: Array, residues: Array) -> Array:
        """Return the expected weight of each column.

        ``residues``, of shape (n,), are the inverse covariance of n examples with these columns times what they differ
        from what was expected.
        """
        weights: Array = self._variances(columns) * (columns.T @ residues)
        weights[0] += self.pull
        return weights

    def _variances(self, columns: Array) -> Array:
        """Return the prior variance of the weight of each column."""
        single = columns.shape[1] - 1
        return np.array([self.total, *[self.each / max(1, single)] * single])


NO_TRUST: Final = Trust()
"""That of a search without scores."""

FIRST_TRUST: Final = Trust(pull=0.5, total=0.25, each=0.25)
"""That of a search without evidence."""

TRUSTS: Final = (
    FIRST_TRUST,
    Trust(pull=0.0, total=0.02, each=0.02),
    Trust(pull=0.8, total=0.05, each=0.05),
    Trust(pull=0.0, total=0.25, each=0.25),
    Trust(pull=0.0, total=1.0, each=0.05),
)
"""Those among which the likelihood chooses."""


def note_weights(names: Sequence[str], weights: Array) -> dict[str, float]:
    """Return the expected weights of columns of these names as notes of a strategy."""
    return {f"weight_{name}": float(weight) for name, weight in zip(names, weights, strict=True)}
