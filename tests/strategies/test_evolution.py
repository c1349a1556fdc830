"""Regularized evolution: algorithm 1 of Real et al. 2018."""

from __future__ import annotations

from typing import Any

import numpy as np

from genotypes.catalogue import space_named
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome
from genotypes.population import Population
from strategies.evolution import RegularizedEvolution

SPACE = space_named("nasnet")


def told(population: Population, *fitnesses: float | None) -> list[Individual]:
    """Fill a population with random genotypes of these fitnesses; None is a failure."""
    individuals = []
    for id, fitness in enumerate(fitnesses, start=1):
        outcome = Outcome.OK if fitness is not None else Outcome.CRASH
        genotype = SPACE.sample(np.random.default_rng(id))
        individuals.append(Individual(id, genotype, outcome, fitness))
        population.add(individuals[-1])
    return individuals


def parents(strategy: RegularizedEvolution, population: Population, n: int) -> list[int | None]:
    strategy.start(SPACE, np.random.default_rng(0))
    return [strategy.ask(population, (), np.random.default_rng([i, 1])).parent for i in range(n)]


def test_until_p_live_proposals_are_random() -> None:
    strategy = RegularizedEvolution(population=3, sample=2)
    population = Population(strategy.window)
    told(population, 0.5, None, 0.6, None)
    assert parents(strategy, population, 20) == [None] * 20
    told(population, 0.7)
    assert None not in parents(strategy, population, 20)


def test_the_oldest_dies_even_if_it_is_the_best() -> None:
    strategy = RegularizedEvolution(population=3, sample=3)
    population = Population(strategy.window)
    told(population, 0.9, 0.1, 0.2, 0.3)
    assert set(parents(strategy, population, 200)) == {2, 3, 4}


def test_the_winner_is_the_best_of_a_sample_drawn_with_replacement() -> None:
    # P(best of S draws with replacement is rank r of P) = ((P-r+1)^S - (P-r)^S) / P^S, rank 1 the best
    p, s, n = 5, 3, 4000
    strategy = RegularizedEvolution(population=p, sample=s)
    population = Population(strategy.window)
    told(population, 0.1, 0.5, 0.3, 0.4, 0.2)
    ids = parents(strategy, population, n)
    for rank, id in enumerate([2, 4, 3, 5, 1], start=1):
        share = ((p - rank + 1) ** s - (p - rank) ** s) / p**s
        assert abs(ids.count(id) / n - share) < 4 * (share * (1 - share) / n) ** 0.5 + 1e-9


def test_a_sample_of_one_is_a_uniform_draw() -> None:
    strategy = RegularizedEvolution(population=4, sample=1)
    population = Population(strategy.window)
    told(population, 0.1, 0.9, 0.2, 0.3)
    ids = parents(strategy, population, 2000)
    assert all(abs(ids.count(id) - 500) < 100 for id in (1, 2, 3, 4))


def test_the_child_is_a_mutation_of_its_parent() -> None:
    strategy = RegularizedEvolution(population=2, sample=2)
    population = Population(strategy.window)
    individuals = {i.id: i for i in told(population, 0.5, 0.6)}
    strategy.start(SPACE, np.random.default_rng(0))
    for i in range(50):
        child = strategy.ask(population, (), np.random.default_rng([i, 1]))
        assert child.parent is not None
        before = individuals[child.parent].genotype.choices
        assert sum(a != b for a, b in zip(before, child.genotype.choices, strict=True)) <= 1


def test_operators_can_be_swapped_in_deaps_toolbox() -> None:
    strategy = RegularizedEvolution(population=2, sample=1)
    population = Population(strategy.window)
    told(population, 0.5, 0.6)
    strategy.start(SPACE, np.random.default_rng(0))
    strategy.toolbox.register("select", lambda members: [min(members, key=lambda member: member.fitness)])
    fixed = SPACE.sample(np.random.default_rng(99))
    strategy.toolbox.register("mutate", lambda genotype, rng: fixed)
    proposal = strategy.ask(population, (), np.random.default_rng(1))
    assert (proposal.parent, proposal.genotype) == (1, fixed)


def test_the_trace_of_a_seed_is_pinned(drive: Any) -> None:
    """A fixed seed gives a fixed trace. If it changes on purpose, say so in the CHANGELOG and pin the new one."""
    search = drive(RegularizedEvolution(population=4, sample=2), space_named("nasnet(blocks=1)"), seed=0).run(8)
    assert [(i.parent, i.genotype) for i in search.individuals[3:]] == [
        (parent, Genotype("nasnet(blocks=1)", choices)) for parent, choices in TRACE
    ]


TRACE: list[tuple[int | None, tuple[int, ...]]] = [
    (None, (1, 0, 11, 7, 1, 1, 0, 5, 0, 0)),
    (1, (1, 0, 2, 12, 1, 1, 1, 6, 11, 1)),
    (5, (1, 0, 2, 12, 1, 1, 1, 11, 11, 1)),
    (5, (1, 0, 2, 12, 1, 1, 1, 6, 11, 1)),
    (5, (1, 0, 2, 12, 1, 1, 1, 6, 1, 1)),
]
