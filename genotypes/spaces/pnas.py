"""The PNAS search space (Liu et al. 2017, section 3): one cell of B blocks, used at stride 1 and at stride 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from genotypes.genotype import Genotype
from genotypes.spaces.blocks import BlockSpace

PAPER_OPS: Final = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "identity",
    "avg_pool_3x3",
    "max_pool_3x3",
    "dil_conv_3x3",
    "conv_1x7_7x1",
)
"""The eight operations of the paper (section 3.1)."""


@dataclass(frozen=True)
class PNASSpace(BlockSpace):
    """One cell; four decisions per block: two hidden states, two operations, added.

    See :class:`genotypes.spaces.blocks.BlockSpace`. In the paper's names a block is I1, I2, O1, O2; the combination is
    left out, because concatenation was never chosen. The cell is decoded as a pair of twice the same cell: at stride 2
    it is the reduction cell.

    ``blocks`` is B, at least 1; ``ops`` are names of :data:`genotypes.operations.OPERATIONS`.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "pnas"
    cells: ClassVar[tuple[str, ...]] = ("cell",)
    stacking: ClassVar[str] = "pnasnet"

    ops: tuple[str, ...] = PAPER_OPS

    def key(self, genotype: Genotype) -> str:
        """Return a text that is equal exactly for isomorphic cells; see :meth:`Cell.canonical`."""
        return super().key(genotype).partition(" | ")[0]
