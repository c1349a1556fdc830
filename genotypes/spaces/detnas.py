"""The space of DetNAS and of single path one-shot: one of four blocks for each place of a chain.

Chen et al. 2019, section 3.2, table 1; Guo et al. 2019, section 4, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from genotypes.chain import BLOCKS, Chain, ChainSize
from genotypes.genotype import Genotype, GenotypeError
from genotypes.space import Decision, SearchSpace


@dataclass(frozen=True)
class DetNASSpace(SearchSpace):
    """One of four blocks for each of 20 places: three units of ShuffleNetV2 with kernels of 3, 5 and 7, and Xception's.

    ``stages`` and ``widths`` are lists such as ``4+4+8+4``; they and the other options are those of
    :class:`genotypes.chain.ChainSize`, where the defaults are the small network of both papers. The large one has
    ``stages=8+8+16+8,widths=96+240+480+960,stem=48``. ``blocks`` are the blocks to choose from. Where widths are left
    open, fewer than four stages have the first of them.

    Every combination is valid, and each is a network of its own. The default mutation changes one place; the strategy
    ``genetic`` draws each place again with a small probability, as the papers do.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "detnas"

    stages: tuple[str, ...] = ("4", "4", "8", "4")
    widths: tuple[str, ...] = ("64", "160", "320", "640")
    stem: int = 16
    stem_stride: int = 2
    last: int = 1024
    shuffle: int = 2
    bias: bool = False
    blocks: tuple[str, ...] = BLOCKS

    def __post_init__(self) -> None:
        if not self.blocks or len(set(self.blocks)) != len(self.blocks):
            raise ValueError(f"space {self.name}: blocks must name at least one, and none twice")
        for name in self.blocks:
            if name not in BLOCKS:
                raise ValueError(f"space {self.name}: unknown {name!r} in blocks; known: {', '.join(BLOCKS)}")
        _ = self.chain_size  # it says what is wrong

    @cached_property
    def chain_size(self) -> ChainSize:
        """The size of the chains."""
        numbers = {}
        for name in ("stages", "widths"):
            words = getattr(self, name)
            if not all(word.isascii() and word.isdecimal() and len(word) <= 6 for word in words):
                raise ValueError(f"space {self.name}: {name} must be whole numbers, as in 4+4+8+4")
            numbers[name] = tuple(map(int, words))
        same = {name: getattr(self, name) for name in ("stem", "stem_stride", "last", "shuffle", "bias")}
        widths = numbers["widths"]
        if widths == ChainSize.widths:
            widths = widths[: len(numbers["stages"])]
        try:
            return ChainSize(numbers["stages"], widths, **same)
        except ValueError as error:
            raise ValueError(f"space {self.name}: {error}") from error

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per place, named as in ``stage1/block0``."""
        names = []
        for stage, count in enumerate(self.chain_size.stages, start=1):
            names += [f"stage{stage}/block{index}" for index in range(count)]
        return tuple(Decision(name, self.blocks) for name in names)

    def decode(self, genotype: Genotype) -> Chain:
        """Return the chain that the genotype describes."""
        self.check(genotype)
        return Chain(tuple([self.blocks[choice] for choice in genotype.choices]), self.chain_size)

    def encode(self, chain: Chain) -> Genotype:
        """Return the genotype of a chain: :meth:`decode` gives it back.

        Raises:
            GenotypeError: if this space does not contain the chain.
        """
        if chain.size != self.chain_size:
            raise GenotypeError(f"the chain has another size than those of {self.spelling}: {chain.size}")
        for place, block in enumerate(chain.blocks):
            if block not in self.blocks:
                raise GenotypeError(f"place {place} has the block {block}, and {self.spelling} has none")
        return self.genotype([self.blocks.index(block) for block in chain.blocks])

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """Return each block with its stage: where in a stage it stands matters less."""
        chain = self.decode(genotype)
        return tuple(f"stage{stage} {block}" for stage, blocks in enumerate(chain.stages, start=1) for block in blocks)
