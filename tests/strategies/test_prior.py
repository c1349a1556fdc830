"""Scores as the prior of guided evolution: what they gain, that bad ones cost little, and how few are computed."""

from __future__ import annotations

import functools
import itertools
import zlib
from typing import Any

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.population import Population
from strategies.base import Score
from strategies.guided import GuidedEvolution
from strategies.random_search import RandomSearch
from strategies.screen import Screened

SPACE = build_space("nasbench201")
SMALL = {"children": 40, "strangers": 10}


@functools.cache
def noise(genotype: Genotype, seed: int = 0) -> float:
    """Return a standard normal number that is the genotype's own."""
    return float(np.random.default_rng([seed, zlib.crc32(str(genotype).encode())]).standard_normal())


@functools.cache
def truth(genotype: Genotype) -> float:
    """Return a fitness in [0, 1]: convolutions are good, less so beside each other, and the cell has its own luck."""
    ops = genotype.choices
    good = sum((0.0, 0.4, 0.7, 1.0, 0.1)[op] * (1 + 0.2 * (edge % 3)) for edge, op in enumerate(ops))
    clashes = sum(a == b for a, b in itertools.pairwise(ops))
    return float(1 / (1 + np.exp(-(good - 0.5 * clashes + 0.3 * noise(genotype) - 3) / 1.5)))


@functools.cache
def scores(kind: str) -> Score:
    """Return scores that know half of the truth, or that of another genotype, or turned round; one always fails."""
    rng = np.random.default_rng(5)
    others = [SPACE.sample(rng) for _ in range(500)]

    @functools.cache
    def score(genotype: Genotype) -> dict[str, float]:
        if kind == "shuffled":
            genotype = others[zlib.crc32(str(genotype).encode()) % len(others)]
        sign = -1.0 if kind == "reversed" else 1.0
        half = [sign * (2 * truth(genotype) + 0.5 * noise(genotype, seed)) for seed in (1, 2)]
        return {"first": half[0], "second": half[1], "broken": float("nan")}

    return score


def trials_until(strategy: Any, drive: Any, threshold: float, seed: int, kind: str) -> int:
    """Return the number of trials until a fitness is reached, at most 60."""
    search = drive(strategy, SPACE, seed=seed, score=scores(kind))
    for trial in range(1, 61):
        search.step(lambda choices, id: truth(Genotype(SPACE.spelling, choices)))
        if search.individuals[-1].score >= threshold:
            return trial
    return 60


@pytest.mark.slow
def test_good_scores_save_trials_and_bad_ones_cost_few(drive: Any) -> None:
    def mean_trials(kind: str) -> float:
        prior = "none" if kind == "none" else "scores"
        return float(
            np.mean([trials_until(GuidedEvolution(**SMALL, prior=prior), drive, 0.86, s, kind) for s in range(10)])
        )

    without = mean_trials("none")
    assert mean_trials("true") < 0.8 * without
    assert mean_trials("shuffled") < 1.15 * without
    assert mean_trials("reversed") < 1.15 * without


def test_screens_turn_reversed_scores_round_and_pass_over_mute_ones(drive: Any) -> None:
    def mean_trials(kind: str) -> float:
        def strategy() -> Any:
            return RandomSearch() if kind == "none" else Screened(RandomSearch(), 8)

        return float(np.mean([trials_until(strategy(), drive, 0.75, seed, kind) for seed in range(20)]))

    without = mean_trials("none")
    assert mean_trials("true") < 0.7 * without
    assert mean_trials("shuffled") < 1.15 * without
    assert mean_trials("reversed") < 1.15 * without


def started(score: Score, **options: Any) -> GuidedEvolution:
    strategy = GuidedEvolution(**SMALL, prior="scores", **options)
    strategy.use_scores(score)
    strategy.start(SPACE, np.random.default_rng(0))
    return strategy


def test_the_first_candidates_are_by_turns_the_best_scored_and_evenly_spread() -> None:
    seen: list[Genotype] = []

    def score(genotype: Genotype) -> dict[str, float]:
        seen.append(genotype)
        return scores("true")(genotype)

    strategy = started(score)
    sample = sorted(set(seen), key=lambda one: -sum(score(one)[name] for name in ("first", "second")))
    plain = GuidedEvolution(**SMALL)
    plain.start(SPACE, np.random.default_rng(0))
    asked: list[Proposal] = []
    for id in range(1, 5):
        proposal = strategy.ask(Population(0), asked, np.random.default_rng([0, id, 1]))
        assert proposal is not None
        asked.append(proposal)
    assert {asked[0].genotype, asked[2].genotype} <= set(sample[:6])
    assert [asked[1].genotype, asked[3].genotype] == [plain._design[0], plain._design[1]]


def test_an_ask_scores_few_candidates() -> None:
    seen: set[Genotype] = set()

    def score(genotype: Genotype) -> dict[str, float]:
        seen.add(genotype)
        return {"sum": float(sum(genotype.choices))}

    strategy = started(score, initial=4)
    for id in range(1, 15):
        before = len(seen)
        proposal = strategy.ask(Population(0), (), np.random.default_rng([0, id, 1]))
        assert proposal is not None
        assert len(seen) - before <= 32
        told = Individual(id, proposal.genotype, Outcome.OK, truth(proposal.genotype))
        strategy.tell(told, np.random.default_rng([0, id, 2]))


def test_weights_are_noted_with_their_signs(drive: Any) -> None:
    for kind, sign in (("true", 1.0), ("reversed", -1.0)):
        search = drive(GuidedEvolution(**SMALL, prior="scores"), SPACE, score=scores(kind))
        search.run(20, lambda choices, id: truth(Genotype(SPACE.spelling, choices)))
        assert [sorted(notes) for notes in search.updates] == [
            ["weight_all", "weight_broken", "weight_first", "weight_second"]
        ] * len(search.updates)
        last = search.updates[-1]
        assert sign * (last["weight_all"] + last["weight_first"] + last["weight_second"]) > 0


def test_scores_that_all_fail_leave_the_search_as_able_as_without(drive: Any) -> None:
    for rows in ({}, {"a": float("nan")}, {"a": 1.0}):
        search = drive(GuidedEvolution(**SMALL, prior="scores"), SPACE, score=lambda genotype, rows=rows: rows)
        search.run(12)
        assert len({one.genotype for one in search.individuals}) == 12


def test_candidates_beyond_the_limits_are_not_scored_once_there_are_examples() -> None:
    seen: list[Genotype] = []

    def score(genotype: Genotype) -> dict[str, float]:
        seen.append(genotype)
        return {"sum": float(sum(genotype.choices))}

    def allows(genotype: Genotype) -> bool:
        return sum(genotype.choices) <= 10

    strategy = GuidedEvolution(**SMALL, prior="scores", initial=4)
    strategy.use_cost(SPACE, lambda genotype: None, allows)
    strategy.use_scores(score)
    strategy.start(SPACE, np.random.default_rng(0))
    sample = set(seen)
    for id in range(1, 12):
        proposal = strategy.ask(Population(0), (), np.random.default_rng([0, id, 1]))
        assert proposal is not None
        fitness = truth(proposal.genotype) if allows(proposal.genotype) else None
        outcome = Outcome.REFUSED if fitness is None else Outcome.OK
        strategy.tell(Individual(id, proposal.genotype, outcome, fitness), np.random.default_rng([0, id, 2]))
    assert len(set(seen)) > len(sample) + 50
    told = {one.genotype for one in strategy._examples}
    assert all(allows(genotype) for genotype in set(seen) - sample - told)
    assert all(allows(genotype) for genotype in told)


def test_another_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="prior must be none or scores, not 'guess'"):
        GuidedEvolution(prior="guess")
