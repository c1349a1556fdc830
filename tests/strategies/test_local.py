"""Local search: climbing, restarts, several workers, and the end of a space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.space import SearchSpace
from strategies.local import VARIANTS, LocalSearch

BITS = build_space("bits(length=7)")


def rugged(choices: tuple[int, ...], id: int = 0) -> float | None:
    """A landscape of hills on strings of bits, where one genotype in eight fails."""
    value = np.random.default_rng(choices).random() if choices else 0.0
    return None if value < 0.125 else (sum(choices) / len(choices) + 2 * round(float(value), 1)) / 3


def ask(search: Any, id: int, pending: tuple[Proposal, ...] = ()) -> Proposal | None:
    """Ask like the driver, but take no for an answer."""
    proposal: Proposal | None = search.strategy.ask(
        search.population, pending, np.random.default_rng([search.seed, id, 1])
    )
    return proposal


def until_the_end(search: Any) -> Iterator[tuple[Proposal, dict[tuple[int, ...], Individual]]]:
    """Search a space through; give each proposal with what was known when it was made."""
    known: dict[tuple[int, ...], Individual] = {}
    while (proposal := ask(search, len(known) + 1)) is not None:
        yield proposal, known
        ended = search.ended(len(known) + 1, proposal, rugged)
        known[ended.genotype.choices] = ended
        search.tell(ended)


def score(individual: Individual | None) -> float:
    return -1.0 if individual is None or individual.fitness is None else individual.fitness


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(5))
def test_it_climbs_by_the_rules_of_its_variant_until_all_is_tried(variant: str, seed: int, drive: Any) -> None:
    search = drive(LocalSearch(variant, starts=3), BITS, seed=seed)
    before: Individual | None = None
    moves = restarts = 0
    for proposal, known in until_the_end(search):
        assert proposal.genotype.choices not in known, "nothing is tried twice"
        place = search.strategy._incumbent
        incumbent = known[place.genotype.choices] if place else None
        if incumbent is not before is not None:
            around = [known.get(neighbour.choices) for neighbour in BITS.neighbours(before.genotype)]
            if score(incumbent) > score(before):  # perhaps in several moves, over places that were known
                moves += 1
                assert variant == "first" or None not in around
            assert max(map(score, around)) > score(before) or None not in around, "a climb ends on a top"
        if proposal.parent is None:
            restarts += 1
            around = (
                [known.get(neighbour.choices) for neighbour in BITS.neighbours(incumbent.genotype)] if incumbent else []
            )
            assert None not in around
            assert all(score(other) <= score(incumbent) for other in around)
        else:
            assert incumbent is not None
            assert proposal.parent == incumbent.id
            assert proposal.genotype in list(BITS.neighbours(incumbent.genotype))
        before = incumbent
    assert len(search.individuals) == BITS.size
    assert moves > 5
    assert restarts > 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_climb_starts_from_the_best_of_the_random_ones(variant: str, drive: Any) -> None:
    search = drive(LocalSearch(variant, starts=6), build_space("nasnet")).run(7)
    *random, child = search.individuals
    assert {i.parent for i in random} == {None}
    assert child.parent == max(random, key=score).id


def told(search: Any, id: int, genotype: Genotype, fitness: float | None, parent: int | None) -> None:
    outcome = Outcome.OK if fitness is not None else Outcome.OOM
    search.tell(Individual(id, genotype, outcome, fitness, parent))


def climbing(variant: str, drive: Any, space: SearchSpace = BITS) -> tuple[Any, list[Genotype]]:
    """Begin a climb from zeros, which have the id 1 and the fitness 0.5."""
    search = drive(LocalSearch(variant, starts=1), space)
    zeros = space.genotype([0] * len(space.decisions))
    told(search, 1, zeros, 0.5, None)
    return search, list(space.neighbours(zeros))


@pytest.mark.parametrize(("variant", "moves_at_once"), [("first", True), ("steepest", False)])
def test_when_it_moves(variant: str, moves_at_once: bool, drive: Any) -> None:
    search, around = climbing(variant, drive)
    told(search, 2, around[4], 0.6, 1)
    assert search.ask().parent == (2 if moves_at_once else 1)
    if not moves_at_once:
        for id, position in enumerate((0, 1, 2, 3, 5, 6), start=3):
            assert search.ask().parent == 1
            told(search, id, around[position], {5: 0.9, 6: 0.9}.get(position, 0.1), 1)
        assert search.ask().parent in (7, 8), "the best of all, not the first that is better"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fitness", [0.5, 0.4, None])
def test_neither_an_equal_nor_a_failure_is_better(variant: str, fitness: float | None, drive: Any) -> None:
    search, around = climbing(variant, drive)
    for id, neighbour in enumerate(around, start=2):
        assert search.ask().parent == 1
        told(search, id, neighbour, fitness, 1)
    assert search.ask().parent is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_known_is_walked_through_without_asking(variant: str, drive: Any) -> None:
    search = drive(LocalSearch(variant, starts=1), BITS)
    zeros, *ridge = [BITS.genotype([1] * n + [0] * (7 - n)) for n in range(4)]
    # Told before the climb begins: a ridge that leads up from zeros, and all that lies beside its lower part.
    beside = {n for foot in (zeros, *ridge[:2]) for n in BITS.neighbours(foot)} - {zeros, *ridge}
    heights = dict(zip(ridge, (0.6, 0.7, 0.8), strict=True)) | dict.fromkeys(sorted(beside), 0.1)
    for id, (genotype, fitness) in enumerate(heights.items(), start=1):
        told(search, id, genotype, fitness, 99)
    told(search, len(heights) + 1, zeros, 0.5, None)
    assert search.ask().parent == 3, "the upper end of the ridge"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("workers", [3, 40])
def test_many_workers_are_kept_busy_with_something_new(variant: str, workers: int, drive: Any) -> None:
    search = drive(LocalSearch(variant, starts=2), BITS)
    order = np.random.default_rng(workers)
    pending: dict[int, Proposal] = {}
    seen: set[Genotype] = set()
    id = 0
    while True:
        while len(pending) < workers:
            proposal = ask(search, id + 1, tuple(pending.values()))
            if proposal is None:
                break
            id += 1
            assert proposal.genotype not in seen
            seen.add(proposal.genotype)
            pending[id] = proposal
        if not pending:
            break
        assert len(pending) == min(workers, BITS.size - len(search.individuals)), "nobody waits while there is work"
        ends = int(order.choice(list(pending)))
        search.tell(search.ended(ends, pending.pop(ends), rugged))
    assert len(seen) == BITS.size


def test_a_neighbour_that_is_told_late_and_is_better_is_moved_to(drive: Any) -> None:
    search, around = climbing("first", drive)
    told(search, 2, around[0], 0.6, 1)
    told(search, 3, around[1], 0.9, 1)  # asked for when 1 was the incumbent
    assert search.ask().parent == 3


def test_the_trace_of_a_seed_is_pinned(drive: Any) -> None:
    """A fixed seed gives a fixed trace. If it changes on purpose, say so in the CHANGELOG and pin the new one."""
    search = drive(LocalSearch(starts=2), build_space("nasbench201"), seed=0).run(7)
    assert [(i.parent, i.genotype.choices) for i in search.individuals] == TRACE


TRACE: list[tuple[int | None, tuple[int, ...]]] = [
    (None, (4, 1, 1, 4, 1, 4)),
    (None, (2, 4, 4, 0, 1, 4)),
    (1, (3, 1, 1, 4, 1, 4)),
    (1, (4, 4, 1, 4, 1, 4)),
    (4, (4, 4, 1, 4, 1, 2)),
    (4, (4, 4, 3, 4, 1, 4)),
    (6, (4, 4, 3, 4, 1, 0)),
]
