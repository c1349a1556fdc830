"""Readers of the ``cell`` column of a history: chains, pyramids and widths, where it is no pair of cells."""

from __future__ import annotations

from analysis.frames import parse_cell
from genotypes.chain import Chain
from genotypes.genotype import GenotypeError
from genotypes.pyramid import Pyramid
from genotypes.widths import Widths


def read_pyramid(text: str | None) -> Pyramid | None:
    """Read the ``cell`` column of a history; ``None`` where the space describes something else than a pyramid."""
    try:
        return Pyramid.from_json(parse_cell(text))
    except GenotypeError:
        return None


def read_chain(text: str | None) -> Chain | None:
    """Read the ``cell`` column of a history; ``None`` where the space describes something else than a chain."""
    try:
        return Chain.from_json(parse_cell(text))
    except GenotypeError:
        return None


def read_widths(text: str | None) -> Widths | None:
    """Read the ``cell`` column of a history; ``None`` where the space describes something else than widths."""
    try:
        return Widths.from_json(parse_cell(text))
    except GenotypeError:
        return None
