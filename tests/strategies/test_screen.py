"""Screening: of several proposals the best-rated one, whatever strategy proposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.population import Population
from strategies.random_search import RandomSearch
from strategies.screen import Screened

SPACE = build_space("nasnet(blocks=1)")


def rate(genotypes: Sequence[Genotype]) -> list[float]:
    """Rate by the sum of the choices."""
    return [float(sum(genotype.choices)) for genotype in genotypes]


def screened(proposals: int = 20, **options: Any) -> Screened:
    strategy = Screened(RandomSearch(), proposals, rate)
    strategy.use_cost(SPACE, lambda genotype: None, **options)
    strategy.start(SPACE, np.random.default_rng(0))
    return strategy


def ask(strategy: Screened, pending: Sequence[Proposal] = ()) -> Genotype:
    proposal = strategy.ask(Population(0), pending, np.random.default_rng([0, 1, 1]))
    assert proposal is not None
    return proposal.genotype


def proposed() -> list[Genotype]:
    """What random search proposes with the generators of :func:`ask`, the best-rated first."""
    made = [SPACE.sample(child) for child in np.random.default_rng([0, 1, 1]).spawn(20)]
    return sorted(made, key=lambda genotype: -sum(genotype.choices))


def test_the_best_rated_proposal_is_tried() -> None:
    assert ask(screened()) == proposed()[0]


def test_what_is_known_pending_or_beyond_the_limits_comes_last() -> None:
    first, second, third, *_ = proposed()
    strategy = screened()
    assert ask(strategy, [Proposal(first)]) == second
    strategy.tell(Individual(1, first, Outcome.OK, 0.5), np.random.default_rng(0))
    assert ask(strategy) == second
    assert ask(strategy, [Proposal(second)]) == third
    small = screened(allows=lambda genotype: genotype not in (first, second))
    assert ask(small) == third
    assert ask(screened(allows=lambda genotype: False)) == first, "where none is allowed, the limits say so"


def test_a_proposal_is_rated_among_the_others_alone() -> None:
    seen: list[int] = []

    def count(genotypes: Sequence[Genotype]) -> list[float]:
        seen.append(len(genotypes))
        return rate(genotypes)

    strategy = Screened(RandomSearch(), 5, count)
    strategy.start(SPACE, np.random.default_rng(0))
    ask(strategy)
    assert seen == [5]


def test_screening_by_the_truth_finds_better_ones(drive: Any) -> None:
    space = build_space("nasnet(blocks=1)")
    plain, better = [], []
    for seed in range(5):
        toy = drive(RandomSearch(), space).toy
        by_truth = Screened(RandomSearch(), 4, lambda some, toy=toy: [toy.truth(genotype) for genotype in some])
        better.append(drive(by_truth, space, seed=seed).run(20).truth_of_best())
        plain.append(drive(RandomSearch(), space, seed=seed).run(20).truth_of_best())
    assert np.mean(better) > np.mean(plain)


def test_one_proposal_is_none_to_choose_from() -> None:
    with pytest.raises(ValueError, match="proposals must be at least 2"):
        Screened(RandomSearch(), 1, rate)
