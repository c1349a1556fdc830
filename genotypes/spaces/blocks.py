"""Spaces of cells made of blocks: two hidden states, two operations, joined (Zoph et al. 2017, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Final

import numpy as np

from genotypes.cell import INPUTS, Block, Cell, CellPair, Edge, spell
from genotypes.genotype import Genotype
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.space import Decision
from genotypes.spaces.growing import GrowingSpace

IDENTITY_MUTATION: Final = 0.05
"""Probability that a child is its parent unchanged (Real et al. 2018, section 3.2)."""


@dataclass(frozen=True)
class BlockSpace(GrowingSpace):
    """The base of such spaces: decisions, mutation, decoding, growth.

    A subclass names its ``cells``, its ``steps`` and its operations. Block b, counted from 0, first picks two of the
    b + 2 hidden states that exist by then, next an operation for each; a fifth step, if there is one, picks how to
    combine the results, which are added otherwise. Every created state that no block reads is part of the cell's
    output, or every state if ``puts_out_all``.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    steps: ClassVar[tuple[str, ...]] = ("hidden_1", "hidden_2", "op_1", "op_2")
    """The names of a block's decisions, in their order."""
    stacking: ClassVar[str] = "nasnet"
    """Way in which cells are stacked into a network: a name of :data:`genotypes.stacking.STACKINGS`."""
    puts_out_all: ClassVar[bool] = False

    blocks: int = 5
    ops: tuple[str, ...] = tuple(OPERATIONS)

    @property
    def combines(self) -> tuple[str, ...]:
        """The ways in which a block may join its two results; an option where a block has a step for it."""
        return ("add",)

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
        """One decision per step of each block of each cell, named as in ``normal/block0/op_1``."""
        decisions = []
        for cell in self.cells:
            for block in range(self.blocks):
                # Not every space has a fifth step.
                for step, names in zip(self.steps, self.options(block), strict=False):
                    decisions.append(Decision(f"{cell}/block{block}/{step}", names))
        return tuple(decisions)

    def options(self, block: int) -> tuple[tuple[str, ...], ...]:
        """Return the options of each step of a block; blocks are counted from 0."""
        states = tuple(map(str, range(block + INPUTS)))
        return states, states, self.ops, self.ops, self.combines

    def read(self, block: Sequence[int]) -> tuple[int, int, int, int, str]:
        """Read the choices of a block: left and right hidden state, left and right operation, combination."""
        left, right, left_op, right_op, *combine = block
        return left, right, left_op, right_op, self.combines[combine[0]] if combine else "add"

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Mutate as Real et al. 2018, section 3.2: one mutation, in one cell, in one block, on one side.

        With probability 0.05 nothing changes. The rest is shared equally by the hidden-state mutation, the
        operation mutation and, where the space has more than one combination, the combination mutation. Cell,
        block and side are uniform. A hidden state becomes another of those that exist before the block, so that no
        loop can arise; an operation is drawn from the full list and may stay the same; a combination becomes
        another one.
        """
        if rng.random() < IDENTITY_MUTATION:
            return parent
        kind = int(rng.integers(3 if len(self.combines) > 1 else 2))
        block = int(rng.integers(len(self.cells) * self.blocks)) * len(self.steps)
        if kind == 2:
            return self._another(parent, block + 4, rng)
        side = int(rng.integers(2))
        if kind == 0:
            return self._another(parent, block + side, rng)
        position = block + 2 + side
        choices = list(parent.choices)
        choices[position] = int(rng.integers(len(self.ops)))
        return Genotype.without_check(parent.space, tuple(choices))

    def decode(self, genotype: Genotype) -> CellPair:
        """Return the pair of cells that the genotype describes; where the space has one cell, it is both."""
        self.check(genotype)
        cells = [self._cell(choices) for choices in self._split(genotype)]
        return CellPair(cells[0], cells[-1], self.stacking)

    def key(self, genotype: Genotype) -> str:
        """Return a text that is equal exactly for isomorphic pairs of cells; see :meth:`Cell.canonical`."""
        self.check(genotype)
        cells = [_spell(self, choices) for choices in self._split(genotype)]
        return f"{cells[0]} | {cells[-1]}"

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """Return each live operation of each cell, alone and with its source: an input, or the operations of a block.

        These are the labels of the cells' graphs after one round of refinement (Shervashidze et al. 2011,
        Weisfeiler-Lehman graph kernels). Left and right, the order of blocks, and blocks that reach no output leave no
        trace.
        """
        self.check(genotype)
        parts = zip(self.cells, self._split(genotype), strict=True)
        return tuple([f"{cell} {word}" for cell, choices in parts for word in _words(self, choices)])

    def in_order(self, block: Sequence[int]) -> bool:
        """Return whether the left side, hidden state first and then operation, does not come after the right."""
        left, right, left_op, right_op = block[:4]
        return (left, left_op) <= (right, right_op)

    def _split(self, genotype: Genotype) -> list[tuple[int, ...]]:
        """Return the choices of each cell."""
        choices = genotype.choices
        length = len(choices) // len(self.cells)
        return [choices[start : start + length] for start in range(0, len(choices), length)]

    def _cell(self, choices: tuple[int, ...]) -> Cell:
        """Decode one cell."""
        ops, blocks = self.ops, self._blocks(choices)
        made = [
            _block(left, ops[left_op], right, ops[right_op], combine)
            for left, right, left_op, right_op, combine in blocks
        ]
        return Cell(tuple(made), self._output(blocks))

    def _blocks(self, choices: Sequence[int]) -> list[tuple[int, int, int, int, str]]:
        """Read each block of one cell."""
        width = len(self.steps)
        return [self.read(choices[start : start + width]) for start in range(0, len(choices), width)]

    def _output(self, blocks: Sequence[tuple[int, int, int, int, str]]) -> tuple[int, ...]:
        """Return the output states of the cell of these blocks."""
        created = range(INPUTS, INPUTS + len(blocks))
        if self.puts_out_all:
            return tuple(created)
        read = set()
        for left, right, _, _, _ in blocks:
            read.add(left)
            read.add(right)
        return tuple([state for state in created if state not in read])


# Texts of a cell are computed from its choices and cached: most children share all but one cell with their parent.


@lru_cache(maxsize=4_000)
def _spell(space: BlockSpace, choices: tuple[int, ...]) -> str:
    """Return the canonical text of one cell."""
    ops, blocks = space.ops, space._blocks(choices)
    plain = [
        ((ops[left_op], left), (ops[right_op], right), combine) for left, right, left_op, right_op, combine in blocks
    ]
    return spell(plain, space._output(blocks))


@lru_cache(maxsize=20_000)
def _words(space: BlockSpace, choices: tuple[int, ...]) -> tuple[str, ...]:
    """Return the words of one cell, cached: a surrogate needs those of hundreds of genotypes at a time."""
    ops, blocks = space.ops, space._blocks(choices)
    labels = [f"input {state}" for state in range(INPUTS)]
    for _, _, left_op, right_op, combine in blocks:
        one, other = (left_op, right_op) if left_op < right_op else (right_op, left_op)
        labels.append(f"{combine}({ops[one]}, {ops[other]})")
    live = set(space._output(blocks))
    words = []
    for state in range(len(labels) - 1, INPUTS - 1, -1):
        if state in live:
            left, right, left_op, right_op, _ = blocks[state - INPUTS]
            live |= {left, right}
            words += [ops[left_op], f"{ops[left_op]} of {labels[left]}"]
            words += [ops[right_op], f"{ops[right_op]} of {labels[right]}"]
    return tuple(words)


@lru_cache(maxsize=20_000)
def _block(left: int, left_op: str, right: int, right_op: str, combine: str) -> Block:
    """Return a block, cached: thousands of cells share a few thousand of them."""
    return Block(Edge(left, left_op), Edge(right, right_op), combine)
