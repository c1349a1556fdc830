"""Drawings of chains of blocks, their place in a report, and their operations."""

from __future__ import annotations

import json

from analysis.cells.chains import chain_dot, chains_figure
from analysis.cells.designs import read_chain
from analysis.cells.drift import _counts_of_text
from analysis.report.page import draw_network
from genotypes.chain import BLOCKS, Chain, ChainSize
from genotypes.zoo import CHAINS

CHAIN = CHAINS["detnas-coco-fpn-300m"]


def test_a_block_is_a_box_as_high_as_its_kernel() -> None:
    small = Chain(("shuffle_7x7", "xception_3x3"), ChainSize((1, 1), (64, 160)))
    figure = chains_figure([("a", "", CHAIN), ("b", "12.00 %", small)])
    one, other = figure.axes
    assert [box.get_height() for box in other.patches] == [3, 7, 3]
    assert [box.get_height() for box in one.patches[1:5]] == [7, 5, 7, 3]
    assert len(one.patches) == 21
    assert [text.get_text() for text in other.texts] == [
        "stem\n16\n1/2",
        "stage 1\n64\n1/4",
        "7",
        "stage 2\n160\n1/8",
        "X3",
    ]
    assert len({box.get_facecolor() for box in one.patches}) == len(BLOCKS) + 1
    assert chains_figure([("a", "", CHAIN)], width=4.0).get_size_inches()[0] == 4.0


def test_a_graph_has_an_edge_per_block() -> None:
    text = chain_dot(CHAIN)
    assert text.count("->") == 20
    assert text.count("subgraph") == 4


def test_its_blocks_are_its_operations() -> None:
    counts = _counts_of_text(json.dumps(CHAIN.to_json()))
    assert counts == {("cell", block): CHAIN.blocks.count(block) for block in BLOCKS}


def test_a_report_shows_the_chain_and_its_table() -> None:
    entry = {"run": "r", "id": 3, "group": "genetic", "fitness": 0.2, "genotype": "detnas:0"}
    shown = draw_network({**entry, "cell": json.dumps(CHAIN.to_json())})
    assert [drawn["name"] for drawn in shown["cells"]] == ["chain of blocks"]
    assert shown["lines"] == list(CHAIN.lines())
    assert read_chain("{}") is read_chain("no json") is read_chain(None) is None
