"""The search spaces by name, and the way from a spelling back to the space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from genotypes.genotype import GenotypeError, shorten
from genotypes.registry import OptionError, Registry
from genotypes.space import SearchSpace

SPACES: Final = Registry(
    "space",
    SearchSpace,  # type: ignore[type-abstract]
    {
        "nasnet": "genotypes.spaces.nasnet:NASNetSpace",
        "amoebanet": "genotypes.spaces.amoebanet:AmoebaNetSpace",
        "pnas": "genotypes.spaces.pnas:PNASSpace",
        "darts": "genotypes.spaces.darts:DARTSSpace",
        "bits": "genotypes.spaces.bits:BitsSpace",
        "nasbench201": "genotypes.spaces.nasbench201:NASBench201Space",
        "natsbench-size": "genotypes.spaces.natsbench:NATSBenchSizeSpace",
        "fcnet": "genotypes.spaces.fcnet:FCNetSpace",
        "widths": "genotypes.spaces.widths:WidthsSpace",
        "nasfpn": "genotypes.spaces.nasfpn:NASFPNSpace",
        "detnas": "genotypes.spaces.detnas:DetNASSpace",
    },
)
"""A new space is a file beside ``nasnet.py`` and a line here."""

_SPELLING = re.compile(r"(?P<name>[^()]+)(?:\((?P<options>[^()]*)\))?")


def build_space(spelling: str, options: Mapping[str, object] | None = None) -> SearchSpace:
    """Build a space from its name or full spelling, as in ``nasnet`` or ``nasnet(blocks=3,combines=add)``.

    Options given as a mapping win over those in the spelling. Spellings come with data, so that they never import
    code: for a plug-in use ``SPACES.build("package.module:Class", options)``.

    Raises:
        GenotypeError: if no space has that name, or an option is unknown, named twice or has an impossible value.
    """
    match = _SPELLING.fullmatch(spelling)
    if match is not None and match["name"] not in SPACES:
        raise GenotypeError(f"there is no space {shorten(match['name'])!r}; there are: {', '.join(SPACES)}")
    if match is None:
        raise GenotypeError(f"{shorten(spelling)!r} is no space: write a name, as in nasnet or nasnet(blocks=3)")
    given: dict[str, object] = {}
    words = match["options"].split(",") if match["options"] else []
    if len(words) > 1 and not words[-1].strip():  # a comma at the end is no fault
        words.pop()
    for word in words:
        name, equals, value = map(str.strip, word.partition("="))
        if not (name and equals and value):
            raise GenotypeError(f"{shorten(spelling)!r} is no space: an option is NAME=VALUE, not {shorten(word)!r}")
        if name in given:
            raise GenotypeError(f"{shorten(spelling)!r} is no space: it names the option {shorten(name)} twice")
        given[name] = value
    try:
        return SPACES.build(match["name"], given | dict(options or {}))
    except OptionError as error:
        raise GenotypeError(str(error)) from error
