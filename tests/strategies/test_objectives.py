"""Fronts and crowding of a tournament's sample: NSGA-II's crowded comparison (Deb et al. 2002, section III)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genotypes.catalogue import build_space
from genotypes.individual import Individual, Outcome
from strategies.objectives import Member, Objectives, remove_by_crowding, select_by_crowding

GENOTYPE = build_space("bits(length=1)").genotype([0])


def member(id: int, accuracy: float, *costs: float) -> Member:
    metrics = {f"cost{i}": cost for i, cost in enumerate(costs)}
    return Member.of(Individual(id, GENOTYPE, Outcome.OK, accuracy, metrics=metrics), tuple(metrics))


def ranked(*sample: Member) -> list[int]:
    return [one.individual.id for one in select_by_crowding(sample, len(sample))]


def winner(*sample: Member) -> int:
    return select_by_crowding(sample)[0].individual.id


def loser(*sample: Member) -> int:
    return remove_by_crowding(sample)[0].individual.id


def test_accuracy_is_maximised_and_costs_are_minimised() -> None:
    better, worse = Objectives(0.6, [10.0, 3.0]), Objectives(0.5, [10.0, 4.0])
    assert better.dominates(worse)
    assert not worse.dominates(better)
    assert not Objectives(0.6, [10.0]).dominates(Objectives(0.5, [9.0]))
    assert not better.dominates(Objectives(0.6, [10.0, 3.0])), "equals do not dominate each other"


def test_the_better_front_wins_however_crowded_it_is() -> None:
    first = [member(1, 0.9, 9.0), member(2, 0.89, 8.9), member(3, 0.5, 1.0)]
    second = [member(4, 0.3, 1.5), member(5, 0.8, 9.5)]
    assert ranked(*second, *first)[:3] == [1, 3, 2]
    assert winner(first[1], second[0]) == 2, "alone, it dominates"


def test_on_one_front_the_ends_win_and_then_who_has_the_most_room() -> None:
    # Between the neighbours of 2, 3 and 4 lie 0.4, 0.45 and 0.5, in either objective.
    front = [member(1, 0.9, 9.0), member(2, 0.85, 8.5), member(3, 0.5, 5.0), member(4, 0.4, 4.0), member(5, 0.0, 0.0)]
    assert ranked(*front) == [1, 5, 4, 3, 2]
    assert ranked(*reversed(front)) == [5, 1, 4, 3, 2]


def test_who_loses_is_on_the_last_front_where_there_is_the_least_room() -> None:
    front = [member(1, 0.9, 9.0), member(2, 0.86, 8.5), member(3, 0.85, 8.4), member(4, 0.1, 1.0)]
    assert loser(*front) == 2, "its neighbours are 0.9 and 0.85; those of 3 are 0.86 and 0.1"
    assert loser(*front, member(5, 0.05, 2.0)) == 5


def test_of_equals_the_first_drawn_wins_and_loses() -> None:
    twins = [member(7, 0.5, 5.0), member(3, 0.5, 5.0), member(4, 0.5, 5.0)]
    assert (winner(*twins), loser(*twins)) == (7, 7)
    ends = [member(9, 0.1, 1.0), member(8, 0.9, 9.0)]  # both have all the room in the world
    assert (winner(*ends), winner(*reversed(ends))) == (9, 8)


def test_a_member_that_is_drawn_again_is_no_neighbour_of_itself() -> None:
    front = [member(1, 0.9, 9.0), member(2, 0.6, 5.0), member(3, 0.5, 4.9), member(4, 0.1, 1.0)]
    again = ranked(*front, front[2], front[2], front[1])
    assert list(dict.fromkeys(again)) == ranked(*front)
    assert winner(front[1], front[2], front[2]) == 2, "two worths: both ends, and 2 was drawn first"


def test_others_of_the_same_worth_are_no_neighbours_either() -> None:
    front = [member(1, 0.9, 9.0), member(2, 0.5, 4.0), member(3, 0.3, 2.0), member(4, 0.1, 1.0)]
    twin = member(5, 0.5, 4.0)
    assert [id for id in ranked(*front, twin) if id != 5] == ranked(*front)
    assert ranked(*front, twin).index(5) == ranked(*front, twin).index(2) + 1


def test_where_a_cost_is_the_same_for_all_accuracy_decides() -> None:
    assert ranked(member(1, 0.5, 7.0), member(2, 0.9, 7.0), member(3, 0.7, 7.0)) == [2, 3, 1]


def test_a_sample_of_one_wins_and_loses() -> None:
    assert winner(member(1, 0.5, 1.0)) == loser(member(1, 0.5, 1.0)) == 1


grid = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@given(st.lists(st.tuples(grid, grid, grid), min_size=1, max_size=12))
def test_nothing_dominates_the_winner_and_the_loser_dominates_nothing(worths: list[tuple[float, ...]]) -> None:
    sample = [member(id, *worth) for id, worth in enumerate(worths)]
    best, worst = select_by_crowding(sample)[0], remove_by_crowding(sample)[0]
    assert not any(other.fitness.dominates(best.fitness) for other in sample)
    assert not any(worst.fitness.dominates(other.fitness) for other in sample)
    assert ranked(*sample) == ranked(*sample), "choosing leaves nothing behind"
    assert all(not hasattr(one.fitness, "crowding_dist") for one in sample)


def test_who_lacks_a_cost_is_refused_with_what_it_has() -> None:
    individual = Individual(3, GENOTYPE, Outcome.OK, 0.5, metrics={"parameters": 7.0, "loss": 0.1})
    with pytest.raises(ValueError, match=r"individual 3 has no metric 'latency' .* it has: parameters, loss$"):
        Member.of(individual, ("parameters", "latency"))
    with pytest.raises(ValueError, match="it has: none at all"):
        Member.of(Individual(3, GENOTYPE, Outcome.OK, 0.5), ("latency",))
