"""Names of files that look alike: letters composed (NFC) and decomposed (NFD), blanks at an end, no width."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def look_of(name: str) -> str:
    """Return what a person sees of a name: equal for two names that look alike."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", seen).strip()


def spell_apart(names: Sequence[str]) -> list[str]:
    """Return the names for a message: one that looks like another of them is spelled in ASCII, by its code points."""
    looks = Counter(map(look_of, names))
    return [ascii(name) if looks[look_of(name)] > 1 else name for name in names]


def describe_missing(what: str, path: Path) -> str:
    """Return that ``what``, such as "archive", is not at ``path``, and which name that looks the same is there."""
    if path.exists():
        return f"{path} is no {what}"
    for place in reversed((path, *path.parents)):
        if not place.exists():
            break
    try:
        alike = [found.name for found in place.parent.iterdir() if look_of(found.name) == look_of(place.name)]
    except OSError:
        alike = []
    if place.is_symlink():
        return f"there is no {what} {path}: {place} is a link to {place.readlink()}, which is not there"
    if alike:
        asked, there = spell_apart([place.name, alike[0]])
        return f"there is no {what} {path}: {place.parent} holds {there}, which only looks like {asked}; rename it"
    return f"there is no {what} {path}"
