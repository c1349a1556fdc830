"""Findings about annotations: problems that must be mended, and boxes that are dropped or cut with a count."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from evo_nas.data.sources.layout import NAMED_FAULTS, some

_OVERHANG: Final = 1.0
"""Pixels by which a box may reach over the image's edge without a word: tools round in all ways."""

_WORDS: Final = {
    "without size": "without width or height dropped",
    "outside": "outside of the image dropped",
    "over the edge": "over the image's edge cut",
}
"""Kind of a finding -> what is said of the boxes."""


@dataclass
class Findings:
    """Problems of one part, a line each, at most ``NAMED_FAULTS`` of a kind; and counts of what was done about boxes.

    ``counts`` are boxes by the kind of finding, ``examples`` the names of the first images they are in; ``notes`` is
    what else there is to say.
    """

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)
    _kinds: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, line: str) -> None:
        """Add a problem; of one kind only the first few are kept, the others are counted."""
        self._kinds[kind] += 1
        if self._kinds[kind] <= NAMED_FAULTS:
            self.problems.append(line)

    def list_problems(self) -> list[str]:
        """Return the problems, and how many more there are of each kind."""
        more = [f"and {n - NAMED_FAULTS:,} more: {kind}" for kind, n in self._kinds.items() if n > NAMED_FAULTS]
        return self.problems + more

    def list_notes(self) -> list[str]:
        """Return what is to be said of boxes that were dropped or cut, and the notes."""
        lines = []
        for kind, words in _WORDS.items():
            if n := self.counts[kind]:
                noun = "box" if n == 1 else "boxes"
                lines.append(f"{n:,} {noun} {words} (in {some(self.examples[kind])})")
        return lines + self.notes

    def settle(self, boxes: np.ndarray, size: tuple[int, int], name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes cut at the edges of the image, and which of them are kept, bool of shape (m,).

        ``boxes`` are float64 of shape (m, 4), (x1, y1, x2, y2) from 0 with far edges; ``size`` is width and height.
        Those without width or height, which would be NaN in a logarithm, and those outside are not kept.
        """
        limit = np.array([*size, *size], dtype=np.float64)
        cut = np.clip(boxes, 0, limit)
        has_size, is_inside = _have_size(boxes), _have_size(cut)
        is_far = np.any(np.abs(cut - boxes) > _OVERHANG, axis=1)
        self._count("without size", ~has_size, name)
        self._count("outside", has_size & ~is_inside, name)
        self._count("over the edge", has_size & is_inside & is_far, name)
        return cut, has_size & is_inside

    def _count(self, kind: str, boxes: np.ndarray, name: str) -> None:
        if n := int(boxes.sum()):
            self.counts[kind] += n
            self.examples[kind].append(name)


def _have_size(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes have a width and a height, bool of shape (m,)."""
    have: np.ndarray = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return have


def read_number(value: object) -> float | None:
    """Return a finite number from a file, ``None`` if it is none."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
