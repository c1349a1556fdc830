"""A Gaussian process over genotypes: it predicts a cell's fitness and its uncertainty from the told cells.

The kernel sees two things of a genotype: its decisions, one-hot, and the words of its space
(:meth:`genotypes.space.SearchSpace.words`), counted; the second is how a space lets paths and operations be compared
wherever they stand (White et al. 2020, "A Study on Encodings for Neural Architecture Search", arXiv 2007.04965).
Everything is computed in float64 on one thread, so that the same data give the same answer to the last bit.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.sparse import csr_array, vstack
from scipy.special import ndtr, ndtri
from threadpoolctl import ThreadpoolController

from genotypes.genotype import Genotype
from genotypes.space import SearchSpace
from strategies.models.ranks import rank_values
from strategies.models.trust import NO_TRUST, Array, Trust

_PAIRS: Final = 200
"""Random pairs of genotypes by which the typical distance between two bags of words is judged."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One setting: the similarity of two genotypes, by the number of decisions and of words in which they differ.

    The kernel is ``choices * exp(-h / reach) + words * exp(-w / span) + linear * (1 - h)``: h is the fraction of
    decisions that differ, w the squared distance of the bags of words, where that of random genotypes is 1 on
    average. ``noise`` is the variance that the genotype does not explain. The fitnesses have variance 1. Where
    genotypes have scores, ``trust`` says what these add.
    """

    reach: float
    span: float
    choices: float
    words: float
    linear: float
    noise: float
    trust: Trust = NO_TRUST

    def variances(self, distances: Distances) -> Array | float:
        """Return the prior variances of n genotypes: an array of shape (n,), or the one of all."""
        variance = self.choices + self.words + self.linear
        return variance if distances.scores is None else variance + self.trust.variances(distances.scores[0])

    def expect(self, distances: Distances) -> Array | float:
        """Return the prior means of n genotypes: an array of shape (n,), or 0 for all."""
        return 0.0 if distances.scores is None else self.trust.expect(distances.scores[0])

    def __call__(self, distances: Distances) -> Array:
        """Return the prior covariances at these distances; the same shape."""
        covariance = self.linear * (1.0 - distances.choices)
        if self.choices:
            covariance += self.choices * np.exp(-distances.choices / self.reach)
        if self.words:
            covariance += self.words * np.exp(-distances.words / self.span)
        if distances.scores is not None:
            covariance += self.trust.covariances(*distances.scores)
        return covariance


def kernels(with_words: bool) -> tuple[Kernel, ...]:
    """Return the settings among which the marginal likelihood chooses: a coarse grid, robust with ten examples too."""
    mixtures = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)) if with_words else ((1.0, 0.0),)
    settings = [
        Kernel(reach, span, choices, words, linear, noise)
        for (choices, words), linear, noise in itertools.product(mixtures, (0.0, 1.0), (0.02, 0.1, 0.5))
        for reach in ((0.15, 0.5) if choices else (1.0,))
        for span in ((0.3, 1.0) if words else (1.0,))
    ]
    return tuple(settings)


@dataclass(frozen=True, slots=True)
class Distances:
    """The distances of n genotypes from m: two arrays of shape (n, m), see :class:`Kernel`.

    ``scores`` are the columns of a :class:`strategies.models.trust.Ruler`, of the n and of the m, if they have any.
    """

    choices: Array
    words: Array
    scores: tuple[Array, Array] | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """The features of n genotypes.

    ``choices`` are one-hot, of shape (n, all options); ``words`` are counts, sparse, of shape (n, known words);
    ``squares`` of shape (n,) sums the squared counts of all words, those of no other genotype included. ``scores`` are
    the columns of a :class:`strategies.models.trust.Ruler`, if there are any.
    """

    choices: NDArray[np.float32]
    words: csr_array
    squares: Array
    scores: Array | None = None

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, rows: NDArray[np.intp]) -> Features:
        scores = None if self.scores is None else self.scores[rows]
        return Features(self.choices[rows], self.words[rows], self.squares[rows], scores)

    def __add__(self, others: Features) -> Features:
        width = max(self.words.shape[1], others.words.shape[1])
        words = [
            csr_array((part.words.data, part.words.indices, part.words.indptr), shape=(len(part), width))
            for part in (self, others)
        ]
        return Features(
            np.concatenate([self.choices, others.choices]),
            vstack(words, format="csr"),
            np.concatenate([self.squares, others.squares]),
            None if self.scores is None or others.scores is None else np.concatenate([self.scores, others.scores]),
        )

    def with_scores(self, scores: Array | None) -> Features:
        """Return the same with these columns of scores, of shape (n, columns)."""
        return replace(self, scores=scores)


class Encoder:
    """Encode genotypes of one space as features, and compare them by distances.

    ``rng`` draws the random genotypes by which distances of words are scaled. The vocabulary grows with what is
    encoded as an example; all counts are whole numbers, so that this changes no distance, to the last bit.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self._space = space
        sizes = np.array([len(decision.options) for decision in space.decisions])
        self._open = np.flatnonzero(sizes > 1)
        self._starts = np.cumsum(sizes[self._open]) - sizes[self._open]
        self._options = int(sizes[self._open].sum())
        self._scale = 1.0
        self._vocabulary: dict[str, int] = {}
        ones, others = (self([space.sample(rng) for _ in range(_PAIRS)], examples=True) for _ in range(2))
        self.has_words = bool(self._vocabulary)
        self._scale = float(np.diag(self.distances(ones, others).words).mean()) or 1.0
        self._vocabulary = {}

    def __call__(self, genotypes: Sequence[Genotype], *, examples: bool = False) -> Features:
        """Encode n genotypes; words that no example has had are only counted, unless these are ``examples``."""
        chosen = np.array([genotype.choices for genotype in genotypes])[:, self._open]
        choices = np.zeros((len(genotypes), self._options), dtype=np.float32)
        np.put_along_axis(choices, self._starts + chosen, 1.0, axis=1)
        counts = [Counter(self._space.words(genotype)) for genotype in genotypes]
        vocabulary = self._vocabulary
        if examples:
            for word in itertools.chain.from_iterable(counts):
                vocabulary.setdefault(word, len(vocabulary))
        known = [[(vocabulary[word], times) for word, times in count.items() if word in vocabulary] for count in counts]
        bounds = np.cumsum([0, *map(len, known)])
        flat = np.array(list(itertools.chain.from_iterable(known)), dtype=np.int64).reshape(-1, 2)
        shape = (len(genotypes), len(vocabulary))
        words = csr_array((flat[:, 1].astype(np.float64), flat[:, 0], bounds), shape=shape)
        squares = np.array([sum(times * times for times in count.values()) for count in counts], dtype=np.float64)
        return Features(choices, words, squares)

    def distances(self, a: Features, b: Features) -> Distances:
        """Compare each of n genotypes with each of m; of the two, examples go second."""
        same = (a.choices @ b.choices.T).astype(np.float64) / max(1, len(self._open))
        width = min(a.words.shape[1], b.words.shape[1])
        products = (a.words[:, :width] @ b.words[:, :width].T).toarray()
        squares = a.squares[:, None] + b.squares[None, :]
        scores = None if a.scores is None or b.scores is None else (a.scores, b.scores)
        return Distances(1.0 - same, np.maximum(squares - 2.0 * products, 0.0) / self._scale, scores)


@dataclass(frozen=True, slots=True)
class Posterior:
    """A Gaussian process conditioned on n examples, reduced to the terms that a prediction needs."""

    kernel: Kernel
    factor: Array
    """Lower Cholesky factor of the examples' covariance, (n, n)."""
    weights: Array
    """Weights of the covariances with the examples in a mean, (n,)."""

    @classmethod
    def of(cls, kernel: Kernel, distances: Distances, targets: Array) -> Posterior:
        """Condition on n examples, given their distances, (n, n), and their targets, (n,)."""
        covariance = kernel(distances) + kernel.noise * np.eye(len(targets))
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        return cls(kernel, factor, cho_solve((factor, True), targets - kernel.expect(distances), check_finite=False))

    def mean(self, distances: Distances) -> Array:
        """Return the expected targets of m genotypes, given their distances from the examples, (m, n)."""
        mean: Array = self.kernel.expect(distances) + self.kernel(distances) @ self.weights
        return mean

    def mean_and_sd(self, distances: Distances) -> tuple[Array, Array]:
        """Return the expected targets of m genotypes and their standard deviations, both of shape (m,)."""
        covariances = self.kernel(distances)
        shares = solve_triangular(self.factor, covariances.T, lower=True, check_finite=False)
        variances = np.maximum(self.kernel.variances(distances) - (shares**2).sum(0), 1e-9)
        return self.kernel.expect(distances) + covariances @ self.weights, np.sqrt(variances)

    def weigh_scores(self, distances: Distances) -> Array:
        """Return the expected weights of the columns of scores, given the examples' distances, (n, n)."""
        assert distances.scores is not None, "they have scores"
        return self.kernel.trust.weigh(distances.scores[0], self.weights)

    def draw(self, distances: Distances, among: Distances, rng: np.random.Generator) -> Array:
        """Draw the targets of m genotypes together, (m,), given distances from the examples, (m, n), and (m, m)."""
        covariances = self.kernel(distances)
        shares = solve_triangular(self.factor, covariances.T, lower=True, check_finite=False)
        values, vectors = np.linalg.eigh(self.kernel(among) - shares.T @ shares)
        noise = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(values)))
        drawn: Array = self.kernel.expect(distances) + covariances @ self.weights + noise
        return drawn


def likeliest(candidates: Sequence[Kernel], distances: Distances, targets: Array) -> Kernel:
    """Return the kernel under which n targets are likeliest; the first of equals (Rasmussen & Williams 2006, 5.8)."""

    def surprise(kernel: Kernel) -> float:
        factor = np.linalg.cholesky(kernel(distances) + kernel.noise * np.eye(len(targets)))
        whitened = solve_triangular(factor, targets - kernel.expect(distances), lower=True, check_finite=False)
        return float(0.5 * whitened @ whitened + np.log(np.diag(factor)).sum())

    return min(candidates, key=surprise)


def scores(fitnesses: Sequence[float]) -> Array:
    """Return scores of the ranks of n fitnesses, with mean 0 and variance 1; all zeros if they are equal.

    Only the order counts then: not how far the wrecks of a space lie below its good cells. The scores are the sum of
    the quantiles of a normal and of an exponential distribution, which keeps the best apart from the merely good.
    """
    if not len(fitnesses):
        return np.zeros(0)
    quantiles = (rank_values(fitnesses) - 0.5) / len(fitnesses)
    normal, exponential = ndtri(quantiles), -np.log1p(-quantiles)
    total = normal / (normal.std() or 1.0) + (exponential - exponential.mean()) / (exponential.std() or 1.0)
    scaled: Array = total / (total.std() or 1.0)
    return scaled


def compute_expected_improvement(mean: Array, sd: Array, incumbent: float) -> Array:
    """Return the expected improvement of m genotypes over the incumbent (Jones et al. 1998, equation 15)."""
    z = (mean - incumbent) / sd
    improvement: Array = sd * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi))
    return improvement


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def on_one_thread() -> AbstractContextManager[object]:
    """Limit linear algebra to one thread: several may add in another order, which changes the last bits of a sum."""
    limits: AbstractContextManager[object] = _pools().limit(limits=1)
    return limits
