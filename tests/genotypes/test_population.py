"""The population: aging is keeping the youngest, the best are kept apart, failures only count."""

from __future__ import annotations

import pytest

from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome
from genotypes.population import BEST_KEPT, Population


def individual(id: int, fitness: float | None, outcome: Outcome = Outcome.OK) -> Individual:
    return Individual(id, Genotype("any", (id,)), outcome if fitness is not None else Outcome.NAN, fitness)


def filled(window: int, *fitnesses: float | None) -> Population:
    population = Population(window)
    for id, fitness in enumerate(fitnesses, start=1):
        population.add(individual(id, fitness))
    return population


def test_the_youngest_come_oldest_first_and_failures_not_at_all() -> None:
    population = filled(3, 0.1, None, 0.2, 0.3, None, 0.4)
    assert [i.id for i in population.youngest(3)] == [3, 4, 6]
    assert [i.id for i in population.youngest(2)] == [4, 6]
    assert (len(population), population.failed) == (4, 2)


def test_fewer_come_while_fewer_live() -> None:
    assert [i.id for i in filled(5, 0.1, 0.2).youngest(5)] == [1, 2]


def test_more_than_the_declared_window_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps the youngest 3, not 4"):
        filled(3, 0.1).youngest(4)


def test_the_best_come_first_and_the_earlier_told_on_ties() -> None:
    population = filled(0, 0.2, 0.5, 0.5, 0.1, None)
    assert [i.id for i in population.best(3)] == [2, 3, 1]


def test_what_was_reused_is_no_best_of_its_own_but_lives() -> None:
    population = filled(2, 0.5)
    population.add(individual(2, 0.5, Outcome.REUSED))
    assert [i.id for i in population.best(2)] == [1]
    assert [i.id for i in population.youngest(2)] == [1, 2]


def test_it_stays_bounded_however_long_the_search() -> None:
    population = filled(10, *[(i * 37 % 1000) / 1000 for i in range(5000)])
    assert len(population.best(BEST_KEPT)) == BEST_KEPT
    assert population.best(1)[0].fitness == 0.999
    assert len(population) == 5000
    with pytest.raises(ValueError, match="keeps the best 100"):
        population.best(BEST_KEPT + 1)


def test_a_failed_individual_has_no_score() -> None:
    with pytest.raises(ValueError, match="individual 7 ended nan"):
        _ = individual(7, None).score
