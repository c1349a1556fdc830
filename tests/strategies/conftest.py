"""A search without an engine: ask, look the toy landscape up, tell. What the strategies' tests drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.individual import Individual, Outcome
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import Proposal, SearchStrategy


@dataclass
class Driver:
    """One search of one strategy, one trial at a time, with generators as the manager hands them out."""

    strategy: SearchStrategy
    space: SearchSpace
    seed: int = 0
    fails: Callable[[int], bool] = lambda id: False
    individuals: list[Individual] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.strategy = self.strategy.suited(self.space)
        self.population = Population(self.strategy.window)
        self.toy = ToyEvaluator()
        self.toy.bind(self.space)
        self.strategy.start(self.space, np.random.default_rng([self.seed]))

    def ask(self, ahead: int = 0, pending: tuple[Proposal, ...] = ()) -> Proposal:
        id = len(self.individuals) + 1 + ahead
        proposal = self.strategy.ask(self.population, pending, np.random.default_rng([self.seed, id, 1]))
        assert proposal is not None
        return proposal

    def tell(self, individual: Individual) -> dict[str, float]:
        self.individuals.append(individual)
        self.population.add(individual)
        return dict(self.strategy.tell(individual, np.random.default_rng([self.seed, individual.id, 2])) or {})

    def step(self) -> dict[str, float]:
        proposal, id = self.ask(), len(self.individuals) + 1
        fitness = self.toy.evaluate(Job(id, proposal.genotype, self.seed)).fitness
        failed = self.fails(id)
        return self.tell(
            Individual(
                id,
                proposal.genotype,
                Outcome.NAN if failed else Outcome.OK,
                None if failed else fitness,
                proposal.parent,
                proposal.memo,
            )
        )

    def run(self, trials: int) -> Driver:
        for _ in range(trials):
            self.step()
        return self

    def truth_of_best(self) -> float:
        """The fitness, without its noise, of the individual that looked best."""
        return self.toy.truth(self.population.best(1)[0].genotype)

    def mean_truth_of_last(self, n: int) -> float:
        """The mean fitness, without its noise, of the last n asked for."""
        return float(np.mean([self.toy.truth(i.genotype) for i in self.individuals[-n:]]))


@pytest.fixture(scope="session")
def drive() -> type[Driver]:
    return Driver
