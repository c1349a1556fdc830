"""Screening: any strategy, of whose proposals the best-rated one alone is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from genotypes.donor import Donor
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_range
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy

Rate = Callable[[Sequence[Genotype]], Sequence[float]]
"""Rates genotypes against each other, a pure function: one number each, higher is better."""


class Screened(SearchStrategy):
    """Another strategy, asked several times with generators of their own; the proposal with the highest rating counts.

    Before ratings count that a network is within the limits, and that it was neither told nor is pending. Of equal
    ratings the first wins. What a strategy does not draw at random, such as the first candidates of ``guided``, it
    proposes each time: then screening changes nothing.

    Raises:
        ValueError: if there are fewer than two proposals to choose from.
    """

    name: ClassVar[str] = "screened"

    def __init__(self, strategy: SearchStrategy, proposals: int, rate: Rate) -> None:
        check_range("proposals", proposals, "[2, inf)")
        self.strategy, self.proposals, self.rate = strategy, proposals, rate
        self._allows: Callable[[Genotype], bool] = lambda genotype: True

    @property
    def window(self) -> int:
        """That of the other strategy."""
        return self.strategy.window

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the other strategy."""
        return self.strategy.needs

    @property
    def evaluator_options(self) -> Mapping[str, object]:
        """Those of the other strategy."""
        return self.strategy.evaluator_options

    def suited(self, space: SearchSpace) -> Self:
        """Return the screening of the strategy that suits the space."""
        suited = self.strategy.suited(space)
        return self if suited is self.strategy else type(self)(suited, self.proposals, self.rate)

    def use_cost(
        self,
        space: SearchSpace,
        cost: Callable[[Genotype], Cost | None],
        allows: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> None:
        """Take the limits, and hand all on."""
        self._allows = allows
        self.strategy.use_cost(space, cost, allows)

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Hand it on."""
        self.strategy.use_knowledge(space, donors)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start the other strategy."""
        super().start(space, rng)
        self._told: set[str] = set()  # keys of networks
        self.strategy.start(space, rng)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the best-rated of so many proposals; ``None`` if there is none."""
        asked = [self.strategy.ask(population, pending, child) for child in rng.spawn(self.proposals)]
        different = {self.space.key(one.genotype): one for one in reversed(asked) if one is not None}
        if len(different) < 2:
            return next(iter(different.values()), None)
        known = self._told | {self.space.key(proposal.genotype) for proposal in pending}
        new = [one for key, one in different.items() if key not in known] or list(different.values())
        allowed = [one for one in new if self._allows(one.genotype)] or new
        if len(allowed) == 1:
            return allowed[0]
        order = sorted(allowed, key=asked.index)
        ratings = self.rate([one.genotype for one in order])
        return order[int(np.argmax(ratings))]

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Remember the network, and tell the other strategy."""
        self._told.add(self.space.key(individual.genotype))
        return self.strategy.tell(individual, rng)
