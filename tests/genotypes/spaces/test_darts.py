"""The DARTS space: pairs of different states, all of whose results are put out."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np

from genotypes.cell import Cell, CellPair
from genotypes.spaces.darts import PAPER_OPS, DARTSSpace
from genotypes.zoo import DARTS_V1, DARTS_V2


def test_the_size_is_what_the_derived_cells_count() -> None:
    space = DARTSSpace()
    # k (k - 1) / 2 pairs of k = 2, 3, 4, 5 states, 7 operations on each side, for each of two cells
    # (Liu et al. 2018, section 4.1 and appendix: about 10^9 cells, 10^18 pairs).
    one_cell = 1 * 3 * 6 * 10 * (7**2) ** 4
    assert space.size == one_cell**2
    assert f"{space.size:.0e}" == "1e+18"
    assert len(space.decisions) == 24
    assert len(set(PAPER_OPS)) == 7


def test_a_block_reads_two_different_states() -> None:
    space, rng = DARTSSpace(blocks=6), np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        pair = space.decode(space.sample(rng))
        assert isinstance(pair, CellPair)
        assert pair.stacking == "darts"
        for cell in (pair.normal, pair.reduction):
            assert cell.output == tuple(range(2, 8))
            for index, block in enumerate(cell.blocks):
                assert block.combine == "add"
                assert block.left.source < block.right.source < index + 2
                seen.add((index, block.left.source, block.right.source))
    every = {(index, a, b) for index in range(6) for a, b in product(range(index + 2), repeat=2) if a < b}
    assert seen == every


def test_a_pair_is_decoded_as_its_option_reads() -> None:
    space = DARTSSpace()
    hidden = space.decisions[9]
    assert hidden.name == "normal/block3/hidden"
    assert len(set(hidden.options)) == len(hidden.options) == 10
    for choice, option in enumerate(hidden.options):
        choices = [0] * 24
        choices[9:12] = [choice, 3, 5]
        block = space.decode(space.genotype(choices)).normal.blocks[3]
        assert f"{block.left.source}+{block.right.source}" == option
        assert (block.left.op, block.right.op) == ("sep_conv_3x3", "dil_sep_conv_3x3")


def test_options_of_a_block_begin_with_those_of_the_block_before() -> None:
    decisions = DARTSSpace().decisions
    for block in range(1, 4):
        before, now = decisions[3 * block - 3].options, decisions[3 * block].options
        assert now[: len(before)] == before


def test_the_published_cells_are_in_the_space() -> None:
    space = DARTSSpace()
    for pair in (DARTS_V1, DARTS_V2):
        choices: list[int] = []
        for cell in (pair.normal, pair.reduction):
            for index, block in enumerate(cell.blocks):
                left, right = sorted(block.edges, key=lambda edge: edge.source)
                pairs = space.decisions[3 * index].options
                choices += [pairs.index(f"{left.source}+{right.source}")]
                choices += [space.ops.index(left.op), space.ops.index(right.op)]
        assert space.decode(space.genotype(choices)).canonical() == pair.canonical()


def test_all_states_are_live_even_if_they_are_read() -> None:
    space = DARTSSpace(blocks=2, ops=("skip_connect", "sep_conv_3x3"))
    genotypes = [space.genotype(choices) for choices in product(*(range(len(d.options)) for d in space.decisions))]
    assert len(genotypes) == space.size == (3 * 2**4) ** 2
    keys: Counter[str] = Counter(space.key(genotype) for genotype in genotypes)
    # Two cells are one where both blocks read the inputs and stand in either order: of the 48 spellings 4 * 4 have two
    # blocks of the inputs, and of these 4 * 3 / 2 pairs are one cell.
    assert len(keys) == (48 - 6) ** 2


def test_words_count_every_block_and_name_what_it_reads() -> None:
    space = DARTSSpace(blocks=2)
    genotype = space.genotype([0, 3, 4, 1, 0, 2] + [0] * 6)
    assert str(space.decode(genotype).normal) == (
        "2 = add(sep_conv_3x3(0), sep_conv_5x5(1))\n3 = add(max_pool_3x3(0), skip_connect(2))\noutput 2, 3"
    )
    assert sorted(word for word in space.words(genotype) if word.startswith("normal")) == sorted(
        [
            *("normal sep_conv_3x3", "normal sep_conv_3x3 of input 0"),
            *("normal sep_conv_5x5", "normal sep_conv_5x5 of input 1"),
            *("normal max_pool_3x3", "normal max_pool_3x3 of input 0"),
            *("normal skip_connect", "normal skip_connect of add(sep_conv_3x3, sep_conv_5x5)"),
        ]
    )


def test_a_mutation_changes_one_decision_each_as_likely() -> None:
    space, rng, n = DARTSSpace(), np.random.default_rng(0), 11_000
    positions: Counter[int] = Counter()
    for _ in range(n):
        parent = space.sample(rng)
        child = space.mutate(parent, rng)
        (changed,) = [i for i, (a, b) in enumerate(zip(parent.choices, child.choices, strict=True)) if a != b]
        positions[changed] += 1
    # The first block of each cell has no choice of states.
    assert set(positions) == set(range(24)) - {0, 12}
    assert max(abs(count - n / 22) for count in positions.values()) < 5 * (n / 22) ** 0.5


def test_growing_gives_every_pair_and_every_operation() -> None:
    space = DARTSSpace()
    genotype, counts = None, []
    for _ in range(4):
        children = list(space.grown(genotype))
        counts.append(len(children))
        genotype = children[len(children) // 2]
    assert counts == [49, 3 * 49, 6 * 49, 10 * 49]
    assert list(space.grown(genotype)) == []


def test_created_puts_out_states_that_are_read() -> None:
    cell = DARTS_V2.normal
    assert Cell.join_all(cell.blocks) == cell
    assert Cell.join_leaves(cell.blocks) != cell
