"""Laws that every search space of the catalogue obeys, over thousands of samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genotypes.catalogue import SPACES, build_space
from genotypes.genotype import Genotype, GenotypeError
from genotypes.space import SearchSpace

SPELLINGS = [
    *(name for name in SPACES if name != "widths"),  # it has laws of its own: spaces/test_widths.py
    "nasnet(blocks=1)",
    "nasnet(blocks=2,ops=identity+sep_conv_3x3,combines=add)",
    "nasnet(blocks=3,ops=avg_pool_5x5)",
    "amoebanet(blocks=2,ops=conv_1x1+max_pool_2x2)",
    "darts(blocks=2,ops=skip_connect+sep_conv_3x3)",
    "detnas(stages=1+2,stem_stride=1,blocks=shuffle_3x3+xception_3x3)",
]
BY_DECISIONS = [name for name in SPELLINGS if name != "nasfpn"]
"""Spaces whose mutants differ in a decision; those of the others differ in their graph: spaces/test_nasfpn.py."""

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=SPELLINGS)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return build_space(request.param)


def test_a_space_is_rebuilt_from_its_spelling(space: SearchSpace) -> None:
    assert build_space(space.spelling) == space
    assert build_space(space.spelling).spelling == space.spelling


def test_decision_names_are_unique(space: SearchSpace) -> None:
    names = [decision.name for decision in space.decisions]
    assert len(set(names)) == len(names)


@settings(max_examples=60)
@given(seed=seeds)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_samples_and_mutants_are_valid_and_survive_text_and_json(spelling: str, seed: int) -> None:
    space = build_space(spelling)
    rng = np.random.default_rng(seed)
    sample = space.sample(rng)
    mutants = [space.mutate(sample, rng) for _ in range(8)]
    for genotype in (sample, *mutants):
        space.check(genotype)
        space.decode(genotype)
        assert Genotype.parse(str(genotype)) == genotype == Genotype.from_json(genotype.to_json())
        assert space.parse(str(genotype)) == genotype
    for mutant in mutants if spelling in BY_DECISIONS else ():
        changed = sum(a != b for a, b in zip(sample.choices, mutant.choices, strict=True))
        assert changed <= 1, "a mutation changes at most one decision"


@settings(max_examples=30)
@given(seed=seeds)
@pytest.mark.parametrize("spelling", BY_DECISIONS)
def test_neighbours_are_every_change_of_one_decision_in_a_fixed_order(spelling: str, seed: int) -> None:
    space = build_space(spelling)
    genotype = space.sample(np.random.default_rng(seed))
    neighbours = list(space.neighbours(genotype))
    assert neighbours == list(space.neighbours(genotype))
    assert len(set(neighbours)) == len(neighbours)
    assert len(neighbours) == sum(len(decision.options) - 1 for decision in space.decisions)
    for neighbour in neighbours:
        space.check(neighbour)
        assert sum(a != b for a, b in zip(genotype.choices, neighbour.choices, strict=True)) == 1


@settings(max_examples=30)
@given(seed=seeds)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_children_of_two_parents_are_valid_and_each_decision_is_one_of_theirs(spelling: str, seed: int) -> None:
    space = build_space(spelling)
    assert space.has_crossover
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.crossover(first, second, rng)
    space.decode(child)
    assert space.crossover(first, second, rng, 0.0) == first
    assert space.crossover(first, second, rng, 1.0) == second
    for parents in zip(child.choices, first.choices, second.choices, strict=True) if spelling in BY_DECISIONS else ():
        assert parents[0] in parents[1:]


def test_sampling_is_uniform_over_every_decision(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    n = 3000
    counts = [np.zeros(len(decision.options)) for decision in space.decisions]
    for _ in range(n):
        for count, choice in zip(counts, space.sample(rng).choices, strict=True):
            count[choice] += 1
    for count in counts:
        expected = n / len(count)
        assert np.abs(count - expected).max() < 5 * np.sqrt(expected)


def test_the_same_generator_gives_the_same_genotypes(space: SearchSpace) -> None:
    def trace() -> list[Genotype]:
        rng = np.random.default_rng(7)
        genotypes = [space.sample(rng)]
        for _ in range(20):
            genotypes.append(space.mutate(genotypes[-1], rng))
        return genotypes

    assert trace() == trace()


def test_a_genotype_of_another_space_is_refused(space: SearchSpace) -> None:
    sample = space.sample(np.random.default_rng(0))
    stranger = Genotype("elsewhere", sample.choices)
    for refuse in (space.check, space.decode, space.key):
        with pytest.raises(GenotypeError, match="'elsewhere'"):
            refuse(stranger)


def test_too_few_choices_and_too_large_ones_are_refused(space: SearchSpace) -> None:
    sample = space.sample(np.random.default_rng(0))
    with pytest.raises(GenotypeError, match="choices, not"):
        space.check(Genotype(sample.space, sample.choices[:-1]))
    with pytest.raises(GenotypeError, match=r"choice 0 \(.*\) is 99, but its options are 0 to"):
        space.check(Genotype(sample.space, (99, *sample.choices[1:])))
