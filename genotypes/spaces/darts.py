"""The DARTS search space (Liu et al. 2018, "Differentiable Architecture Search", arXiv 1806.09055, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import ClassVar, Final

import numpy as np

from genotypes.cell import INPUTS
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace
from genotypes.spaces.blocks import BlockSpace

PAPER_OPS: Final = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_sep_conv_3x3",
    "dil_sep_conv_5x5",
)
"""The seven operations of a derived cell, in the order of the released code (quark0/darts, cnn/genotypes.py)."""


@dataclass(frozen=True)
class DARTSSpace(BlockSpace):
    """A normal and a reduction cell; three decisions per block: a pair of hidden states, two operations, added.

    A block adds the results of two operations on two states, which differ: a derived cell keeps the strongest edges
    from two distinct predecessors (section 2.4). So the pair is one decision, ``0+1``, ``0+2``, ``1+2``, ...; the
    first operation is that of the state with the smaller number. A cell outputs all states that it creates.

    States are numbered as everywhere here: 0 is h_i, which the released code calls 1.

    ``blocks`` is B, at least 1; ``ops`` are names of :data:`genotypes.operations.OPERATIONS`.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "darts"
    cells: ClassVar[tuple[str, ...]] = ("normal", "reduction")
    steps: ClassVar[tuple[str, ...]] = ("hidden", "op_1", "op_2")
    stacking: ClassVar[str] = "darts"
    puts_out_all: ClassVar[bool] = True

    blocks: int = 4
    ops: tuple[str, ...] = PAPER_OPS

    def options(self, block: int) -> tuple[tuple[str, ...], ...]:
        """Return the options of each step of a block; blocks are counted from 0."""
        return tuple(f"{left}+{right}" for left, right in pairs(block + INPUTS)), self.ops, self.ops

    def read(self, block: Sequence[int]) -> tuple[int, int, int, int, str]:
        """Read the choices of a block: left and right hidden state, left and right operation, combination."""
        pair, left_op, right_op = block
        left, right = pairs(self.blocks - 1 + INPUTS)[pair]  # those of an earlier block come first
        return left, right, left_op, right_op, "add"

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Change one decision that has a choice, drawn uniformly, to another option, drawn uniformly."""
        return SearchSpace.mutate(self, parent, rng)

    def in_order(self, block: Sequence[int]) -> bool:
        """Return true: each spelling of a block means something of its own."""
        return True


@lru_cache
def pairs(states: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of different states below a number; those of a smaller number come first, in the same order."""
    return tuple(sorted(combinations(range(states), 2), key=lambda pair: (pair[1], pair[0])))
