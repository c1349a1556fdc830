"""What ``count`` does: find the cells that are meant, and count their network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evo_nas.errors import UsageError
from genotypes.catalogue import space_named
from genotypes.cell import CellPair
from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.zoo import CELLS


def count(genotype: str | None, cell: str | None, *, macro: str, **size: Any) -> dict[str, Any]:
    """Count parameters and mult-adds of the network built from a genotype text, a JSON file or a published cell.

    ``size`` is what :func:`evo_nas.phenotypes.cost.cost_of` takes besides the cells.

    Raises:
        UsageError: if not exactly one of genotype and cell is given, or it cannot be read or built.
    """
    if macro != "cifar":
        raise UsageError(f"there is no macro {shorten(macro)!r}; there is: cifar")
    if (genotype is None) == (cell is None):
        raise UsageError("name either a genotype (text or JSON file) or a published cell (--cell NAME), and not both")
    try:
        cells = _published(cell) if cell is not None else read_cells(genotype or "")
        from evo_nas.phenotypes.cost import cost_of

        cost = cost_of(cells, **size)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {"parameters": cost.parameters, "mult_adds": cost.mult_adds, "macro": macro, **size}


def read_cells(text: str) -> CellPair:
    """Read a pair of cells from a genotype text, or from a JSON file that holds a genotype or a cell pair.

    Raises:
        UsageError: if the file cannot be read.
        GenotypeError: if what is written there cannot exist.
    """
    if not text.endswith(".json") and (":" in text or not _is_file(text)):
        return _decoded(Genotype.parse(text))
    path = Path(text)
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {shorten(str(error), 200)}") from error
    try:
        if isinstance(record, dict) and "choices" in record:
            return _decoded(Genotype.from_json(record))
        return CellPair.from_json(record)
    except GenotypeError as error:
        raise GenotypeError(f"{path}: {error}") from error


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or otherwise no name of a file
        return False


def _decoded(genotype: Genotype) -> CellPair:
    space = space_named(genotype.space)
    # A spelling may name defaults, or options in another order: it means the same space.
    cells = space.decode(Genotype(space.spelling, genotype.choices))
    if not isinstance(cells, CellPair):
        raise GenotypeError(f"the space {genotype.space} does not describe a pair of cells, so no network is built")
    return cells


def _published(name: str) -> CellPair:
    if name not in CELLS:
        raise UsageError(f"there is no published cell {shorten(name)!r}; there are: {', '.join(CELLS)}")
    return CELLS[name]
