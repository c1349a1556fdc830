"""Two feature pyramids and what tells them apart: how many parts of their graphs, and in which merging cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

from genotypes.pyramid import LEVELS, Pyramid

_PARTS: Final = 4
"""Of a merging cell: two inputs, its level, its combination."""

_MOST: Final = 5
"""Cells that make no output, of which every pairing is tried; of more, they are paired in their order."""


@dataclass(frozen=True)
class PyramidDifference:
    """The names of two pyramids, the pyramids, and what differs between paired cells.

    Outputs of one level are paired, and the cells that make no output as few parts differ as possible. ``cells`` has an
    entry per pair that differs: the cells of A and of B, counted from 0 or ``None`` where there is no partner, and how
    many parts differ. Extra inputs follow from the rest, and are not counted.
    """

    names: tuple[str, str]
    pyramids: tuple[Pyramid, Pyramid]
    cells: tuple[tuple[int | None, int | None, int], ...]

    @property
    def edits(self) -> int:
        """The number of parts that differ: inputs, levels, combinations."""
        return sum(parts for _, _, parts in self.cells)

    @property
    def is_same(self) -> bool:
        """Whether both compute the same."""
        one, other = self.pyramids
        return one.canonical() == other.canonical()

    def marks(self, side: int) -> frozenset[int]:
        """Return the cells of A (0) or of B (1) that differ from their partner, counted from 0."""
        return frozenset(cell for pair in self.cells if (cell := pair[side]) is not None)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "names": list(self.names),
            "edits": self.edits,
            "same_network": self.is_same,
            "cells": [{"a": a, "b": b, "parts": parts} for a, b, parts in self.cells],
        }

    def lines(self) -> Iterator[str]:
        """Write what differs as text, a line per pair of cells."""
        yield from (f"{letter}: {name}" for letter, name in zip("AB", self.names, strict=True))
        same = "; both compute the same" if self.is_same else ""
        yield f"{self.edits} parts of merging cells differ, from A to B{same}"
        for a, b, parts in self.cells:
            texts = [
                "none" if cell is None else _spell(pyramid, cell)
                for pyramid, cell in zip(self.pyramids, (a, b), strict=True)
            ]
            yield f"  {texts[0]} -> {texts[1]} ({parts})"


def compare_pyramids(names: tuple[str, str], pyramids: tuple[Pyramid, Pyramid]) -> PyramidDifference:
    """Compare two pyramids of any number of merging cells."""
    one, other = pyramids
    found = min((_count(one, other, pairing) for pairing in _pairings(one, other)), key=lambda c: sum(n for *_, n in c))
    return PyramidDifference(names, pyramids, found)


def _pairings(one: Pyramid, other: Pyramid) -> Iterator[dict[int, int]]:
    """Yield the ways to pair features of two pyramids: inputs and outputs by their level, the others in every order."""
    first = len(LEVELS)
    fixed = {level: level for level in range(first)} | dict(zip(one.outputs, other.outputs, strict=True))
    mine, theirs = range(first, first + one.intermediates), range(first, first + other.intermediates)
    if max(len(mine), len(theirs)) > _MOST:
        yield fixed | dict(zip(mine, theirs, strict=False))
    elif len(mine) <= len(theirs):
        for chosen in permutations(theirs, len(mine)):
            yield fixed | dict(zip(mine, chosen, strict=True))
    else:
        for chosen in permutations(mine, len(theirs)):
            yield fixed | dict(zip(chosen, theirs, strict=True))


def _count(one: Pyramid, other: Pyramid, pairing: Mapping[int, int]) -> tuple[tuple[int | None, int | None, int], ...]:
    """Return the pairs of cells that differ under a pairing of features, and in how many parts."""
    first = len(LEVELS)
    found: list[tuple[int | None, int | None, int]] = []
    for index, merge in enumerate(one.merges):
        if (partner := pairing.get(first + index)) is None:
            found.append((index, None, _PARTS))
            continue
        paired = other.merges[partner - first]
        is_ordered = merge.combine == paired.combine == "attention"
        mine = [pairing.get(feature, -1) for feature in (one.order_inputs(index) if is_ordered else merge.inputs)]
        theirs = list(other.order_inputs(partner - first) if is_ordered else paired.inputs)
        shared = sum(a == b for a, b in zip(mine, theirs, strict=True))
        if not is_ordered:
            shared = (Counter(mine) & Counter(theirs)).total()
        parts = 2 - shared + (merge.level != paired.level) + (merge.combine != paired.combine)
        if parts:
            found.append((index, partner - first, parts))
    alone = set(range(first, first + len(other.merges))) - set(pairing.values())
    return (*found, *((None, feature - first, _PARTS) for feature in sorted(alone)))


def _spell(pyramid: Pyramid, index: int) -> str:
    """Return a cell as text: its name and level, and what it reads."""
    merge = pyramid.merges[index]
    inputs = ", ".join(map(pyramid.name_feature, merge.inputs))
    is_output = index >= pyramid.intermediates
    return f"{len(LEVELS) + index} ({'output ' if is_output else ''}P{merge.level}) = {merge.combine}({inputs})"
