"""The population: aging is keeping the youngest, the best are kept apart, failures only count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

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


@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(0, 4 * BEST_KEPT),
    levels=st.integers(1, 1000),  # of fitness: the fewer, the more ties
    window=st.integers(0, 50),
    share=st.floats(0, 1),
)
def test_population_from_the_middle_of_a_history_answers_as_a_full_one(
    seed: int, length: int, levels: int, window: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    history = []
    for id in range(1, length + 1):
        fitness = int(rng.integers(levels)) / levels if rng.random() < 0.8 else None
        history.append(individual(id, fitness, Outcome.REUSED if rng.random() < 0.2 else Outcome.OK))
    # The cut may lie anywhere before the last individuals with a fitness that fill the window.
    alive = [position for position, one in enumerate(history) if one.ok]
    assume(len(alive) >= window)
    cut = round(share * (alive[-window] if window else length))
    whole, before = Population(window), Population()
    for one in history:
        whole.add(one)
    for one in history[:cut]:
        before.add(one)
    resumed = Population(window, alive=len(before), failed=before.failed, best=before.best(BEST_KEPT))
    for one in history[cut:]:
        resumed.add(one)
    assert (len(resumed), resumed.failed) == (len(whole), whole.failed)
    assert resumed.youngest(window) == whole.youngest(window)
    assert [one.id for one in resumed.best(BEST_KEPT)] == [one.id for one in whole.best(BEST_KEPT)]
    # The oracle: a stable sort of all that were trained.
    trained = [one for one in history if one.ok and one.outcome is Outcome.OK]
    assert whole.best(BEST_KEPT) == sorted(trained, key=lambda one: -one.score)[:BEST_KEPT]


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ({"alive": -1}, "no population has -1 alive"),
        ({"failed": -1}, "-1 failed"),
        ({"best": [individual(1, 0.5)]}, "0 alive, 0 failed, and 1 that are kept"),
        ({"alive": 200, "best": [individual(id, 0.5) for id in range(1, 102)]}, "101 that are kept"),
        ({"alive": 2, "best": [individual(1, 0.4), individual(2, 0.5)]}, "best first"),
        ({"alive": 1, "best": [individual(1, None)]}, "has no fitness"),
    ],
)
def test_what_cannot_have_been_before_is_refused(before: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Population(3, **before)


def test_a_failed_individual_has_no_score() -> None:
    with pytest.raises(ValueError, match="individual 7 ended nan"):
        _ = individual(7, None).score
