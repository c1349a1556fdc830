"""The widths of a network: how many channels each free group of them has (Gordon et al. 2018: MorphNet)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

import numpy as np

from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.ranges import check_range
from genotypes.space import Decision, SearchSpace
from genotypes.widths import LARGEST_WIDTH, Widths

_SPREAD: Final = 2.0
"""A random genotype's groups lie within this factor of the widths that all share."""


@dataclass(frozen=True)
class WidthsSpace(SearchSpace):
    """A width for each free group of channels of a network: 1, and the steps of a grid.

    ``network`` names it, as :func:`evo_nas.phenotypes.named.build_named` takes it. A group's grid has ``steps`` equal
    steps up to the width that it has in that network, its seed, and goes on up to ``largest`` times the seed.

    ``groups`` are the groups in the order of the forward pass, each as ``name=width``. They are left open on the
    command line: the evaluator ``widths`` finds them. They follow from the network, so that the spelling leaves them
    out; hence a space that is built from its spelling alone has none, and no genotypes.

    Raises:
        ValueError: if a group is not spelled like that, or a number is out of range.
    """

    name: ClassVar[str] = "widths"

    network: str = "resnet:20"  # type: ignore[assignment]  # no method here: its networks are found by their kind
    groups: tuple[str, ...] = ()
    steps: int = 16
    largest: float = 2.0

    def __post_init__(self) -> None:
        check_range("steps", self.steps, "[1, 1000]")
        check_range("largest", self.largest, "[1, 100]")
        for group in self.groups:
            name, _, width = group.rpartition("=")
            if not (name and width.isascii() and width.isdecimal() and 1 <= int(width) <= LARGEST_WIDTH):
                raise ValueError(
                    f"space {self.name}: a group is NAME=WIDTH, as in conv1=64, not {shorten(repr(group))}"
                )

    @classmethod
    def of(cls, network: str, seed: Mapping[str, int], **options: float) -> WidthsSpace:
        """Return the space of a network whose groups have these widths by themselves."""
        return cls(network, tuple(f"{name}={width}" for name, width in seed.items()), **options)  # type: ignore[arg-type]

    @cached_property
    def spelling(self) -> str:
        """The name and the options that are not the default, without the groups."""
        return super().spelling if not self.groups else dataclasses.replace(self, groups=()).spelling

    @cached_property
    def seed(self) -> dict[str, int]:
        """The width of each group in the network itself.

        Raises:
            GenotypeError: if the groups are not known.
        """
        if not self.groups:
            raise GenotypeError(
                f"the groups of channels of {shorten(self.network)} are not known here: only a run folder and the "
                "evaluator widths know them"
            )
        return {group.rpartition("=")[0]: int(group.rpartition("=")[2]) for group in self.groups}

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per group, by its name: the widths that it can have, from the smallest."""
        return tuple(Decision(name, tuple(map(str, grid))) for name, grid in zip(self.seed, self.grids, strict=True))

    @cached_property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The widths that each group can have, ascending."""
        shares = [step / self.steps for step in range(1, int(self.steps * self.largest) + 1)]
        return tuple(
            tuple(sorted({1, width, *(max(1, round(share * width)) for share in shares)}))
            for width in self.seed.values()
        )

    def nearest(self, widths: Sequence[int]) -> Genotype:
        """Return the genotype of the widths of the grid that are nearest; of two as near the smaller one.

        It never has a smaller width where the given one is larger.
        """
        choices = []
        for width, grid in zip(widths, self.grids, strict=True):
            after = int(np.searchsorted(grid, width))
            is_before = after == len(grid) or (after > 0 and width - grid[after - 1] <= grid[after] - width)
            choices.append(after - is_before)
        return self.genotype(choices)

    def widths(self, genotype: Genotype) -> tuple[int, ...]:
        """Return the width of each group.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        self.check(genotype)
        return tuple(grid[choice] for grid, choice in zip(self.grids, genotype.choices, strict=True))

    def decode(self, genotype: Genotype) -> Widths:
        """Return the widths by the names of their groups."""
        return Widths(self.network, dict(zip(self.seed, self.widths(genotype), strict=True)), self.seed)

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Return random widths around one random share of the seed, uniform up to ``largest``.

        Widths that were drawn independently would cost nearly the same all, because so many groups average out.
        """
        share = rng.random() * self.largest
        factors = share * _SPREAD ** (2 * rng.random(len(self.seed)) - 1)
        return self.nearest(
            [int(factor * width + 0.5) for factor, width in zip(factors, self.seed.values(), strict=True)]
        )

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Change the width of one group by up to a quarter of its grid's steps up to the seed, up or down."""
        open_ = [position for position, grid in enumerate(self.grids) if len(grid) > 1]
        if not open_:
            return parent
        position = open_[int(rng.random() * len(open_))]
        most, before = len(self.grids[position]) - 1, parent.choices[position]
        reach = max(1, self.steps // 4)
        steps = [step for step in range(-reach, reach + 1) if step and 0 <= before + step <= most]
        return self._with(parent, position, before + steps[int(rng.random() * len(steps))])

    def neighbours(self, genotype: Genotype) -> Sequence[Genotype]:
        """Return every genotype with one group a step of its grid wider or narrower, group by group."""
        return [
            self._with(genotype, position, choice + step)
            for position, choice in enumerate(genotype.choices)
            for step in (-1, 1)
            if 0 <= choice + step < len(self.grids[position])
        ]

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """Return a word for each quarter of the seed's width that a group reaches: near widths share most of them."""
        found = []
        for (name, seed), width in zip(self.seed.items(), self.widths(genotype), strict=True):
            found += [f"{name}>{quarter}" for quarter in range(int(4 * width / seed))]
        return tuple(found)

    @staticmethod
    def _with(genotype: Genotype, position: int, choice: int) -> Genotype:
        choices = genotype.choices
        return Genotype.without_check(genotype.space, (*choices[:position], choice, *choices[position + 1 :]))
