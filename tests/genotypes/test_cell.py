"""Cells: what cannot exist is refused in one line, and JSON comes back as it went."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.genotype import GenotypeError
from genotypes.zoo import NASNET_A

ADD = Block(Edge(0, "identity"), Edge(1, "conv_1x1"))


def test_the_output_is_every_created_state_that_no_block_reads() -> None:
    cell = Cell.join_leaves([ADD, Block(Edge(2, "identity"), Edge(0, "identity")), ADD])
    assert cell.output == (3, 4)


def test_a_published_pair_comes_back_from_json_as_it_went() -> None:
    assert CellPair.from_json(json.loads(json.dumps(NASNET_A.to_json()))) == NASNET_A


def test_json_without_an_output_puts_out_what_no_block_reads() -> None:
    record = NASNET_A.normal.to_json()
    del record["output"]
    assert Cell.from_json(record).output == (2, 3, 4, 5, 6)


def test_nasnet_a_puts_out_states_that_blocks_read() -> None:
    assert NASNET_A.normal.output == (1, 2, 3, 4, 5, 6)
    assert NASNET_A.reduction.output == (3, 4, 5, 6)


def test_a_cell_reads_as_one_line_a_block() -> None:
    assert str(Cell.join_leaves([ADD])) == "2 = add(identity(0), conv_1x1(1))\noutput 2"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cell((), (0,)), "at least one block"),
        (lambda: Cell((Block(Edge(2, "identity"), Edge(0, "identity")),), (2,)), "only the states 0 to 1 exist"),
        (lambda: Cell((ADD,), ()), "at least one hidden state"),
        (lambda: Cell((ADD,), (3,)), "the cell has 0 to 2"),
        (lambda: Cell((ADD, ADD), (3, 2)), "must ascend without repeats"),
        (lambda: Cell((ADD,), (2, 2)), "must ascend without repeats"),
        (lambda: Edge(-1, "identity"), "at least 0"),
        (lambda: Edge(True, "identity"), "an integer"),
        (lambda: Edge(0, "not a word"), "a word such as"),
        (lambda: Edge(0, 3), "a word such as"),  # type: ignore[arg-type]
        (lambda: Block(Edge(0, "identity"), Edge(0, "identity"), "add\n"), "a word such as 'add'"),
    ],
)
def test_what_cannot_exist_is_refused(build: Any, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "a cell pair in JSON is"),
        ([], "a cell pair in JSON is"),
        ({"normal": {}}, "a cell pair in JSON is"),
        ({"normal": {}, "reduction": {}}, "normal cell: a cell in JSON is"),
        ({"normal": NASNET_A.normal.to_json(), "reduction": {"blocks": 3}}, "reduction cell: .* list of blocks"),
        ({"normal": {"blocks": [{"left": [0, "identity"]}]}, "reduction": {}}, "normal cell: block 0 must be"),
        ({"normal": {"blocks": [{"left": [0], "right": [0, "a"]}]}, "reduction": {}}, "block 0 must be"),
        ({"normal": {"blocks": [{"left": [0, "a"], "right": ["0", "a"]}]}, "reduction": {}}, "an integer"),
        ({"normal": {"blocks": [], "output": "x"}, "reduction": {}}, "list of hidden states"),
    ],
)
def test_json_of_another_shape_is_refused(record: object, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as caught:
        CellPair.from_json(record)
    assert "\n" not in str(caught.value)
