"""The command ``plot``: pictures of what runs did."""

from __future__ import annotations

import argparse
from pathlib import Path

from evo_nas.commands.base import Parser, add_costs, add_output, translate_errors, whole
from evo_nas.errors import UsageError
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.pyramid import Pyramid

KINDS_OFFERED = (
    *("curve", "best", "mean", "trials", "seeds", "top", "controller", "population", "aging", "widths"),
    *("front", "cells", "operations"),
)
_KINDS_HELP = (
    "curve (default): best so far and trials; best; mean: of the last P; trials; seeds: mean and band over seeds; "
    "top: best 1, 5 and 25; controller: reward and entropy; population: age and diversity; aging: who lives at four "
    "moments; front: accuracy against costs; cells, widths: of the best; operations: how they drift"
)


EPILOG = """\
examples:
  python -m evo_nas plot runs/digits
  python -m evo_nas plot runs/digits --kind cells -o best.png
  python -m evo_nas plot 'runs/study/*-seed*' --kind seeds"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("--kind", choices=KINDS_OFFERED, default="curve", metavar="KIND", help=_KINDS_HELP)
    add_costs(parser)
    parser.add_argument("--x", choices=("trials", "seconds"), default="trials", help="what against (default: trials)")
    parser.add_argument(
        "--window", metavar="P", type=whole(10**9), help="mean, population, aging: of the last P (default: the run's P)"
    )
    parser.add_argument(
        "--width", metavar="CM", type=whole(200, 4), help="centimetres of the picture, a curve's from 7"
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    add_output(parser, "picture to write (default: RUN/figures/)")


def run(arguments: argparse.Namespace) -> None:
    """Draw, and print the files."""
    from analysis.plots.cells import plot_operations
    from analysis.plots.front import plot_fronts
    from analysis.plots.kinds import KINDS, plot_kind

    is_curve = arguments.kind in KINDS
    if arguments.costs and arguments.kind != "front":
        raise UsageError("--costs says what a front is drawn against: add --kind front")
    if arguments.x != "trials" and not is_curve:
        raise UsageError("--x says what a curve is drawn against; a front has --costs")
    if arguments.window and not is_curve:
        raise UsageError("--window is that of a mean or of a population: add --kind mean or --kind population")
    if arguments.width and not is_curve and arguments.kind != "cells":
        raise UsageError(f"--width is for curves and cells, not for --kind {arguments.kind}")
    with translate_errors():
        if arguments.kind == "cells":
            files = _plot_cells(arguments)
        elif arguments.kind == "operations":
            files = plot_operations(arguments.runs, arguments.output)
        elif arguments.kind == "front":
            files = plot_fronts(arguments.runs, arguments.output, costs=arguments.costs)
        else:
            width = arguments.width and arguments.width / 2.54
            files = plot_kind(
                *(arguments.kind, arguments.runs, arguments.output),
                x=arguments.x,
                window=arguments.window,
                width=width,
            )
    print("\n".join(map(str, files)))


def _plot_cells(arguments: argparse.Namespace) -> list[Path]:
    """Draw the best cells of runs, or whatever else stands for cells."""
    from analysis.frames import find_runs
    from analysis.plots.cells import plot_cells
    from analysis.plots.files import figure_file
    from evo_nas.commands.cell_sources import find_meant_cells

    texts: list[str] = []
    for text in arguments.runs:
        is_pattern = (":" not in text or "/" in text) and any(letter in text for letter in "*?[")
        texts += [str(run.folder) for run in find_runs(text)] if is_pattern else [text]
    sources = [find_meant_cells(text) for text in texts]
    output = arguments.output
    if output is None:
        if not (Path(texts[0]) / "history.db").is_file():
            raise UsageError("these cells have no run folder to draw them into: name a file with -o FILE")
        output = figure_file(Path(texts[0]), "cells.png")
    said = ["" if source.fitness is None else f"{100 * source.fitness:.2f} %" for source in sources]
    named = [
        (source.label, words, source.design if isinstance(source.design, EdgeCell | Chain | Pyramid) else source.cells)
        for source, words in zip(sources, said, strict=True)
    ]
    return plot_cells(named, output, width=arguments.width and arguments.width / 2.54)
