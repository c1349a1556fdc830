"""Donors: what another search found, best first, and of one space alone."""

from __future__ import annotations

import pytest

from genotypes.donor import Donor, keep_spelling, list_best_of_all, require_whole
from genotypes.genotype import Genotype


def donor(*pairs: tuple[str, float]) -> Donor:
    return Donor("a", tuple(Genotype.parse(text) for text, _ in pairs), tuple(fitness for _, fitness in pairs))


FIRST = donor(("x:0", 0.2), ("x:1", 0.9), ("x:2", 0.9))
SECOND = donor(("x:1", 0.8), ("x:3", 0.7), ("y:0", 0.6))


def test_the_best_come_first_and_of_equals_the_earlier_told() -> None:
    assert [str(one) for one in FIRST.list_best()] == ["x:1", "x:2", "x:0"]


def test_a_large_donor_keeps_its_best_and_its_last_in_the_order_told() -> None:
    large = donor(*((f"x:{n}", fitness) for n, fitness in enumerate((0.9, 0.1, 0.8, 0.2, 0.3, 0.4))))
    small = large.limit(4)
    assert [str(one) for one in small.genotypes] == ["x:0", "x:2", "x:4", "x:5"]
    assert small.fitnesses == (0.9, 0.8, 0.3, 0.4)
    assert large.limit(6) is large
    assert [str(one) for one in large.limit(1).genotypes] == ["x:5"]


def test_several_donors_take_turns_and_no_network_comes_twice() -> None:
    assert [str(one) for one in list_best_of_all([FIRST, SECOND])] == ["x:1", "x:2", "x:3", "x:0", "y:0"]
    assert list_best_of_all([]) == []


def test_networks_of_another_space_are_left_out_with_their_fitnesses() -> None:
    (kept,) = keep_spelling([FIRST, SECOND], "y")
    assert (kept.name, kept.genotypes, kept.fitnesses) == ("a", SECOND.genotypes[2:], (0.6,))
    assert [len(one.genotypes) for one in require_whole([FIRST, SECOND], "x")] == [3, 2]
    with pytest.raises(ValueError, match="no whole network of the space z"):
        require_whole([FIRST, SECOND], "z")


def test_a_donor_has_a_fitness_for_each_of_at_least_one_network() -> None:
    with pytest.raises(ValueError, match="no network with a fitness"):
        Donor("empty", (), ())
    with pytest.raises(ValueError, match="a fitness each, not 1"):
        Donor("short", FIRST.genotypes, (0.5,))
