"""The AmoebaNet space: eight operations that are only added, and the mutation of Real et al. 2018 on it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.spaces.amoebanet import PAPER_OPS, AmoebaNetSpace
from genotypes.zoo import AMOEBANET_A, AMOEBANET_B, AMOEBANET_C, AMOEBANET_D


def test_the_size_is_the_published_one() -> None:
    space = AmoebaNetSpace()
    # prod (b + 1)^2 over blocks, 8 operations on each side, for each of two cells (Real et al. 2018, section 3.1)
    one_cell = (2 * 3 * 4 * 5 * 6) ** 2 * 8**10
    assert space.size == one_cell**2
    assert f"{one_cell:.3e}" == "5.566e+14"
    assert len(space.decisions) == 40
    assert len(set(PAPER_OPS)) == 8


def test_results_are_added_and_cells_are_amoebanets() -> None:
    space, rng = AmoebaNetSpace(), np.random.default_rng(0)
    for _ in range(50):
        pair = space.decode(space.sample(rng))
        assert isinstance(pair, CellPair)
        assert pair.stacking == "amoebanet"
        assert {block.combine for cell in (pair.normal, pair.reduction) for block in cell.blocks} == {"add"}
        for cell in (pair.normal, pair.reduction):
            read = {edge.source for block in cell.blocks for edge in block.edges}
            assert set(cell.output) == set(range(2, 7)) - read, "unused states are put out"


def test_a_choice_means_what_its_decision_says() -> None:
    space = AmoebaNetSpace(blocks=2)
    assert [decision.name.partition("/")[2] for decision in space.decisions[:4]] == [
        *("block0/hidden_1", "block0/hidden_2", "block0/op_1", "block0/op_2"),
    ]
    pair = space.decode(space.genotype([1, 0, 1, 7, 2, 0, 6, 0, 0, 0, 0, 0, 1, 1, 4, 5]))
    assert str(pair.normal) == (
        "2 = add(sep_conv_3x3(1), conv_1x7_7x1(0))\n3 = add(dil_sep_conv_3x3(2), identity(0))\noutput 3"
    )
    assert str(pair.reduction) == (
        "2 = add(identity(0), identity(0))\n3 = add(avg_pool_3x3(1), max_pool_3x3(1))\noutput 2, 3"
    )


def test_the_published_cells_can_be_written_in_the_space_with_more_operations() -> None:
    space = AmoebaNetSpace(ops=(*PAPER_OPS, "conv_1x1", "conv_3x3", "max_pool_2x2"))
    assert build_space(space.spelling) == space
    for pair in (AMOEBANET_A, AMOEBANET_B, AMOEBANET_C, AMOEBANET_D):
        choices: list[int] = []
        for cell in (pair.normal, pair.reduction):
            for block in cell.blocks:
                choices += [edge.source for edge in block.edges] + [space.ops.index(edge.op) for edge in block.edges]
        decoded = space.decode(space.genotype(choices))
        # The blocks; what is put out is the released network's own list.
        assert (decoded.normal.blocks, decoded.reduction.blocks) == (pair.normal.blocks, pair.reduction.blocks)


def test_mutations_have_the_published_probabilities() -> None:
    space, rng, n = AmoebaNetSpace(), np.random.default_rng(0), 10_000
    kinds: Counter[str] = Counter()
    for _ in range(n):
        parent = space.sample(rng)
        child = space.mutate(parent, rng)
        changed = [i for i, (a, b) in enumerate(zip(parent.choices, child.choices, strict=True)) if a != b]
        kinds["hidden" if changed and changed[0] % 4 < 2 else "op" if changed else "none"] += 1
    # An operation is drawn from all 8 and may come out the same: then nothing changes.
    for kind, share in {"none": 0.05 + 0.475 / 8, "hidden": 0.475, "op": 0.475 * 7 / 8}.items():
        assert abs(kinds[kind] / n - share) < 4 * (share * (1 - share) / n) ** 0.5, kind
