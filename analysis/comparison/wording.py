"""Words that sentences about runs are made of: lists, groups of names, probabilities, lines of a terminal's width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

WIDTH: Final = 80
"""Columns of a terminal that every line fits into, but for names and paths that are longer themselves."""

_MANY: Final = 4
"""Names that a sentence lists; of more it lists one less, and says how many are left."""


def join_words(words: Iterable[str]) -> str:
    """Join words as a sentence does; of many only the first three."""
    words = _few([*words])
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def join_phrases(phrases: Sequence[str]) -> str:
    """Join phrases that have an "and" of their own; of many only the first three."""
    return "; ".join(_few(phrases))


def by_value(values: Mapping[str, str]) -> str:
    """Spell which names have which value: ``nasnet: a and b; nasbench201: c``; of many values only the first three."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return join_phrases([f"{value}: {join_words(names)}" for value, names in groups.items()])


def _few(words: Sequence[str]) -> list[str]:
    return [*words] if len(words) <= _MANY else [*words[: _MANY - 1], f"{len(words) - _MANY + 1:,} more"]


def probability(p: float) -> str:
    """Write a probability to two digits, near the limit of 0.05 to three: ``p = 0.029``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.{3 if 0.045 < p < 0.055 else 2}g}"


def fold(text: str) -> list[str]:
    """Break a sentence into lines of at most :data:`WIDTH` columns; the second line on is indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def columns_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows of text to the right, headings first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def align_with_names(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows of text, headings first, with a number and a name before each but the first.

    A name that leaves too little of :data:`WIDTH` for its row stands in a line of its own, and so do all others then.
    """
    lines = columns_of(rows)
    numbers = [f"{number:>{len(str(len(names)))}}  " for number in range(1, len(names) + 1)]
    indent, longest = " " * len(numbers[0]), max(map(len, names))
    if len(indent) + longest + 2 + max(map(len, lines)) <= WIDTH:
        heads = [indent + " " * longest, *(n + name.ljust(longest) for n, name in zip(numbers, names, strict=True))]
        return [f"{head}  {line}" for head, line in zip(heads, lines, strict=True)]
    named = [[number + name, indent + line] for number, name, line in zip(numbers, names, lines[1:], strict=True)]
    return [indent + lines[0], *(line for pair in named for line in pair)]
