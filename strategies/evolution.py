"""Regularized evolution: a tournament with aging (Real et al. 2018, "Regularized Evolution for Image Classifier ...").

The whole of algorithm 1: sample S of the youngest P with replacement, mutate the best of the sample, and let the
oldest die. The last is only "keep the youngest P", which the population does. Asynchronous workers need
nothing more: whoever is free samples the population as it stands (section 3.3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deap import base, tools

from genotypes.individual import Individual
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import Proposal, SearchStrategy

if TYPE_CHECKING:
    import numpy as np


class Accuracy(base.Fitness):  # type: ignore[misc]  # deap has no types
    """The fitness of a member, as deap's operators compare it: one number, the larger the better."""

    weights = (1.0,)


@dataclass(frozen=True, slots=True)
class Member:
    """An individual in the form that deap's selections read: an object with a ``fitness``."""

    individual: Individual

    @property
    def fitness(self) -> Accuracy:
        """The individual's fitness; an :class:`Individual` that lives has one, and it is never NaN."""
        return Accuracy((self.individual.score,))


@dataclass
class RegularizedEvolution(SearchStrategy):
    """Tournament selection with aging.

    ``population`` is P and ``sample`` is S; the defaults were the best of the settings tried by Real et al. 2018
    (section 4: 100 and 25). While fewer than P live, proposals are random. Failures never enter
    the population.

    ``toolbox`` is deap's registry of the operators ``select(members) -> [member]`` and ``mutate(genotype, rng) ->
    genotype``, filled by :meth:`start`; register others there to swap them.

    Raises:
        ValueError: if the sample is not from 1 to the size of the population.
    """

    name: ClassVar[str] = "evolution"

    population: int = 100
    sample: int = 25

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(f"population must be at least 1, not {self.population}")
        if not 1 <= self.sample <= self.population:
            raise ValueError(f"sample must be from 1 to the population of {self.population}, not {self.sample}")

    @property
    def window(self) -> int:
        """The youngest P are the population."""
        return self.population

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Register the operators."""
        super().start(space, rng)
        self.toolbox = base.Toolbox()
        # selTournament draws with replacement, as Real et al. do, and the first of the sample wins a tie.
        self.toolbox.register("select", tools.selTournament, k=1, tournsize=self.sample)
        self.toolbox.register("mutate", space.mutate)

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        """Propose a mutation of the winner of a tournament, or a random genotype while too few live."""
        if len(population) < self.population:
            return Proposal(self.space.sample(rng))
        members = [Member(individual) for individual in population.youngest(self.population)]
        with _deap_draws_from(rng):
            (winner,) = self.toolbox.select(members)
        parent: Individual = winner.individual
        return Proposal(self.toolbox.mutate(parent.genotype, rng), parent=parent.id)


@contextmanager
def _deap_draws_from(rng: np.random.Generator) -> Iterator[None]:
    """Let deap, which draws from Python's global generator, draw from ours; afterwards nothing has moved."""
    before = random.getstate()
    random.seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        random.setstate(before)
