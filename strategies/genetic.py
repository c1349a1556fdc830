"""The evolutionary algorithm of single path one-shot and of DetNAS: rounds of mutants, children of two, and strangers.

Guo et al. 2019, section 3.4, algorithm 1; Chen et al. 2019, section 3.3; rounds as released (megvii-model/DetNAS).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

import numpy as np

from genotypes.genotype import Genotype
from genotypes.individual import Cost, Individual, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy

PAPER_POPULATION: Final = 50
"""Candidates of a round in both papers; the other sizes are shares of it."""

MEMBERS_A_DECISION: Final = 2.5
"""So many candidates per decision with a choice, up to the papers' 50, which they have for 20 decisions."""

FEWEST: Final = 10

_TRIES: Final = 10
"""Draws of a child before a random genotype takes its place, as both papers have it per child."""

_LAST_RESORT: Final = 200
"""Random genotypes of which a new one within the limits is sought; each is counted, in milliseconds."""


@dataclass
class GeneticSearch(SearchStrategy):
    """A genetic algorithm in rounds: mutants and children of the best ever, and random genotypes beside them.

    A round has ``population`` candidates. Those of the first are random. Each later one has first ``mutations`` mutants
    of one of the ``parents`` best of all earlier rounds, drawn uniformly: each decision is drawn again with the
    probability ``mutation_rate``, and may stay the same. Next come ``crossovers`` children of two of these parents,
    each decision from either with probability one half. The rest is random. No round begins before the one before it
    has ended, so that workers wait for its last candidates.

    A genotype that was proposed before, or that exceeds the limits of the search such as ``--max-mult-adds``, is drawn
    anew: 10 times, then at random, then taken all the same, which the search refuses.

    Open options (``None``) depend on the space. The population is 2.5 per decision with a choice, from 10 to the
    papers' 50; ``parents`` are a fifth of it, ``mutations`` and ``crossovers`` two fifths each. With 20 decisions, as
    ``detnas`` has, that is 50, 10, 20 and 20, as in both papers.

    Raises:
        ValueError: if an option is out of range, or mutants and children are more than a round.
    """

    name: ClassVar[str] = "genetic"

    population: int | None = None
    parents: int | None = None
    mutations: int | None = None
    crossovers: int | None = None
    mutation_rate: float = 0.1

    def __post_init__(self) -> None:
        self._allows: Callable[[Genotype], bool] = lambda genotype: True
        check_ranges(self, population="[1, inf)", parents="[1, inf)", mutations="[0, inf)", crossovers="[0, inf)")
        check_ranges(self, mutation_rate="[0, 1]")
        made = (self.mutations or 0) + (self.crossovers or 0)
        if self.population is not None and made > self.population:
            raise ValueError(
                f"mutations and crossovers must be at most the population of {self.population} together, not {made}"
            )

    def suited(self, space: SearchSpace) -> Self:
        """Return a copy with the open options filled in.

        Raises:
            ValueError: if two genotypes of the space can have no children.
        """
        if not space.has_crossover:
            raise ValueError(
                f"the strategy {self.name} crosses genotypes, and not every combination of decisions exists in the "
                f"space {space.spelling}: give it a method crossover, or choose another strategy"
            )
        if None not in (self.population, self.parents, self.mutations, self.crossovers):
            return self
        size = self.population
        if size is None:
            open_ = sum(len(decision.options) > 1 for decision in space.decisions)
            size = min(PAPER_POPULATION, max(FEWEST, round(MEMBERS_A_DECISION * open_)))
            size = max(size, (self.mutations or 0) + (self.crossovers or 0))
        parents = max(1, size // 5) if self.parents is None else self.parents
        mutations, crossovers = self.mutations, self.crossovers
        if mutations is None:
            mutations = min(2 * size // 5, size - (crossovers or 0))
        if crossovers is None:
            crossovers = min(2 * size // 5, size - mutations)
        suited = replace(self, population=size, parents=parents, mutations=mutations, crossovers=crossovers)
        suited._allows = self._allows
        return suited

    def use_cost(
        self,
        space: SearchSpace,
        cost: Callable[[Genotype], Cost | None],
        allows: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> None:
        """Take what says which candidates are within the limits."""
        self._allows = allows

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Start with no parents."""
        super().start(space, rng)
        options = self.suited(space)
        self._size, self._count = options.population or 1, options.parents or 1
        self._mutants = options.mutations or 0
        self._children = self._mutants + (options.crossovers or 0)  # where they end in a round
        self._told = 0
        self._tried: set[Genotype] = set()
        self._best: list[tuple[float, int, Genotype]] = []  # (-fitness, id, genotype) of the best told, the best first
        self._parents: list[tuple[float, int, Genotype]] = []  # the best when the last round ended

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal | None:
        """Propose the next of the round; ``None`` where the round before has not ended."""
        asked = self._told + len(pending)
        if asked // self._size > self._told // self._size:
            return None
        known = {proposal.genotype for proposal in pending}
        place = asked % self._size
        if self._parents and place < self._children:
            make = self._mutate if place < self._mutants else self._cross
            for _ in range(_TRIES):
                proposal = make(rng)
                if self._is_new(proposal.genotype, known):
                    return proposal
        for _ in range(_LAST_RESORT):
            genotype = self.space.sample(rng)
            if self._is_new(genotype, known):
                break
        return Proposal(genotype)

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Count the candidate; with the last of a round choose the parents, and return notes.

        ``round`` counts the rounds that ended; ``parents_mean`` is the mean fitness of the new parents.
        """
        self._told += 1
        self._tried.add(individual.genotype)
        if individual.fitness is not None:
            bisect.insort(self._best, (-individual.score, individual.id, individual.genotype))
            del self._best[self._count :]
        if self._told % self._size or not self._best:
            return None
        self._parents = list(self._best)
        mean = -float(np.mean([worth for worth, _, _ in self._parents]))
        return {"round": self._told // self._size, "parents_mean": mean}

    def possible_parents(self) -> list[int]:
        """Return the parents of this round, and the best ever, of which those of the next are."""
        return [id for _, id, _ in (*self._parents, *self._best)]

    def _mutate(self, rng: np.random.Generator) -> Proposal:
        """Draw each decision of a parent again with the mutation rate: a child of it and of a random genotype."""
        _, id, parent = self._draw(rng)
        return Proposal(self.space.crossover(parent, self.space.sample(rng), rng, self.mutation_rate), id)

    def _cross(self, rng: np.random.Generator) -> Proposal:
        """Cross two parents, which may be one; the memo names the second."""
        (_, id, first), (_, other, second) = self._draw(rng), self._draw(rng)
        return Proposal(self.space.crossover(first, second, rng), id, (float(other),))

    def _draw(self, rng: np.random.Generator) -> tuple[float, int, Genotype]:
        return self._parents[int(rng.integers(len(self._parents)))]

    def _is_new(self, genotype: Genotype, pending: set[Genotype]) -> bool:
        return genotype not in self._tried and genotype not in pending and self._allows(genotype)
