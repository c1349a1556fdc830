from __future__ import annotations

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype, GenotypeError
from genotypes.spaces.widths import WidthsSpace
from genotypes.widths import Widths

SEED = {"conv1": 16, "blocks.0.conv1": 3, "trunk": 40}
SPACE = WidthsSpace.of("resnet:8", SEED)


def test_a_group_has_a_width_for_each_step_of_its_grid_and_one() -> None:
    assert [decision.name for decision in SPACE.decisions] == list(SEED)
    assert SPACE.grids[0] == tuple(range(1, 33))
    assert SPACE.grids[1] == (1, 2, 3, 4, 5, 6), "steps of less than a channel are one"
    assert SPACE.grids[2][:4] == (1, 2, 5, 8)
    assert SPACE.grids[2][-1] == 80
    assert WidthsSpace.of("resnet:8", SEED, steps=2, largest=1.0).grids == ((1, 8, 16), (1, 2, 3), (1, 20, 40))


def test_what_a_genotype_decodes_to_can_be_read_back() -> None:
    genotype = SPACE.nearest((8, 3, 50))
    decoded = SPACE.decode(genotype)
    assert decoded == Widths("resnet:8", {"conv1": 8, "blocks.0.conv1": 3, "trunk": 50}, SEED)
    assert Widths.from_json(SPACE.readable(genotype)) == decoded
    assert SPACE.parse(str(genotype)) == genotype == Genotype.from_json(genotype.to_json())
    assert SPACE.key(genotype) != SPACE.key(SPACE.nearest((8, 3, 52)))


def test_the_nearest_widths_grow_with_the_wanted_ones_and_stay_in_the_grid() -> None:
    grid = SPACE.grids[2]
    found = [SPACE.widths(SPACE.nearest((1, 1, width)))[2] for width in range(1, 200)]
    assert found == sorted(found)
    assert set(found) <= set(grid)
    for width, near in zip(range(1, 200), found, strict=True):
        assert abs(near - width) == min(abs(other - width) for other in grid)


def test_samples_cover_all_costs_and_mutants_are_near() -> None:
    rng = np.random.default_rng(0)
    wide = WidthsSpace.of("resnet:8", {str(group): 32 for group in range(30)})
    shares = []
    for _ in range(300):
        genotype = wide.sample(rng)
        wide.check(genotype)
        shares.append(np.mean(wide.widths(genotype)) / 32)
        mutant = wide.mutate(genotype, rng)
        wide.check(mutant)
        changed = [abs(a - b) for a, b in zip(genotype.choices, mutant.choices, strict=True) if a != b]
        assert len(changed) == 1
        assert changed[0] <= 4
    assert np.quantile(shares, 0.1) < 0.4
    assert np.quantile(shares, 0.9) > 1.5, "independent draws would all lie near one"
    small = WidthsSpace.of("resnet:8", {"a": 1}, largest=1.0)
    assert small.mutate(small.nearest((1,)), rng) == small.nearest((1,)), "there is no other"


def test_neighbours_are_a_step_away() -> None:
    genotype = SPACE.nearest((16, 1, 80))
    found = {SPACE.widths(neighbour) for neighbour in SPACE.neighbours(genotype)}
    assert found == {(15, 1, 80), (17, 1, 80), (16, 2, 80), (16, 1, 78)}


def test_near_widths_share_their_words() -> None:
    near, far = (set(SPACE.words(SPACE.nearest(widths))) for widths in ((16, 3, 42), (4, 1, 10)))
    assert far < near == set(SPACE.words(SPACE.nearest((16, 3, 40))))


def test_the_spelling_leaves_the_groups_out_and_a_space_without_them_says_why_it_has_no_genotypes() -> None:
    assert SPACE.spelling == "widths(network=resnet:8)"
    again = build_space(SPACE.spelling)
    assert again.spelling == SPACE.spelling
    for use in (lambda: again.decisions, lambda: again.sample(np.random.default_rng(0)), lambda: again.size):
        with pytest.raises(GenotypeError, match="only a run folder and the evaluator widths know them"):
            use()


@pytest.mark.parametrize("group", ["conv1", "=3", "conv1=0", "conv1=-1", "conv1=many", "conv1=1e3", "conv1=9999999"])
def test_a_group_is_a_name_and_a_width(group: str) -> None:
    with pytest.raises(ValueError, match="a group is NAME=WIDTH"):
        WidthsSpace("resnet:8", (group,))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "widths in JSON are"),
        ({"network": "a:b", "widths": {"a": 1}}, "widths in JSON are"),
        ({"network": "", "widths": {"a": 1}, "seed": {"a": 1}}, "need the name of their network"),
        ({"network": "a:b", "widths": [], "seed": {}}, "must give a width for each group"),
        ({"network": "a:b", "widths": {}, "seed": {}}, "different groups, or none"),
        ({"network": "a:b", "widths": {"a": 1}, "seed": {"b": 1}}, "different groups, or none"),
        ({"network": "a:b", "widths": {"a": 0}, "seed": {"a": 1}}, "from 1 to"),
        ({"network": "a:b", "widths": {"a": True}, "seed": {"a": 1}}, "from 1 to"),
        ({"network": "a:b", "widths": {"a": 1.5}, "seed": {"a": 1}}, "from 1 to"),
    ],
)
def test_widths_that_cannot_be_are_refused(record: object, words: str) -> None:
    with pytest.raises(GenotypeError, match=words):
        Widths.from_json(record)
