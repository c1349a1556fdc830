"""The search spaces by name, and the way from a spelling back to the space."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Final

from genotypes.genotype import GenotypeError, shorten
from genotypes.nasnet import NASNetSpace
from genotypes.space import SearchSpace

SPACES: Final[dict[str, type[SearchSpace]]] = {
    "nasnet": NASNetSpace,
}
"""Name -> class. A new space is a file beside ``nasnet.py`` and a line here."""

_SPELLING = re.compile(r"(?P<name>[^()]+)(?:\((?P<options>[^()]*)\))?")


def space_named(spelling: str, options: Mapping[str, object] | None = None) -> SearchSpace:
    """Build a space from its name or full spelling, as in ``nasnet`` or ``nasnet(blocks=3,combines=add)``.

    Options given as a mapping win over those in the spelling.

    Raises:
        GenotypeError: if no space has that name, or the options are unknown or wrong.
    """
    match = _SPELLING.fullmatch(spelling)
    if match is None or match["name"] not in SPACES:
        raise GenotypeError(f"there is no space {shorten(spelling)!r}; the spaces are: {', '.join(SPACES)}")
    kind = SPACES[match["name"]]
    given: dict[str, object] = {}
    for word in filter(None, (match["options"] or "").split(",")):
        name, _, value = word.partition("=")
        given[name.strip()] = value.strip()
    try:
        return kind(**_typed(kind, given | dict(options or {})))
    except GenotypeError:
        raise
    except ValueError as error:
        raise GenotypeError(str(error)) from None


def _typed(kind: type[SearchSpace], given: Mapping[str, object]) -> dict[str, object]:
    """Turn the options into the types of the dataclass's fields; text is read, lists become tuples."""
    types = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    typed: dict[str, object] = {}
    for name, value in given.items():
        if name not in known:
            raise GenotypeError(
                f"space {kind.name!r} has no option {shorten(name)!r}; its options are: {', '.join(known)}"
            )
        try:
            if types[name] is int:
                typed[name] = int(str(value))
            elif isinstance(value, str):
                typed[name] = tuple(filter(None, re.split(r"[+,\s]+", value)))
            else:
                typed[name] = tuple(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise GenotypeError(f"space {kind.name!r}: {name} cannot be {shorten(value)!r}") from None
    return typed
