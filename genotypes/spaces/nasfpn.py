"""The space of NAS-FPN: merging cells over a feature pyramid (Ghiasi et al. 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Final

import numpy as np

from genotypes.genotype import Genotype, GenotypeError
from genotypes.pyramid import LARGEST_PYRAMID, LEVELS, MERGES, Merge, Pyramid
from genotypes.ranges import check_range
from genotypes.space import Decision, SearchSpace

STEPS: Final = ("input_1", "input_2", "level", "combine")
"""The decisions of a merging cell, in their order."""


@dataclass(frozen=True)
class NASFPNSpace(SearchSpace):
    """Merging cells over a feature pyramid of five levels: two features, the level of their merger, sum or attention.

    The last five cells make the outputs, one per level. Of a cell's decisions, ``input_1`` is a feature by its number,
    ``input_2`` one of the others, counted without the first; ``level`` of an output is one of those that no output
    before it has, counted in ascending order. So every combination is valid. Features: 0 to 4 are the inputs, levels 3
    to 7, then each cell's own.

    Raises:
        ValueError: if an option is out of range, unknown or named twice.
    """

    name: ClassVar[str] = "nasfpn"

    merges: int = 7
    combines: tuple[str, ...] = MERGES

    def __post_init__(self) -> None:
        check_range(f"space {self.name}: merges", self.merges, f"[{len(LEVELS)}, {LARGEST_PYRAMID}]")
        if not self.combines or len(set(self.combines)) != len(self.combines):
            raise ValueError(f"space {self.name}: combines must name at least one, and none twice")
        for name in self.combines:
            if name not in MERGES:
                raise ValueError(f"space {self.name}: unknown {name!r} in combines; known: {', '.join(MERGES)}")

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Four decisions per merging cell, named as in ``cell0/input_1``."""
        decisions = []
        for index in range(self.merges):
            features = tuple(map(str, range(len(LEVELS) + index)))
            left = self.merges - index  # so many outputs are still to come, where this is one
            levels = tuple(map(str, LEVELS)) if left >= len(LEVELS) else tuple(map(str, range(left)))
            for step, names in zip(STEPS, (features, features[:-1], levels, self.combines), strict=True):
                decisions.append(Decision(f"cell{index}/{step}", names))
        return tuple(decisions)

    def decode(self, genotype: Genotype) -> Pyramid:
        """Return the pyramid that the genotype describes."""
        self.check(genotype)
        left, merges = list(LEVELS), []
        for index in range(self.merges):
            one, other, level, combine = genotype.choices[4 * index : 4 * index + 4]
            is_output = index >= self.merges - len(LEVELS)
            made = left.pop(level) if is_output else LEVELS[level]
            merges.append(Merge(made, self.combines[combine], (one, other + (other >= one))))
        return Pyramid(tuple(merges))

    def encode(self, pyramid: Pyramid) -> Genotype:
        """Return the genotype of a pyramid: :meth:`decode` gives it back.

        Raises:
            GenotypeError: if this space does not contain the pyramid.
        """
        if len(pyramid.merges) != self.merges:
            raise GenotypeError(f"a pyramid of {self.spelling} has {self.merges} cells, not {len(pyramid.merges)}")
        left, choices = list(LEVELS), []
        for index, merge in enumerate(pyramid.merges):
            one, other = merge.inputs
            if one == other:
                raise GenotypeError(
                    f"merging cell {index} reads feature {one} twice, which no genotype of {self.name} does"
                )
            if merge.combine not in self.combines:
                raise GenotypeError(
                    f"merging cell {index} is of combination {merge.combine}, and {self.spelling} has none"
                )
            level = LEVELS.index(merge.level)
            if index >= pyramid.intermediates:
                level = left.index(merge.level)
                left.pop(level)
            choices += [one, other - (other > one), level, self.combines.index(merge.combine)]
        return Genotype.without_check(self.spelling, tuple(choices))

    def key(self, genotype: Genotype) -> str:
        """Return a text that is equal exactly for pyramids that compute the same; see :meth:`Pyramid.canonical`."""
        return self.decode(genotype).canonical()

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Change one thing of the graph, drawn uniformly from the 4 of each cell that have a choice; all else stays.

        An input becomes another feature that the cell does not read yet; a level of a cell that makes no output becomes
        another one; an output swaps its level with another output; a combination becomes another one. All are drawn
        uniformly. A change of one decision would move more: a first input shifts the count of the second, and the level
        of an output those of all outputs after it.
        """
        pyramid = self.decode(parent)
        steps = len(STEPS) if len(self.combines) > 1 else STEPS.index("combine")
        index, step = int(rng.integers(self.merges)), int(rng.integers(steps))
        changes = self._changes(pyramid, index, step)
        return self.encode(changes[int(rng.integers(len(changes)))])

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator, share: float = 0.5) -> Genotype:
        """Return a child of two graphs: each part is the second's with probability ``share``, else the first's.

        Parts are the two inputs of a cell together, its combination, the level of a cell that makes no output, and the
        order of the levels of all outputs.
        """
        pair = (self.decode(first).merges, self.decode(second).merges)
        draws = (rng.random((self.merges, len(STEPS) - 1)) < share).astype(int).tolist()
        order = int(rng.random() < share)
        merges = []
        for index, (inputs, combine, level) in enumerate(draws):
            if index >= self.merges - len(LEVELS):
                level = order
            parts = pair[level][index].level, pair[combine][index].combine, pair[inputs][index].inputs
            merges.append(Merge(*parts))
        return self.encode(Pyramid(tuple(merges)))

    def neighbours(self, genotype: Genotype) -> Sequence[Genotype]:
        """Return every pyramid that :meth:`mutate` can make of this one, in a fixed order."""
        pyramid = self.decode(genotype)
        found = {
            self.encode(changed): None
            for index in range(self.merges)
            for step in range(len(STEPS))
            for changed in self._changes(pyramid, index, step)
        }
        return list(found)

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """Return a word per combination, per feature that is read, and per extra input, by their levels."""
        pyramid = self.decode(genotype)
        first = len(LEVELS) + pyramid.intermediates
        labels = [
            f"{'in' if feature < len(LEVELS) else 'between' if feature < first else 'out'} {level}"
            for feature, level in enumerate(pyramid.feature_levels)
        ]
        words = []
        for index, merge in enumerate(pyramid.merges):
            label = labels[len(LEVELS) + index]
            words.append(f"{label} by {merge.combine}")
            words += [f"{label} of {labels[feature]}" for feature in merge.inputs]
            words += [f"{label} and {labels[feature]}" for feature in pyramid.extras[index]]
        return tuple(words)

    def _changes(self, pyramid: Pyramid, index: int, step: int) -> list[Pyramid]:
        """Return the pyramids in which one cell differs in one step; if it is the level of an output, two swap it."""
        merge, kind = pyramid.merges[index], STEPS[step]
        if kind == "combine":
            changed = [replace(merge, combine=other) for other in self.combines if other != merge.combine]
        elif kind != "level":
            left, right = merge.inputs
            unread = [feature for feature in range(len(LEVELS) + index) if feature not in merge.inputs]
            pairs = [(feature, right) if kind == "input_1" else (left, feature) for feature in unread]
            changed = [replace(merge, inputs=pair) for pair in pairs]
        elif index < pyramid.intermediates:
            changed = [replace(merge, level=level) for level in LEVELS if level != merge.level]
        else:
            others = [other for other in range(pyramid.intermediates, self.merges) if other != index]
            return [_swap_levels(pyramid, index, other) for other in others]
        return [_put(pyramid, {index: merge}) for merge in changed]


def _put(pyramid: Pyramid, merges: Mapping[int, Merge]) -> Pyramid:
    """Return the pyramid with other merging cells at some places."""
    return Pyramid(tuple(merges.get(index, merge) for index, merge in enumerate(pyramid.merges)))


def _swap_levels(pyramid: Pyramid, one: int, other: int) -> Pyramid:
    first, second = pyramid.merges[one], pyramid.merges[other]
    return _put(pyramid, {one: replace(first, level=second.level), other: replace(second, level=first.level)})
