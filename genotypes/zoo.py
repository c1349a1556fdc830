"""The published cells, as pairs with the output lists of their released networks."""

from __future__ import annotations

from typing import Final

from genotypes.cell import Block, Cell, CellPair, Edge


def _add(left_op: str, left: int, right_op: str, right: int) -> Block:
    """Write a block that adds, in the papers' way: operation, then state."""
    return Block(Edge(left, left_op), Edge(right, right_op))


NASNET_A: Final = CellPair(
    # The released networks put out h_{i-1} (state 1) although blocks read it: 6F channels, not 5F.
    normal=Cell(
        (
            _add("sep_conv_5x5", 0, "sep_conv_3x3", 1),
            _add("sep_conv_5x5", 1, "sep_conv_3x3", 1),
            _add("avg_pool_3x3", 0, "identity", 1),
            _add("avg_pool_3x3", 1, "avg_pool_3x3", 1),
            _add("sep_conv_3x3", 0, "identity", 0),
        ),
        output=(1, 2, 3, 4, 5, 6),
    ),
    # State 3 is put out too, although block 3 reads it: 4F channels.
    reduction=Cell(
        (
            _add("sep_conv_5x5", 0, "sep_conv_7x7", 1),
            _add("max_pool_3x3", 0, "sep_conv_7x7", 1),
            _add("avg_pool_3x3", 0, "sep_conv_5x5", 1),
            _add("identity", 3, "avg_pool_3x3", 2),
            _add("sep_conv_3x3", 2, "max_pool_3x3", 0),
        ),
        output=(3, 4, 5, 6),
    ),
)
"""NASNet-A (Zoph et al. 2017, figure 4), outputs as in the released code (tensorflow/models, slim/nets/nasnet)."""

CELLS: Final[dict[str, CellPair]] = {"nasnet-a": NASNET_A}
"""Name, as ``--cell`` takes it -> the published pair of cells."""
