"""Spaces that grow: the numbers of the PNAS paper, and the laws of levels for every growing space of the catalogue."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.catalogue import SPACES, build_space
from genotypes.cell import CellPair
from genotypes.genotype import Genotype, GenotypeError
from genotypes.operations import OPERATIONS
from genotypes.spaces.growing import GrowingSpace
from genotypes.spaces.pnas import PAPER_OPS, PNASSpace

GROWING = [name for name in SPACES if isinstance(build_space(name), GrowingSpace)]
SPELLINGS = [*GROWING, "nasnet(blocks=3,ops=identity+conv_1x1,combines=add)", "pnas(blocks=7)"]


@pytest.fixture(params=SPELLINGS)
def space(request: pytest.FixtureRequest) -> GrowingSpace:
    space = build_space(request.param)
    assert isinstance(space, GrowingSpace)
    return space


def grow(space: GrowingSpace, blocks: int, rng: np.random.Generator) -> Genotype:
    """Grow a random genotype of so many blocks, the same in all cells."""
    genotype = None
    for level in range(1, blocks + 1):
        sizes = [len(decision.options) for decision in space.last_block(level)]
        genotype = space.grow(genotype, [int(choice) for choice in rng.integers(sizes)])
    assert genotype is not None
    return genotype


def test_every_space_of_cells_grows() -> None:
    assert GROWING == ["nasnet", "amoebanet", "pnas", "darts"]


def test_the_size_is_the_published_one() -> None:
    # prod over blocks of (b + 1)^2 * 8^2 (Liu et al. 2017, section 3.1)
    assert f"{PNASSpace().size:.3e}" == "5.566e+14"
    assert len(PNASSpace().decisions) == 20
    assert len(PAPER_OPS) == 8
    assert set(PAPER_OPS) < set(OPERATIONS)


def test_block_b_has_the_published_number_of_structures() -> None:
    space, genotype, counts = PNASSpace(), None, []
    for _ in range(5):
        children = list(space.grown(genotype))
        counts.append(len(children))
        genotype = children[len(children) // 3]
    assert counts == [256, 576, 1024, 1600, 2304]
    assert list(space.grown(genotype)) == []


def test_136_cells_of_one_block_differ() -> None:
    space = PNASSpace()
    cells = list(space.grown(None))
    assert len({space.key(cell) for cell in cells}) == 136
    first_spellings = {space.key(cell) for cell in cells if space.in_order(cell.choices)}
    assert len(first_spellings) == 136 == sum(space.in_order(cell.choices) for cell in cells)


def test_one_cell_is_used_at_both_strides() -> None:
    space = PNASSpace()
    pair = space.decode(space.sample(np.random.default_rng(0)))
    assert isinstance(pair, CellPair)
    assert pair.normal is pair.reduction
    assert {block.combine for block in pair.normal.blocks} == {"add"}
    assert space.key(space.sample(np.random.default_rng(0))) == pair.normal.canonical()


def test_growing_gives_every_way_to_choose_one_block_more(space: GrowingSpace) -> None:
    rng = np.random.default_rng(0)
    for blocks in (0, 1):
        parent = grow(space, blocks, rng) if blocks else None
        sizes = [len(decision.options) for decision in space.last_block(blocks + 1)]
        children = list(space.grown(parent))
        width, cells = len(sizes), len(space.cells)
        assert [child.choices[blocks * width :][:width] for child in children] == list(product(*map(range, sizes)))
        for child in children[:: len(children) // 50 + 1]:
            space.at(blocks + 1).check(child)
            # Tied: what grew is the same in every cell, behind what was there.
            own = np.reshape(child.choices, (cells, blocks + 1, width))
            assert (own[:, -1] == own[0, -1]).all()
            assert parent is None or own[:, :-1].ravel().tolist() == list(parent.choices)


def test_growing_step_by_step_reaches_every_whole_genotype_with_tied_cells() -> None:
    space = build_space("nasnet(blocks=2,ops=identity+conv_1x1,combines=add)")
    assert isinstance(space, GrowingSpace)
    whole = {child for first in space.grown(None) for child in space.grown(first)}
    assert len(whole) == 2**2 * 2**2 * 3**2 * 2**2
    assert all(genotype.choices[:10] == genotype.choices[10:] for genotype in whole)


def test_two_spellings_of_a_block_mean_the_same_and_one_is_kept(space: GrowingSpace) -> None:
    rng = np.random.default_rng(1)
    parent = grow(space, space.blocks - 1, rng)
    sizes = [len(decision.options) for decision in space.last_block(space.blocks)]
    if len(sizes) < 4:  # the pair of hidden states is one decision, with its order given
        blocks = [[int(choice) for choice in rng.integers(sizes)] for _ in range(30)]
        assert all(space.in_order(block) for block in blocks)
        assert len({space.key(space.grow(parent, block)) for block in blocks}) == len(set(map(tuple, blocks)))
        return
    for _ in range(30):
        block = [int(choice) for choice in rng.integers(sizes)]
        swapped = [block[1], block[0], block[3], block[2], *block[4:]]
        assert space.key(space.grow(parent, block)) == space.key(space.grow(parent, swapped))
        assert space.in_order(block) + space.in_order(swapped) == 1 + (block == swapped)


def test_smaller_genotypes_are_read_by_the_space_above(space: GrowingSpace) -> None:
    rng = np.random.default_rng(2)
    for level in (*space.below, space):
        genotype = grow(space, level.blocks, rng)
        assert genotype.space == level.spelling
        assert space.level_of(genotype) == level == space.at(level.blocks) == build_space(level.spelling)
        assert space.parse(str(genotype)) == genotype
        pair = space.decode(genotype)
        assert len(pair.normal.blocks) == len(pair.reduction.blocks) == level.blocks
        assert pair.normal == pair.reduction
        assert space.key(genotype) == level.key(genotype)
        # A cell of the level above does not exist in the level below.
        if level.blocks > 1:
            with pytest.raises(GenotypeError, match="or a level below it"):
                space.at(level.blocks - 1).check(genotype)


def test_what_is_no_level_and_what_is_whole_is_refused(space: GrowingSpace) -> None:
    for blocks in (0, space.blocks + 1):
        with pytest.raises(ValueError, match=f"from 1 to {space.blocks} blocks, not {blocks}"):
            space.at(blocks)
    whole = space.sample(np.random.default_rng(0))
    with pytest.raises(GenotypeError, match="whole and cannot grow"):
        space.grow(whole, (0, 0, 0, 0, 0))
    small = next(space.grown(None))
    with pytest.raises(GenotypeError, match=r"choice 0 \(.*\) is 99"):
        space.check(Genotype(small.space, (99, *small.choices[1:])))
    with pytest.raises(GenotypeError, match="choices, not"):
        space.check(Genotype(small.space, (*small.choices, 0)))


def test_cells_of_different_sizes_are_different_networks(space: GrowingSpace) -> None:
    rng = np.random.default_rng(3)
    keys = [{space.key(grow(space, level.blocks, rng)) for _ in range(20)} for level in (*space.below, space)]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_in_the_toy_landscape_growing_pays(space: GrowingSpace) -> None:
    toy = ToyEvaluator(noise=0)
    toy.bind(space)
    genotype = None
    for level in (*space.below, space):
        # The last option everywhere.
        genotype = space.grow(genotype, [len(decision.options) - 1 for decision in space.last_block(level.blocks)])
        made, whole = (sum(len(d.options) > 1 for d in one.decisions) for one in (level, space))
        assert toy.truth(genotype) == pytest.approx(made / whole)
    assert toy.truth(genotype) == 1.0


def test_networks_of_smaller_cells_are_built_and_counted(space: GrowingSpace) -> None:
    from evo_nas.commands.cell_sources import find_cells
    from evo_nas.commands.count import count
    from evo_nas.evaluators.base import Placement
    from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator

    genotype = grow(space, 2, np.random.default_rng(4))
    size = {"cells_per_stack": 1, "filters": 4, "stem": None}
    source = find_cells(str(genotype), None)
    counted = count(source, size=None, macro="cifar", image=8, classes=10, channels=1, **size)
    proxy = ProxyEvaluator(dataset="digits", filters=4, cells_per_stack=1, image_size=8)
    proxy.bind(space, Placement(device="cpu"))
    proxy._classes = 10  # what prepare() reads from the images
    assert proxy.cost(genotype).parameters == counted["parameters"] > 0
