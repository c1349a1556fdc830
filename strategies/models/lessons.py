"""Lessons from other runs: what each lets expect of a genotype, as columns that are trusted as far as they prove true.

The networks of a donor are data of another task. A Gaussian process of its own predicts from them how a genotype would
do there, and that prediction is used like a score (:mod:`strategies.models.trust`): the weight that it has here is
learned, its sign included, so that a donor that misleads is soon ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from genotypes.donor import Donor, list_best_of_all
from genotypes.genotype import Genotype
from strategies.models.gaussian_process import Encoder, Kernel, Posterior, likeliest, on_one_thread, scores
from strategies.models.trust import Array

_MEMORY: Final = 200
"""Networks of a donor that its process is conditioned on,"""

_BEST: Final = 30
"""and those of all donors that are candidates here at each ask."""


class Lessons:
    """Gaussian processes of donors on one encoding, each with the likeliest of some kernels.

    ``genotypes`` are the best of the donors.
    """

    def __init__(self, encode: Encoder, candidates: Sequence[Kernel], donors: Sequence[Donor]) -> None:
        self.genotypes = list_best_of_all(donors)[:_BEST]
        self._encode = encode
        self._learned = []
        for donor in (one.limit(_MEMORY) for one in donors):
            with on_one_thread():
                features = encode(donor.genotypes, examples=True)
                distances, targets = encode.distances(features, features), scores(donor.fitnesses)
                posterior = Posterior.of(likeliest(candidates, distances, targets), distances, targets)
            self._learned.append((features, posterior))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return ("donors", *(f"donor_{number}" for number in range(1, len(self._learned) + 1)))

    def measure(self, genotypes: Sequence[Genotype]) -> Array:
        """Return what n genotypes can be expected to do, of shape (n, 1 + donors): the mean, and for each donor.

        The fitnesses of each donor have the mean 0 and the variance 1.
        """
        encoded = self._encode(genotypes)
        with on_one_thread():
            each = [posterior.mean(self._encode.distances(encoded, features)) for features, posterior in self._learned]
        return np.column_stack([np.mean(each, axis=0), *each])
