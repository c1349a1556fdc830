"""Warm starts of every strategy that learns from other runs: the same contract, a gain from a friend, little harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.catalogue import build_space
from genotypes.donor import Donor
from genotypes.individual import Individual, Outcome
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.catalogue import STRATEGIES, TAUGHT
from strategies.screen import Screened

SMALL: dict[str, dict[str, object]] = {
    "evolution": {"population": 16, "sample": 6},
    "rl": {"batch": 8, "passes": 5, "hidden": 20, "learning_rate": 0.002},
    "pnas": {"beam": 12, "ensemble": 2, "epochs": 10},
    "guided": {"initial": 4, "children": 20, "strangers": 5},
}
SPACES = {"pnas": "pnas(blocks=3)"}


def make_space(name: str) -> SearchSpace:
    return build_space(SPACES.get(name, "nasbench201"))


def make_donor(space: SearchSpace, n: int = 60, sign: float = 1.0, seed: int = 5) -> Donor:
    """Return random networks, of every level where the space grows, with the toy's fitness, or what is left to 1."""
    toy = ToyEvaluator()
    toy.bind(space)
    rng = np.random.default_rng(seed)
    levels = [*getattr(space, "below", ()), space]
    genotypes = {levels[index % len(levels)].sample(rng): None for index in range(n)}
    return Donor("friend", tuple(genotypes), tuple((1 - sign) / 2 + sign * toy.truth(one) for one in genotypes))


def build(name: str, *donors: Donor) -> SearchStrategy:
    space = make_space(name)
    strategy = STRATEGIES.build(name, SMALL[name]).suited(space)
    if donors:
        strategy.use_knowledge(space, donors)
    return strategy


def test_the_catalogue_knows_who_learns_from_other_runs() -> None:
    kinds = {name: STRATEGIES.find(name) for name in STRATEGIES}
    assert {n for n, kind in kinds.items() if kind.use_knowledge is not SearchStrategy.use_knowledge} == set(TAUGHT)
    assert set(SMALL) == set(TAUGHT)


@pytest.mark.parametrize("name", ["random", "local"])
def test_the_others_refuse_to(name: str) -> None:
    space = build_space("bits")
    strategy = STRATEGIES.build(name, {}).suited(space)
    with pytest.raises(ValueError, match=f"the strategy {name} does not learn from other runs"):
        strategy.use_knowledge(space, [make_donor(space)])


@pytest.mark.parametrize("name", TAUGHT)
def test_asks_stay_pure_and_what_is_told_again_leads_to_the_same_asks(name: str, drive: Any) -> None:
    donors = make_donor(make_space(name)), make_donor(make_space(name), 5, seed=6)

    def every_fifth(id: int) -> bool:
        return id % 5 == 0

    original, restored = (drive(build(name, *donors), make_space(name), seed=3, fails=every_fifth) for _ in range(2))
    for _ in range(20):
        proposal = original.ask()
        original.space.check(proposal.genotype)
        original.strategy.ask(original.population, (proposal,), np.random.default_rng(99))  # which may be to wait
        assert original.ask() == proposal
        original.step()
    for individual in original.individuals:
        restored.tell(individual)
    for _ in range(4):
        original.step()
        restored.step()
        assert restored.individuals[-1] == original.individuals[-1]


@pytest.mark.parametrize("name", TAUGHT)
def test_what_donors_found_is_told_to_nobody(name: str, drive: Any) -> None:
    search = drive(build(name, make_donor(make_space(name))), make_space(name)).run(3)
    assert len(search.population) == 3
    assert {one.parent for one in search.individuals} == {None}


@pytest.mark.parametrize("name", [name for name in TAUGHT if name != "pnas"])
def test_a_friend_helps_within_a_few_trials(name: str, drive: Any) -> None:
    gains = []
    for seed in range(3):
        warm, cold = (
            drive(build(name, *donors), make_space(name), seed=seed).run(8)
            for donors in ((make_donor(make_space(name), 300),), ())
        )
        gains.append(warm.truth_of_best() - cold.truth_of_best())
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("name", [name for name in TAUGHT if name != "pnas"])
def test_smaller_networks_alone_teach_nothing_where_only_whole_ones_are_proposed(name: str) -> None:
    space = build_space("pnas(blocks=2)")
    strategy = STRATEGIES.build(name, SMALL[name]).suited(space)
    smaller = space.at(1).sample(np.random.default_rng(0))
    with pytest.raises(ValueError, match="no whole network"):
        strategy.use_knowledge(space, [Donor("small", (smaller,), (0.5,))])


def test_evolution_stops_asking_for_what_is_worse_than_chance(drive: Any) -> None:
    space = make_space("evolution")
    enemy = make_donor(space, sign=-1.0)
    advised = set(enemy.list_best()[:8])

    def count(donor: Donor) -> int:
        search = drive(build("evolution", donor), space, noise=0.0).run(16)
        return sum(one.genotype in advised for one in search.individuals)

    assert count(enemy) == 4
    friend = make_donor(space, 500)
    search = drive(build("evolution", friend), space).run(16)
    assert [one.genotype for one in search.individuals[::2]] == friend.list_best()[:8]


def test_rl_goes_on_with_the_untaught_controller_after_a_misleading_donor(drive: Any) -> None:
    space = make_space("rl")
    entropies = {}
    for sign in (1.0, -1.0):
        search = drive(build("rl", make_donor(space, 200, sign)), space, noise=0.0).run(16)
        entropies[sign] = [notes["entropy"] for notes in search.updates]
    assert entropies[1.0][0] < 1.3 < entropies[-1.0][0] <= np.log(5) + 1e-6


def test_pnas_goes_on_with_the_surrogate_that_knows_the_first_level(drive: Any) -> None:
    space = make_space("pnas")
    for sign, agrees in ((1.0, True), (-1.0, False)):
        strategy = build("pnas", make_donor(space, 200, sign))
        search = drive(strategy, space)
        taught, own = search.strategy._taught, search.strategy._surrogate
        search.run(12)
        assert (search.updates[0]["rank_donors"] > 0.3) == agrees
        assert search.strategy._surrogate is (taught if agrees else own)


def test_guided_begins_with_the_donors_best_and_learns_the_sign_of_their_weight(drive: Any) -> None:
    space = make_space("guided")
    signs = {}
    for sign in (1.0, -1.0):
        donor = make_donor(space, 200, sign)
        search = drive(build("guided", donor), space, noise=0.0).run(20)
        assert [one.genotype for one in search.individuals[:4]] == donor.list_best()[:4]
        last = search.updates[-1]
        signs[sign] = last["weight_donors"] + last["weight_donor_1"]
    assert signs[-1.0] < 0 < signs[1.0]


def test_guided_has_one_prior() -> None:
    space = make_space("guided")
    strategy = STRATEGIES.build("guided", {"prior": "scores"}).suited(space)
    with pytest.raises(ValueError, match="guided has one prior: scores, or other runs"):
        strategy.use_knowledge(space, [make_donor(space)])


def test_screening_hands_donors_on(drive: Any) -> None:
    space = make_space("evolution")
    donor = make_donor(space)
    screened = Screened(STRATEGIES.build("evolution", SMALL["evolution"]), 3)
    screened.use_scores(lambda genotype: {"size": 1.0})
    screened = screened.suited(space)
    screened.use_knowledge(space, [donor])
    assert drive(screened, space).ask().genotype == donor.list_best()[0]


def test_a_single_network_with_the_fitness_of_all_is_survived() -> None:
    for name in TAUGHT:
        space = make_space(name)
        genotype = space.sample(np.random.default_rng(0))
        for donor in (Donor("one", (genotype,), (0.5,)), make_flat(space)):
            strategy = build(name, donor)
            strategy.start(space, np.random.default_rng(0))
            strategy.tell(Individual(1, genotype, Outcome.OK, 0.5), np.random.default_rng(1))


def make_flat(space: SearchSpace) -> Donor:
    rng = np.random.default_rng(1)
    return Donor("flat", tuple({space.sample(rng): None for _ in range(10)}), (0.5,) * 10)
