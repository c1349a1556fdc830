"""Screening: of several proposals the one that the scores speak for, whatever strategy proposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def score(genotype: Genotype) -> dict[str, float]:
    """Score by the sum of the choices; another score says nothing."""
    return {"sum": float(sum(genotype.choices)), "constant": 1.0}


def screened(proposals: int = 20, **options: Any) -> Screened:
    strategy = Screened(RandomSearch(), proposals)
    strategy.use_cost(SPACE, lambda genotype: None, **options)
    strategy.use_scores(score)
    strategy.start(SPACE, np.random.default_rng(0))
    return strategy


def ask(strategy: Screened, pending: Sequence[Proposal] = (), id: int = 1) -> Genotype:
    proposal = strategy.ask(Population(0), pending, np.random.default_rng([0, id, 1]))
    assert proposal is not None
    return proposal.genotype


def proposed(id: int = 1) -> list[Genotype]:
    """What random search proposes with the generators of :func:`ask`, the best-scored first."""
    made = [SPACE.sample(child) for child in np.random.default_rng([0, id, 1]).spawn(20)]
    return sorted(made, key=lambda genotype: -sum(genotype.choices))


def mean_rank(strategy: Screened) -> float:
    """Return the mean rank of what is chosen of 20 proposals; 0 is that of the best-scored, 9.5 that of chance."""
    asks = [(ask(strategy, id=id), proposed(id)) for id in range(100, 130)]
    return float(np.mean([ranked.index(chosen) for chosen, ranked in asks]))


def tell(strategy: Screened, fitness: Callable[[Genotype], float], trials: int = 30) -> None:
    for id in range(1, trials + 1):
        told = Individual(id, ask(strategy, id=id), Outcome.OK, fitness(ask(strategy, id=id)))
        strategy.tell(told, np.random.default_rng([0, id, 2]))


def test_without_evidence_scores_speak_for_themselves() -> None:
    assert mean_rank(screened()) < 4


def test_trainings_say_which_way_a_score_points() -> None:
    agreeing, contrary = screened(), screened()
    tell(agreeing, lambda genotype: sum(genotype.choices) / 100)
    tell(contrary, lambda genotype: 1 - sum(genotype.choices) / 100)
    assert mean_rank(agreeing) < 1
    assert mean_rank(contrary) > 18


def test_what_is_known_pending_or_beyond_the_limits_comes_last() -> None:
    first = ask(screened())
    strategy = screened()
    second = ask(strategy, [Proposal(first)])
    assert second != first
    strategy.tell(Individual(1, first, Outcome.NAN, None), np.random.default_rng(0))
    assert ask(strategy) != first
    assert ask(screened(allows=lambda genotype: genotype == second)) == second
    assert ask(screened(allows=lambda genotype: False)) == first, "where none is allowed, the limits say so"


def test_only_the_proposals_are_scored_besides_the_sample() -> None:
    seen: list[Genotype] = []

    def count(genotype: Genotype) -> dict[str, float]:
        seen.append(genotype)
        return score(genotype)

    strategy = Screened(RandomSearch(), 5)
    strategy.use_scores(count)
    strategy.start(SPACE, np.random.default_rng(0))
    sample = len(seen)
    ask(strategy)
    assert len(seen) == sample + 5


def test_screening_by_the_truth_finds_better_ones(drive: Any) -> None:
    space = build_space("nasnet(blocks=1)")
    plain, better = [], []
    for seed in range(5):
        toy = drive(RandomSearch(), space).toy
        by_truth = drive(
            Screened(RandomSearch(), 4), space, seed=seed, score=lambda one, toy=toy: {"truth": toy.truth(one)}
        )
        better.append(by_truth.run(20).truth_of_best())
        plain.append(drive(RandomSearch(), space, seed=seed).run(20).truth_of_best())
    assert np.mean(better) > np.mean(plain)


def test_one_proposal_is_none_to_choose_from() -> None:
    with pytest.raises(ValueError, match="proposals must be at least 2"):
        Screened(RandomSearch(), 1)
