"""The space of NAS-FPN: its options, its points, and mutation on the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genotypes.catalogue import build_space
from genotypes.genotype import GenotypeError
from genotypes.pyramid import Merge, Pyramid
from genotypes.space import SearchSpace
from genotypes.spaces.nasfpn import NASFPNSpace
from genotypes.zoo import NAS_FPN

SPACE = NASFPNSpace()


def parts(pyramid: Pyramid) -> list[object]:
    """The four parts of each cell of the graph."""
    return [part for merge in pyramid.merges for part in (*merge.inputs, merge.level, merge.combine)]


def count_changed_parts(a: Pyramid, b: Pyramid) -> int:
    return sum(one != other for one, other in zip(parts(a), parts(b), strict=True))


def test_a_cell_has_the_options_of_the_paper() -> None:
    counts = [len(decision.options) for decision in SPACE.decisions]
    assert counts[0::4] == [5, 6, 7, 8, 9, 10, 11]
    assert counts[1::4] == [4, 5, 6, 7, 8, 9, 10]
    assert counts[2::4] == [5, 5, 5, 4, 3, 2, 1]
    assert counts[3::4] == [2] * 7
    assert SPACE.size == 386_266_890_240_000_000


def test_the_published_pyramid_is_a_point_of_the_space() -> None:
    genotype = SPACE.encode(NAS_FPN)
    assert genotype.choices == (
        *(1, 2, 1, 1, 1, 4, 1, 0),
        *(0, 5, 0, 0, 6, 6, 0, 0, 7, 7, 0, 1, 6, 8, 1, 1, 9, 9, 0, 1),
    )
    assert SPACE.decode(genotype) == NAS_FPN
    assert SPACE.readable(genotype) == NAS_FPN.to_json()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), merges=st.integers(5, 9))
def test_every_combination_is_a_pyramid_and_comes_back(seed: int, merges: int) -> None:
    space = NASFPNSpace(merges=merges)
    rng = np.random.default_rng(seed)
    genotype = space.genotype([int(rng.integers(len(decision.options))) for decision in space.decisions])
    pyramid = space.decode(genotype)
    assert space.encode(pyramid) == genotype
    assert Pyramid.from_json(pyramid.to_json()) == pyramid
    assert all(merge.inputs[0] != merge.inputs[1] for merge in pyramid.merges)


def test_a_mutation_changes_one_part_of_the_graph_or_swaps_two_levels() -> None:
    rng = np.random.default_rng(0)
    counts, naive = [], []
    for _ in range(1000):
        parent = SPACE.sample(rng)
        pyramid = SPACE.decode(parent)
        child = SPACE.decode(SPACE.mutate(parent, rng))
        counts.append(count_changed_parts(pyramid, child))
        naive.append(count_changed_parts(pyramid, SPACE.decode(SearchSpace.mutate(SPACE, parent, rng))))
        if counts[-1] == 2:
            assert sorted(merge.level for merge in child.merges) == sorted(merge.level for merge in pyramid.merges)
    assert set(counts) == {1, 2}
    assert np.mean(counts) < 1.25 < np.mean(naive)
    assert max(naive) > 3, "a change of one decision shifts the meaning of those after it"


def test_a_child_of_two_has_each_part_of_one_of_them_and_the_outputs_of_one() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        first, second = (SPACE.decode(SPACE.sample(rng)) for _ in range(2))
        child = SPACE.decode(SPACE.crossover(SPACE.encode(first), SPACE.encode(second), rng))
        for one, *parents in zip(child.merges, first.merges, second.merges, strict=True):
            assert one.inputs in [parent.inputs for parent in parents]
            assert one.combine in [parent.combine for parent in parents]
        levels = [[merge.level for merge in pyramid.merges[2:]] for pyramid in (child, first, second)]
        assert levels[0] in levels[1:]
        shares += [one.inputs == parent.inputs for one, parent in zip(child.merges, second.merges, strict=True)]
    assert 0.45 < np.mean(shares) < 0.6, "as often the second's as the first's; some parents agree"


def test_neighbours_are_all_that_a_mutation_can_make() -> None:
    space = NASFPNSpace(merges=5)
    rng = np.random.default_rng(1)
    parent = space.sample(rng)
    neighbours = list(space.neighbours(parent))
    assert neighbours == list(space.neighbours(parent))
    assert len(set(neighbours)) == len(neighbours)
    assert parent not in neighbours
    # 3 to 7 other features for each input, 10 swaps of two outputs, 5 combinations
    assert len(neighbours) == 2 * (3 + 4 + 5 + 6 + 7) + 10 + 5
    assert {space.mutate(parent, rng) for _ in range(2500)} == set(neighbours)


def test_a_space_without_a_choice_of_combination_mutates_the_rest() -> None:
    space = build_space("nasfpn(merges=5,combines=sum)")
    rng = np.random.default_rng(0)
    for _ in range(50):
        genotype = space.sample(rng)
        assert space.mutate(genotype, rng) != genotype
        assert {merge.combine for merge in space.decode(genotype).merges} == {"sum"}


def test_near_pyramids_share_their_words() -> None:
    rng = np.random.default_rng(0)
    genotype = SPACE.encode(NAS_FPN)
    words = SPACE.words(genotype)
    assert "out 5 by attention" in words
    assert "out 5 and in 5" in words
    assert words.count("between 4 of in 4") == 2

    def share(other: tuple[str, ...]) -> float:
        return len(set(words) & set(other)) / len(set(words) | set(other))

    near = [share(SPACE.words(SPACE.mutate(genotype, rng))) for _ in range(50)]
    far = [share(SPACE.words(SPACE.sample(rng))) for _ in range(50)]
    assert np.mean(near) > 2 * np.mean(far)


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("nasfpn(merges=4)", "merges"),
        ("nasfpn(merges=13)", "merges"),
        ("nasfpn(combines=max)", "unknown 'max' in combines; known: sum, attention"),
        ("nasfpn(combines=sum+sum)", "none twice"),
    ],
)
def test_options_that_cannot_be_are_refused(spelling: str, words: str) -> None:
    with pytest.raises(GenotypeError, match=words):
        build_space(spelling)


def test_a_pyramid_of_another_space_is_refused() -> None:
    with pytest.raises(GenotypeError, match="has 6 cells, not 7"):
        NASFPNSpace(merges=6).encode(NAS_FPN)
    with pytest.raises(GenotypeError, match="cell 0 is of combination attention, and"):
        NASFPNSpace(combines=("sum",)).encode(NAS_FPN)
    twice = Pyramid((Merge(4, "sum", (1, 1)), *NAS_FPN.merges[1:]))
    with pytest.raises(GenotypeError, match="reads feature 1 twice"):
        SPACE.encode(twice)
