"""The NASNet search space (Zoph et al. 2017, section 3): a normal and a reduction cell of B blocks each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from genotypes.spaces.blocks import BlockSpace

PAPER_OPS: Final = (
    "identity",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
"""The thirteen operations of the paper, in the paper's order (section 3.1)."""


@dataclass(frozen=True)
class NASNetSpace(BlockSpace):
    """A normal and a reduction cell; five decisions per block, in the order of the paper's controller.

    See :class:`genotypes.spaces.blocks.BlockSpace`; all of the normal cell comes before the reduction cell.

    ``blocks`` is B, at least 1; ``ops`` are names of :data:`genotypes.operations.OPERATIONS`; ``combines`` of
    :data:`genotypes.operations.COMBINES`. A decision with one option stays a decision, so that positions
    mean the same in every variant of the space. NASNet-B and NASNet-C were found with more combinations (appendix):
    ``combines=add+concat+add_layer_norm+add_instance_norm``.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "nasnet"
    cells: ClassVar[tuple[str, ...]] = ("normal", "reduction")
    steps: ClassVar[tuple[str, ...]] = (*BlockSpace.steps, "combine")

    ops: tuple[str, ...] = PAPER_OPS
    combines: tuple[str, ...] = ("add", "concat")
