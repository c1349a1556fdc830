"""Strings of bits: the toy space on which Real et al. 2018 study noise (supplement C)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from genotypes.genotype import Genotype
from genotypes.space import Decision, SearchSpace


@dataclass(frozen=True)
class BitsSpace(SearchSpace):
    """A string of bits, to try strategies on.

    With the toy evaluator its fitness is the noisy fraction of ones. ``length`` is how many bits, 100 in the paper.
    The default mutation is the paper's: one bit, drawn uniformly, flips.

    Raises:
        ValueError: if the length is out of range.
    """

    name: ClassVar[str] = "bits"

    length: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 10_000:
            raise ValueError(f"space {self.name}: length must be from 1 to 10000, not {self.length}")

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per bit, named as in ``bit0``."""
        return tuple(Decision(f"bit{position}", ("0", "1")) for position in range(self.length))

    def decode(self, genotype: Genotype) -> dict[str, str]:
        """Return the string of bits, the first bit first: ``{"bits": "0110..."}``."""
        return {"bits": self.key(genotype)}

    def key(self, genotype: Genotype) -> str:
        """Return the string of bits."""
        self.check(genotype)
        return "".join(["01"[choice] for choice in genotype.choices])
