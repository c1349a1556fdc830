"""The command ``diff``: what tells two pairs of cells apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evo_nas.commands.base import Parser, add_json, add_output, translate_errors

EPILOG = """\
examples:
  python -m evo_nas diff runs/RUN nasnet-a -o diff.png
  python -m evo_nas diff amoebanet-a nasnet-a --json

The graph edit distance counts what must be added, removed or given another name to get B from A: a block, or an
operation that one block applies to one hidden state. To read another state is two edits. It is 0 exactly for cells
that are the same network. Where it would take too long, it is an upper bound and says so with <=."""


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
