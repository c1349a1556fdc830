"""The NASNet search space (Zoph et al. 2017, section 3): a normal and a reduction cell of B blocks each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final

from genotypes.cell import INPUTS, Block, Cell, CellPair, Edge
from genotypes.genotype import Genotype
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.space import Decision, SearchSpace

if TYPE_CHECKING:
    import numpy as np

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

IDENTITY_MUTATION: Final = 0.05
"""Probability that a child is its parent unchanged (Real et al. 2018, section 3.2)."""

_STEPS: Final = ("hidden_1", "hidden_2", "op_1", "op_2", "combine")


@dataclass(frozen=True)
class NASNetSpace(SearchSpace):
    """Five decisions a block, in the order in which the paper's controller predicts them.

    Block b, counted from 0, first picks two of the b + 2 hidden states that exist by then, next an operation for
    each, then how to combine the results; all of the normal cell comes before the reduction cell. Every created
    state that no block reads is part of the cell's output.

    ``blocks`` is B, at least 1; ``ops`` are names of :data:`genotypes.operations.OPERATIONS`; ``combines`` of
    :data:`genotypes.operations.COMBINES`. A decision with one option stays a decision, so that positions
    mean the same in every variant of the space.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "nasnet"

    blocks: int = 5
    ops: tuple[str, ...] = PAPER_OPS
    combines: tuple[str, ...] = ("add", "concat")

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= 20:
            raise ValueError(f"space {self.name}: blocks must be from 1 to 20, not {self.blocks}")
        for field, names, known in (("ops", self.ops, OPERATIONS), ("combines", self.combines, COMBINES)):
            if not names or len(set(names)) != len(names):
                raise ValueError(f"space {self.name}: {field} must name at least one, and none twice")
            for name in names:
                if name not in known:
                    raise ValueError(f"space {self.name}: unknown {name!r} in {field}; known: {', '.join(known)}")

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Ten times ``blocks`` decisions, named as in ``normal/block0/op_1``."""
        decisions = []
        for cell in ("normal", "reduction"):
            for block in range(self.blocks):
                states = tuple(map(str, range(block + INPUTS)))
                for step, options in zip(_STEPS, (states, states, self.ops, self.ops, self.combines), strict=True):
                    decisions.append(Decision(f"{cell}/block{block}/{step}", options))
        return tuple(decisions)

    @cached_property
    def spelling(self) -> str:
        """The name, with every option that is not the default; spelled once, a search asks for it all the time."""
        return super().spelling

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Mutate as Real et al. 2018, section 3.2: one mutation, in one cell, in one block, on one side.

        With probability 0.05 nothing changes. The rest is shared equally by the hidden-state mutation, the
        operation mutation and, where the space has more than one combination, the combination mutation. Cell,
        block and side are uniform. A hidden state becomes another of those that exist before the block, so that no
        loop can arise; an operation is drawn from the full list and may come out the same; a combination becomes
        another one.
        """
        if rng.random() < IDENTITY_MUTATION:
            return parent
        kind = int(rng.integers(3 if len(self.combines) > 1 else 2))
        block = int(rng.integers(2 * self.blocks)) * len(_STEPS)
        if kind == 2:
            return self._another(parent, block + 4, rng)
        side = int(rng.integers(2))
        if kind == 0:
            return self._another(parent, block + side, rng)
        position = block + 2 + side
        choices = list(parent.choices)
        choices[position] = int(rng.integers(len(self.ops)))
        return Genotype(parent.space, tuple(choices))

    def decode(self, genotype: Genotype) -> CellPair:
        """Give the pair of cells that the genotype describes.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        self.check(genotype)
        blocks = []
        for start in range(0, len(genotype.choices), len(_STEPS)):
            left, right, left_op, right_op, combine = genotype.choices[start : start + len(_STEPS)]
            blocks.append(Block(Edge(left, self.ops[left_op]), Edge(right, self.ops[right_op]), self.combines[combine]))
        return CellPair(Cell.unused(blocks[: self.blocks]), Cell.unused(blocks[self.blocks :]))

    def key(self, genotype: Genotype) -> str:
        """Spell the pair of cells canonically: equal exactly for isomorphic pairs; see :meth:`Cell.canonical`.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        return self.decode(genotype).canonical()
