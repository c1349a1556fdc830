"""Random search: every decision uniform. The baseline that a search method must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genotypes.individual import Proposal
from genotypes.population import Population
from strategies.base import SearchStrategy


@dataclass
class RandomSearch(SearchStrategy):
    """Uniform random search (Zoph et al. 2017, section 4.4: the same space, uniform instead of a softmax)."""

    name: ClassVar[str] = "random"
    names_parents: ClassVar[bool] = False

    @property
    def lookback(self) -> int:
        """0: told individuals have no effect."""
        return 0

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose a uniform sample."""
        return Proposal(self.space.sample(rng))
