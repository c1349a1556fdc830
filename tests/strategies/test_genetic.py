"""The genetic algorithm of single path one-shot: what a round is made of, who the parents are, limits, and waiting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.spaces.bits import BitsSpace
from strategies.genetic import GeneticSearch

SPACE = build_space("detnas")


def fitness(choices: tuple[int, ...], id: int) -> float | None:
    """Fail now and then, as trainings do."""
    return None if id % 7 == 0 else choices.count(1) / len(choices) + id / 1e6


def test_the_defaults_are_those_of_both_papers_on_their_space() -> None:
    suited = GeneticSearch().suited(SPACE)
    assert (suited.population, suited.parents, suited.mutations, suited.crossovers) == (50, 10, 20, 20)
    small = GeneticSearch().suited(build_space("nasbench201"))
    assert (small.population, small.parents, small.mutations, small.crossovers) == (15, 3, 6, 6)
    given = GeneticSearch(crossovers=18).suited(build_space("nasbench201"))
    assert (given.population, given.mutations, given.crossovers) == (18, 0, 18)


def test_a_round_has_mutants_then_children_of_two_then_strangers_of_the_best_of_earlier_rounds(drive: Any) -> None:
    search = drive(GeneticSearch(population=20, parents=4), SPACE)
    search.run(100, fitness)
    told = search.individuals
    for end in range(20, 100, 20):
        lived = sorted((one for one in told[:end] if one.ok), key=lambda one: -one.score)[:4]
        best = {one.id for one in lived}
        mutants, children, strangers = told[end : end + 8], told[end + 8 : end + 16], told[end + 16 : end + 20]
        assert {one.parent for one in mutants} <= best
        assert {one.parent for one in children} <= best
        assert {int(one.memo[0]) for one in children} <= best
        assert all(one.parent is None and not one.memo for one in (*strangers, *told[:20]))
        for one in children:
            parents = told[(one.parent or 0) - 1].genotype.choices, told[int(one.memo[0]) - 1].genotype.choices
            assert all(gene in both for gene, *both in zip(one.genotype.choices, *parents, strict=True))
        assert search.notes[end - 1] == {
            "round": end // 20,
            "parents_mean": pytest.approx(np.mean([one.score for one in lived])),
        }
    assert len({one.genotype for one in told}) == 100, "nothing is proposed twice"


def test_a_mutant_draws_each_gene_again_with_the_mutation_rate(drive: Any) -> None:
    search = drive(GeneticSearch(population=10, parents=1, mutations=10, crossovers=0, mutation_rate=0.3), SPACE)
    search.run(10, fitness)
    parent = max((one for one in search.individuals if one.ok), key=lambda one: one.score)
    changed = []
    for id in range(100, 400):
        proposal = search.ask(id)
        assert proposal.parent == parent.id
        changed += [a != b for a, b in zip(proposal.genotype.choices, parent.genotype.choices, strict=True)]
    # Of those that are drawn again one of four stays the same.
    assert abs(np.mean(changed) - 0.3 * 3 / 4) < 0.02


def test_a_round_waits_for_the_last_of_the_one_before(drive: Any) -> None:
    search = drive(GeneticSearch(population=4, parents=2), SPACE)
    search.run(3, fitness)
    last = search.ask()
    assert search.strategy.ask(search.population, [last], np.random.default_rng(0)) is None
    search.tell(search.ended(4, last, fitness))
    assert search.ask().parent is not None


def test_where_all_failed_a_round_is_random(drive: Any) -> None:
    search = drive(GeneticSearch(population=4, parents=2), SPACE)
    search.run(12, lambda choices, id: None)
    assert all(one.parent is None for one in search.individuals)
    assert not any(search.notes)


def test_candidates_above_the_limits_are_drawn_anew() -> None:
    space, population = BitsSpace(30), Population(0)

    def allows(genotype: Genotype) -> bool:
        return sum(genotype.choices) <= 14

    def count_allowed(strategy: GeneticSearch) -> int:
        strategy = strategy.suited(space)
        strategy.start(space, np.random.default_rng(0))
        count = 0
        for id in range(1, 61):
            proposal = strategy.ask(population, (), np.random.default_rng(id))
            assert proposal is not None
            is_allowed = allows(proposal.genotype)
            count += is_allowed
            outcome, worth = (
                (Outcome.OK, sum(proposal.genotype.choices) / 30) if is_allowed else (Outcome.REFUSED, None)
            )
            strategy.tell(Individual(id, proposal.genotype, outcome, worth), np.random.default_rng(id))
        return count

    knowing, blind = GeneticSearch(population=20), GeneticSearch(population=20)
    knowing.use_cost(space, lambda genotype: None, allows)
    assert count_allowed(knowing) == 60
    assert count_allowed(blind) < 40


def test_a_limit_that_nothing_meets_ends_in_a_proposal_all_the_same(drive: Any) -> None:
    strategy = GeneticSearch(population=4)
    strategy.use_cost(SPACE, lambda genotype: None, lambda genotype: False)
    assert isinstance(drive(strategy, SPACE).ask(), Proposal)


def test_it_finds_more_than_random_search_does(drive: Any) -> None:
    def best(mutations: int, crossovers: int) -> float:
        options = {"population": 20, "parents": 5, "mutations": mutations, "crossovers": crossovers}
        found = []
        for seed in range(3):
            search = drive(GeneticSearch(**options), SPACE, seed=seed)
            search.run(160, lambda choices, id: choices.count(1) / len(choices))
            found.append(max(one.score for one in search.individuals))
        return float(np.mean(found))

    assert best(8, 8) > best(0, 0) + 0.1


def test_a_space_without_crossover_is_refused_in_a_line() -> None:
    class Ruled(BitsSpace):
        def check(self, genotype: Genotype) -> None:
            super().check(genotype)
            if sum(genotype.choices) % 2:
                raise GenotypeError("the sum must be even")

    with pytest.raises(ValueError, match=r"not every combination of decisions exists in the space bits.*crossover"):
        GeneticSearch().suited(Ruled(30))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"population": 0}, "population must be at least 1"),
        ({"parents": 0}, "parents must be at least 1"),
        ({"mutations": -1}, "mutations must be at least 0"),
        ({"mutation_rate": 1.5}, "mutation_rate must be from 0 to 1, not 1.5"),
        ({"population": 10, "mutations": 6, "crossovers": 5}, "at most the population of 10 together, not 11"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GeneticSearch(**options)


def test_a_fixed_seed_gives_a_fixed_trace(drive: Any) -> None:
    """If this changes on purpose, histories of older versions can no longer be resumed: say so in the changelog."""
    search = drive(GeneticSearch(population=6, parents=2), build_space("detnas(stages=1+1+2+1)"))
    search.run(12, fitness)
    assert ["".join(map(str, one.genotype.choices)) for one in search.individuals][6:] == [
        *("13030", "23130", "11130", "33130", "01201", "13222")
    ]
