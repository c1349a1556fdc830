"""The cost of a strategy alone: ask and tell, without engine, history and training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from evo_nas.evaluators.base import Evaluator, Job
from genotypes.individual import Individual, Proposal
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy


def measure_milliseconds(work: Callable[[], object]) -> float:
    """Return the processor time that a piece of work takes of this process, in milliseconds."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def measure_asks(
    strategy: SearchStrategy,
    space: SearchSpace,
    evaluator: Evaluator,
    cost: Callable[[Callable[[], object]], float] = measure_milliseconds,
    seed: int = 0,
) -> Iterator[float]:
    """Yield what ask and tell of each trial cost, by default in milliseconds, until the search ends by itself.

    The strategy is suited to the space, the evaluator prepared; its work is not counted, and neither is that of making
    the generators. Each trial costs one evaluation, also of a network that is known.
    """
    population = Population(strategy.window)
    strategy.start(space, np.random.default_rng([seed]))
    id = 0
    while True:
        id += 1
        for_ask, for_tell = (np.random.default_rng([seed, id, event]) for event in (1, 2))
        proposals: list[Proposal | None] = []
        asked = cost(lambda: proposals.append(strategy.ask(population, (), for_ask)))  # noqa: B023  # called at once
        (proposal,) = proposals
        if proposal is None:
            return
        found = evaluator.evaluate(Job(id, proposal.genotype, seed))
        individual = Individual(
            id, proposal.genotype, found.outcome, found.fitness, proposal.parent, proposal.memo, found.metrics
        )
        population.add(individual)
        yield asked + cost(lambda: strategy.tell(individual, for_tell))  # noqa: B023
