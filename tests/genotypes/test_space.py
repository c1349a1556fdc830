"""What a space gets by default."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genotypes.genotype import Genotype, GenotypeError
from genotypes.space import Decision, SearchSpace


@dataclass(frozen=True)
class Uneven(SearchSpace):
    """Decisions with as many options as ``sizes`` says, some with no choice."""

    name: ClassVar[str] = "uneven"

    sizes: tuple[int, ...] = (1, 2, 4, 1)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(Decision(str(i), tuple(map(str, range(size)))) for i, size in enumerate(self.sizes))


def test_a_mutation_draws_a_decision_with_a_choice_then_another_option() -> None:
    space, rng, n = Uneven(), np.random.default_rng(1), 12_000
    parent = space.genotype([0, 1, 2, 0])
    counts = Counter(space.mutate(parent, rng).choices for _ in range(n))
    # One of two decisions, then one of one or of three other options.
    shares = {(0, 0, 2, 0): 1 / 2, (0, 1, 0, 0): 1 / 6, (0, 1, 1, 0): 1 / 6, (0, 1, 3, 0): 1 / 6}
    assert counts.keys() == shares.keys()
    for choices, share in shares.items():
        assert abs(counts[choices] - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_a_child_of_two_takes_each_decision_from_the_second_with_a_probability() -> None:
    space, rng, n = Uneven((2, 3)), np.random.default_rng(2), 4000
    first, second = space.genotype([0, 0]), space.genotype([1, 2])
    counts = Counter(space.crossover(first, second, rng, 0.25).choices for _ in range(n))
    shares = {(0, 0): 9 / 16, (1, 0): 3 / 16, (0, 2): 3 / 16, (1, 2): 1 / 16}
    assert counts.keys() == shares.keys()
    for choices, share in shares.items():
        assert abs(counts[choices] - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_a_space_with_rules_of_its_own_has_no_crossover_until_it_brings_one() -> None:
    class Ruled(Uneven):
        def check(self, genotype: Genotype) -> None:
            super().check(genotype)
            if sum(genotype.choices) % 2:
                raise GenotypeError("the sum must be even")

    class Crossed(Ruled):
        def crossover(
            self, first: Genotype, second: Genotype, rng: np.random.Generator, share: float = 0.5
        ) -> Genotype:
            return second if rng.random() < share else first

    assert Uneven().has_crossover
    assert not Ruled().has_crossover
    assert Crossed().has_crossover


def test_where_there_is_no_choice_a_child_is_its_parent() -> None:
    space = Uneven((1, 1))
    only = space.genotype([0, 0])
    assert space.mutate(only, np.random.default_rng(0)) == only
    assert not space.neighbours(only)
