"""The published cells against the tables of the released code, written out once more."""

from __future__ import annotations

import pytest

from genotypes.cell import Cell, CellPair
from genotypes.genotype import GenotypeError
from genotypes.operations import OPERATIONS
from genotypes.spaces.amoebanet import AmoebaNetSpace
from genotypes.spaces.darts import DARTSSpace
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.stacking import STACKINGS
from genotypes.zoo import CELLS

NAMES = {
    "identity": "id",
    "skip_connect": "id",
    "avg_pool_3x3": "avg3",
    "max_pool_2x2": "max2",
    "max_pool_3x3": "max3",
    "sep_conv_3x3": "sep3",
    "sep_conv_5x5": "sep5",
    "sep_conv_7x7": "sep7",
    "dil_sep_conv_3x3": "dil3",
    "conv_1x1": "c1",
    "conv_3x3": "c3",
    "conv_1x7_7x1": "c17",
}

# Name -> for each cell a line per block, and the states that are put out; state 0 is h_i, state 1 is h_{i-1}.
TABLES: dict[str, tuple[tuple[list[str], list[int]], tuple[list[str], list[int]]]] = {
    # tensorflow/models, research/slim/nets/nasnet/nasnet_utils.py
    "nasnet-a": (
        (
            ["sep5(0) sep3(1)", "sep5(1) sep3(1)", "avg3(0) id(1)", "avg3(1) avg3(1)", "sep3(0) id(0)"],
            [1, 2, 3, 4, 5, 6],
        ),
        (
            ["sep5(0) sep7(1)", "max3(0) sep7(1)", "avg3(0) sep5(1)", "id(3) avg3(2)", "sep3(2) max3(0)"],
            [3, 4, 5, 6],
        ),
    ),
    # tensorflow/tpu, models/official/amoeba_net/model_specs.py
    "amoebanet-a": (
        (
            ["avg3(0) max3(0)", "sep3(1) id(1)", "id(0) avg3(1)", "sep3(0) sep5(2)", "avg3(5) sep3(0)"],
            [1, 3, 4, 6],
        ),
        (
            ["sep3(1) avg3(0)", "max3(0) sep7(2)", "max3(1) max3(0)", "sep3(4) c17(0)", "avg3(1) sep7(0)"],
            [2, 3, 4, 5, 6],
        ),
    ),
    "amoebanet-b": (
        (["c1(1) max3(1)", "id(1) sep3(0)", "c1(1) sep3(0)", "c1(2) id(2)", "avg3(1) c1(5)"], [0, 3, 4, 6]),
        (["max2(0) max3(0)", "id(2) c3(1)", "sep5(2) max3(2)", "id(3) sep3(1)", "avg3(4) c1(3)"], [5, 6]),
    ),
    "amoebanet-c": (
        (
            ["avg3(0) sep3(0)", "id(0) sep3(0)", "avg3(2) sep3(1)", "id(0) sep3(1)", "avg3(3) sep3(0)"],
            [1, 2, 4, 5, 6],
        ),
        (
            ["max3(0) max3(0)", "sep7(2) sep3(0)", "sep7(0) max3(1)", "sep5(4) sep5(4)", "max3(1) sep3(1)"],
            [0, 2, 3, 4, 5, 6],
        ),
    ),
    "amoebanet-d": (
        (["c1(1) max3(1)", "id(1) c17(0)", "c1(0) c17(0)", "max3(2) id(2)", "avg3(1) c1(5)"], [0, 3, 4, 6]),
        (["max2(0) max3(0)", "id(2) c3(1)", "c17(2) max3(2)", "id(3) max2(1)", "avg3(2) c1(3)"], [4, 5, 6]),
    ),
    # tensorflow/models, research/slim/nets/nasnet/pnasnet.py: one cell at both strides
    "pnasnet-5": (
        (
            ["sep5(1) max3(1)", "sep7(0) max3(0)", "sep5(0) sep3(0)", "sep3(4) max3(0)", "sep3(1) id(0)"],
            [2, 3, 4, 5, 6],
        ),
        (
            ["sep5(1) max3(1)", "sep7(0) max3(0)", "sep5(0) sep3(0)", "sep3(4) max3(0)", "sep3(1) id(0)"],
            [2, 3, 4, 5, 6],
        ),
    ),
}

# quark0/darts, cnn/genotypes.py, which calls h_{i-1} state 0 and h_i state 1, and lists the edges of a block.
DARTS_TABLES = {
    "darts-v1": (
        ["sep3(1) sep3(0)", "id(0) sep3(1)", "id(0) sep3(1)", "sep3(0) id(2)"],
        ["max3(0) max3(1)", "id(2) max3(0)", "max3(0) id(2)", "id(2) avg3(0)"],
    ),
    "darts-v2": (
        ["sep3(0) sep3(1)", "sep3(0) sep3(1)", "sep3(1) id(0)", "id(0) dil3(2)"],
        ["max3(0) max3(1)", "id(2) max3(1)", "max3(0) id(2)", "id(2) max3(1)"],
    ),
}


def cells_of(pair: CellPair) -> tuple[Cell, Cell]:
    return pair.normal, pair.reduction


def written(cell: Cell, number: dict[int, int]) -> list[str]:
    """Write the blocks as the tables do, inputs renumbered."""
    return [
        " ".join(f"{NAMES[edge.op]}({number.get(edge.source, edge.source)})" for edge in block.edges)
        for block in cell.blocks
    ]


def test_every_published_cell_has_a_table_here() -> None:
    assert list(CELLS) == [*TABLES, *DARTS_TABLES]


@pytest.mark.parametrize("name", TABLES)
def test_blocks_and_outputs_are_those_of_the_released_code(name: str) -> None:
    for cell, (blocks, output) in zip(cells_of(CELLS[name]), TABLES[name], strict=True):
        assert written(cell, {}) == blocks
        assert list(cell.output) == output
        assert {block.combine for block in cell.blocks} == {"add"}


@pytest.mark.parametrize("name", DARTS_TABLES)
def test_darts_has_the_cells_of_its_code_with_the_inputs_the_other_way_round(name: str) -> None:
    for cell, blocks in zip(cells_of(CELLS[name]), DARTS_TABLES[name], strict=True):
        # The two edges of a block are listed in no particular order.
        assert [sorted(line.split()) for line in written(cell, {0: 1, 1: 0})] == [
            sorted(line.split()) for line in blocks
        ]
        assert cell.output == (2, 3, 4, 5), "all created states"
        assert {block.combine for block in cell.blocks} == {"add"}


def test_identities_are_those_of_each_paper() -> None:
    for name, pair in CELLS.items():
        ops = {edge.op for cell in cells_of(pair) for block in cell.blocks for edge in block.edges}
        assert ops <= set(OPERATIONS)
        assert ("skip_connect" in ops) == name.startswith("darts"), "DARTS's halves by a factorized reduction"
        assert not ("identity" in ops and "skip_connect" in ops)


def test_each_cell_is_stacked_as_its_family() -> None:
    stackings = {name: pair.stacking for name, pair in CELLS.items()}
    assert stackings == {
        "nasnet-a": "nasnet",
        **{f"amoebanet-{letter}": "amoebanet" for letter in "abcd"},
        "pnasnet-5": "pnasnet",
        "darts-v1": "darts",
        "darts-v2": "darts",
    }
    assert set(stackings.values()) == set(STACKINGS)


@pytest.mark.parametrize("name", CELLS)
def test_a_pair_of_the_zoo_survives_json(name: str) -> None:
    assert CellPair.from_json(CELLS[name].to_json()) == CELLS[name]


def test_only_pairs_that_are_not_nasnets_name_their_stacking_in_json() -> None:
    assert "stacking" not in CELLS["nasnet-a"].to_json()
    assert CELLS["pnasnet-5"].to_json()["stacking"] == "pnasnet"


def test_an_unknown_stacking_is_refused() -> None:
    pair = CELLS["nasnet-a"]
    with pytest.raises(GenotypeError, match="no stacking 'resnet'; there are: nasnet, amoebanet, pnasnet, darts"):
        CellPair(pair.normal, pair.reduction, "resnet")
    with pytest.raises(GenotypeError, match=r'"stacking" must be a name, not 3'):
        CellPair.from_json({**pair.to_json(), "stacking": 3})


@pytest.mark.parametrize("name", CELLS)
def test_operations_of_a_cell_are_in_the_space_that_it_was_found_in(name: str) -> None:
    space_ops = {
        "nasnet": NASNetSpace().ops,
        # AmoebaNet-B and D come from a larger space (section 3.1 and supplement).
        "amoebanet": (*AmoebaNetSpace().ops, "conv_1x1", "conv_3x3", "max_pool_2x2"),
        "pnasnet": ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "identity", "max_pool_3x3"),
        "darts": DARTSSpace().ops,
    }[CELLS[name].stacking]
    for cell in cells_of(CELLS[name]):
        assert {edge.op for block in cell.blocks for edge in block.edges} <= set(space_ops)
