"""A search without an engine: ask, look the toy landscape up, tell. What the strategies' tests drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import Score, SearchStrategy

Fitness = Callable[[tuple[int, ...], int], float | None]
"""From the choices of a genotype and the id of its trial to a fitness, or to ``None`` for a failure."""


def score_choices(genotype: Genotype) -> dict[str, float]:
    """Return scores that tell genotypes apart, and one that has no value."""
    first, *_, last = genotype.choices
    return {"sum": float(sum(genotype.choices)), "ends": float(first - last), "broken": float("nan")}


@dataclass
class Driver:
    """One search of one strategy, one trial at a time, with generators as the manager hands them out.

    Genotypes are worth what the toy landscape says, with its ``noise``, unless :meth:`run` is given a fitness; they
    cost what it says. ``fails`` says which trials fail. ``notes`` holds what each tell returned. A strategy that wants
    scores has those of ``score``.
    """

    strategy: SearchStrategy
    space: SearchSpace
    seed: int = 0
    fails: Callable[[int], bool] = lambda id: False
    noise: float = 0.01
    score: Score = score_choices
    individuals: list[Individual] = field(default_factory=list)
    notes: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.strategy = self.strategy.suited(self.space)
        self.population = Population(self.strategy.window)
        self.toy = ToyEvaluator(self.noise)
        self.toy.bind(self.space)
        if self.strategy.wants_scores:
            self.strategy.use_scores(self.score)
        self.strategy.start(self.space, np.random.default_rng([self.seed]))

    def ask(self, id: int | None = None, pending: tuple[Proposal, ...] = ()) -> Proposal:
        """Ask under an id, by default the next one."""
        id = len(self.individuals) + 1 if id is None else id
        proposal = self.strategy.ask(self.population, pending, np.random.default_rng([self.seed, id, 1]))
        assert proposal is not None
        return proposal

    def tell(self, individual: Individual) -> dict[str, float]:
        self.individuals.append(individual)
        self.population.add(individual)
        notes = dict(self.strategy.tell(individual, np.random.default_rng([self.seed, individual.id, 2])) or {})
        self.notes.append(notes)
        return notes

    def ended(self, id: int, proposal: Proposal, fitness: Fitness | None = None) -> Individual:
        """Return what became of a proposal."""
        toyed = self.toy.evaluate(Job(id, proposal.genotype, self.seed))
        worth = fitness(proposal.genotype.choices, id) if fitness else toyed.fitness
        if self.fails(id):
            worth = None
        outcome = Outcome.NAN if worth is None else Outcome.OK
        return Individual(id, proposal.genotype, outcome, worth, proposal.parent, proposal.memo, toyed.metrics)

    def step(self, fitness: Fitness | None = None) -> dict[str, float]:
        return self.tell(self.ended(len(self.individuals) + 1, self.ask(), fitness))

    def run(self, trials: int, fitness: Fitness | None = None) -> Driver:
        for _ in range(trials):
            self.step(fitness)
        return self

    @property
    def updates(self) -> list[dict[str, float]]:
        """The notes of those tells that had any."""
        return [notes for notes in self.notes if notes]

    def truth_of_best(self) -> float:
        """The fitness, without its noise, of the individual that looked best."""
        return self.toy.truth(self.population.best(1)[0].genotype)

    def mean_truth_of_last(self, n: int) -> float:
        """The mean fitness, without its noise, of the last n asked for."""
        return float(np.mean([self.toy.truth(i.genotype) for i in self.individuals[-n:]]))


@pytest.fixture(scope="session")
def drive() -> type[Driver]:
    return Driver
