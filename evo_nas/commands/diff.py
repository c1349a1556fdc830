"""The command ``diff``: what tells two pairs of cells, two networks of widths, or two feature pyramids apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.commands.base import Parser, add_json, add_output, translate_errors
from evo_nas.errors import UsageError
from genotypes.genotype import shorten
from genotypes.pyramid import Pyramid
from genotypes.widths import Widths

if TYPE_CHECKING:
    from evo_nas.commands.cell_sources import CellSource

EPILOG = """\
examples:
  python -m evo_nas diff runs/RUN nasnet-a -o diff.png
  python -m evo_nas diff amoebanet-a nasnet-a --json

The graph edit distance counts what must be added, removed or given another name to get B from A: a block, or an
operation that one block applies to one hidden state. To read another state is two edits. It is 0 exactly for cells
that are the same network. Where it would take too long, it is an upper bound and says so with <=. Of widths
the groups of channels are listed that have other numbers in B than in A; of feature pyramids the merging cells that
read other features, or have another level or combination."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    for name, what in (("first", "A"), ("second", "B")):
        parser.add_argument(
            name, metavar=what, help="run folder (its best), genotype text, JSON file or published cell"
        )
    add_output(parser, "picture to write (default: none)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print what tells the pairs apart."""
    from analysis.cells.difference import difference
    from evo_nas.commands.cell_sources import find_meant_cells

    first, second = find_meant_cells(arguments.first), find_meant_cells(arguments.second)
    if isinstance(first.design, Widths) and isinstance(second.design, Widths):
        if arguments.output is not None:
            raise UsageError("a difference is drawn of cells alone; plot RUN RUN --kind widths draws widths")
        _compare_widths((first, second), first.design, second.design, is_json=arguments.json)
        return
    if isinstance(first.design, Pyramid) and isinstance(second.design, Pyramid):
        _compare_pyramids((first.label, second.label), (first.design, second.design), arguments)
        return
    found = difference((first.label, second.label), (first.cells, second.cells))
    files: list[Path] = []
    if arguments.output is not None:
        from analysis.plots.cells import difference_figure
        from analysis.plots.files import save

        with translate_errors():
            files = save(difference_figure(found), arguments.output)
    if arguments.json:
        print(json.dumps(found.to_json() | {"files": list(map(str, files))}, indent=2))
    else:
        print("\n".join([*found.lines(), *map(str, files)]))


def _compare_pyramids(names: tuple[str, str], pyramids: tuple[Pyramid, Pyramid], arguments: argparse.Namespace) -> None:
    """Print the merging cells that differ, and draw both pyramids with these marked."""
    from analysis.cells.pyramid_difference import compare_pyramids

    found = compare_pyramids(names, pyramids)
    files: list[Path] = []
    if arguments.output is not None:
        from analysis.cells.pyramids import PyramidColumn, pyramids_figure
        from analysis.plots.files import save

        columns = [
            PyramidColumn(f"{letter}: {shorten(name, 40)}", f"thick edge: not in {other}", pyramid, found.marks(side))
            for side, (letter, other, name, pyramid) in enumerate(zip("AB", "BA", names, pyramids, strict=True))
        ]
        with translate_errors():
            files = save(pyramids_figure(columns, f"{found.edits} parts of merging cells differ"), arguments.output)
    if arguments.json:
        print(json.dumps(found.to_json() | {"files": list(map(str, files))}, indent=2))
    else:
        print("\n".join([*found.lines(), *map(str, files)]))


def _compare_widths(sources: tuple[CellSource, CellSource], one: Widths, other: Widths, *, is_json: bool) -> None:
    """Print the groups of channels that have other widths in the other."""
    if one.seed != other.seed:
        names = " and ".join(
            f"{shorten(source.label)} ({shorten(found.network)})"
            for source, found in zip(sources, (one, other), strict=True)
        )
        raise UsageError(f"{names} have other groups of channels: widths of one network can be compared")
    differing = {name: (width, other.widths[name]) for name, width in one.widths.items() if width != other.widths[name]}
    if is_json:
        record = {"names": [source.label for source in sources], "network": one.network, "differing": differing}
        print(json.dumps(record, indent=2))
        return
    lines = [f"{letter}: {source.label}" for letter, source in zip("AB", sources, strict=True)]
    lines.append(f"{len(differing)} of {len(one.widths)} groups of {shorten(one.network)} differ, from A to B")
    print("\n".join([*lines, *(f"  {shorten(name)}: {a} -> {b}" for name, (a, b) in differing.items())]))
