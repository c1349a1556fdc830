"""Spaces of cells that can grow block by block, as progressive search needs them (Liu et al. 2017, section 4)."""

from __future__ import annotations

import dataclasses
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Self

from genotypes.genotype import Genotype, GenotypeError
from genotypes.space import Decision, SearchSpace


class GrowingSpace(SearchSpace):
    """A space whose cells have a number of blocks, and which knows its smaller levels.

    The level of b blocks is the same space with smaller cells. A space whose cells have B blocks also reads the
    genotypes of the levels below: they are smaller networks, and :meth:`check`, :meth:`decode` and :meth:`key`
    take them. ``sample``, ``mutate``, ``crossover`` and ``neighbours`` are about whole genotypes only. Where a space
    has several cells, growing ties them: each gets the same block.

    A subclass names its :attr:`cells`, has the option :attr:`blocks`, and lists its decisions cell by cell, in a cell
    block by block; every block has equally many. A block has the same decisions in every level that has it, and
    their options begin with those of the block before. It may also override

    * :meth:`in_order`, where a block can be spelled in several ways that mean the same.
    """

    cells: ClassVar[tuple[str, ...]]
    """The names of the cells, in the order of their decisions."""

    @property
    @abstractmethod
    def blocks(self) -> int:
        """B, the number of blocks per cell; a field of the dataclass."""

    @cached_property
    def below(self) -> tuple[Self, ...]:
        """The levels below, from one block up."""
        return tuple(dataclasses.replace(self, blocks=blocks) for blocks in range(1, self.blocks))  # type: ignore[type-var]

    def at(self, blocks: int) -> Self:
        """Return the level of ``blocks`` blocks, from 1 to B.

        Raises:
            ValueError: if there is no such level.
        """
        if not 1 <= blocks <= self.blocks:
            raise ValueError(f"the levels of {self.spelling} have from 1 to {self.blocks} blocks, not {blocks}")
        return (*self.below, self)[blocks - 1]

    def level_of(self, genotype: Genotype) -> Self:
        """Return the level that a genotype is of: the space itself, or one below.

        Raises:
            GenotypeError: if it is of none of them.
        """
        for level in (self, *self.below):
            if genotype.space == level.spelling:
                return level
        raise GenotypeError(
            f"the genotype is of space {genotype.space!r}, not of {self.spelling!r} or a level below it"
        )

    def last_block(self, blocks: int) -> tuple[Decision, ...]:
        """Return the decisions of the last block of the first cell, at the level of that many blocks."""
        decisions = self.at(blocks).decisions
        cell = len(decisions) // len(self.cells)
        return decisions[cell - cell // blocks : cell]

    def in_order(self, block: Sequence[int]) -> bool:
        """Return whether this is the canonical one of a block's equivalent spellings.

        ``block`` holds the option indices of a block's decisions. By default no two spellings mean the same.
        """
        return True

    def grow(self, genotype: Genotype | None, block: Sequence[int]) -> Genotype:
        """Append a block, given as option indices, to every cell; to ``None``, which has no block yet, the first.

        Raises:
            GenotypeError: if the genotype is whole, or of another space. The options of the block are not checked.
        """
        if genotype is None:
            return Genotype(self.at(1).spelling, (*block,) * len(self.cells))
        blocks = self.level_of(genotype).blocks
        if blocks == self.blocks:
            raise GenotypeError(f"a genotype of {self.spelling} is whole and cannot grow")
        cell = len(genotype.choices) // len(self.cells)
        grown = ((*genotype.choices[start : start + cell], *block) for start in range(0, len(genotype.choices), cell))
        return Genotype(self.at(blocks + 1).spelling, tuple(itertools.chain.from_iterable(grown)))

    def grown(self, genotype: Genotype | None) -> Iterator[Genotype]:
        """Yield every genotype that has one block more; for ``None`` those of the first level, for a whole one none.

        All ways to choose the block's decisions are there, also those that mean the same network; the last decision
        varies fastest.
        """
        level = self.level_of(genotype).blocks + 1 if genotype else 1
        if level <= self.blocks:
            options = (range(len(decision.options)) for decision in self.last_block(level))
            yield from (self.grow(genotype, block) for block in itertools.product(*options))

    @property
    def has_crossover(self) -> bool:
        """True: of whole genotypes every combination is valid."""
        return True

    def check(self, genotype: Genotype) -> None:
        """Raise if neither this space nor a level below contains the genotype."""
        if genotype.space == self.spelling:
            super().check(genotype)
        else:
            self.level_of(genotype).check(genotype)
