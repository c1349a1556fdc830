"""The AmoebaNet search space (Real et al. 2018, section 3.1): NASNet's, with eight operations that are only added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from genotypes.spaces.blocks import BlockSpace

PAPER_OPS: Final = (
    "identity",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "avg_pool_3x3",
    "max_pool_3x3",
    "dil_sep_conv_3x3",
    "conv_1x7_7x1",
)
"""The eight operations of the paper, in the paper's order (section 3.1)."""


@dataclass(frozen=True)
class AmoebaNetSpace(BlockSpace):
    """A normal and a reduction cell; four decisions per block: two hidden states, two operations, added.

    See :class:`genotypes.spaces.blocks.BlockSpace`; all of the normal cell comes before the reduction cell.

    ``blocks`` is B, at least 1; ``ops`` are names of :data:`genotypes.operations.OPERATIONS`. The larger space in which
    AmoebaNet-B was found has 1x1 and 3x3 convolutions and 2x2 poolings besides: name them in ``ops``.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "amoebanet"
    cells: ClassVar[tuple[str, ...]] = ("normal", "reduction")
    stacking: ClassVar[str] = "amoebanet"

    ops: tuple[str, ...] = PAPER_OPS
