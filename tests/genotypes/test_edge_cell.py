"""Cells with an operation on each edge: their strings, their live edges, their JSON form."""

from __future__ import annotations

import pytest

from genotypes.edge_cell import EdgeCell
from genotypes.genotype import GenotypeError

TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|none~2|"


def test_an_edge_is_live_if_it_is_on_a_path_without_none() -> None:
    cell = EdgeCell.parse(TEXT)
    assert cell.architecture == str(cell) == TEXT
    assert cell.edges() == (
        (1, 0, "avg_pool_3x3"),
        (2, 0, "nor_conv_1x1"),
        (2, 1, "skip_connect"),
        (3, 1, "nor_conv_3x3"),
    )
    assert cell.live_paths() == ((0, 4),)
    assert cell.edges(live_only=True) == ((1, 0, "avg_pool_3x3"), (3, 1, "nor_conv_3x3"))
    assert EdgeCell(("none",) * 6).edges() == ()


def test_json_is_read_back_and_may_leave_the_edges_out() -> None:
    cell = EdgeCell.parse(TEXT)
    assert EdgeCell.from_json(cell.to_json()) == EdgeCell.from_json({"architecture": TEXT}) == cell


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "in JSON is"),
        ({"architecture": 3}, "in JSON is"),
        ({"architecture": "64:64"}, "is no architecture"),
        ({"architecture": TEXT.replace("none", "nothing")}, "edge 3<-0 has the unknown operation 'nothing'"),
        ({"architecture": TEXT, "1<-0": "none"}, "do not agree"),
    ],
)
def test_what_is_no_cell_is_refused(record: object, words: str) -> None:
    with pytest.raises(GenotypeError, match=words):
        EdgeCell.from_json(record)
    with pytest.raises(GenotypeError, match="has 6 edges, not 2"):
        EdgeCell(("none", "none"))
