"""The command ``table``: the trials of runs, printed or written."""

from __future__ import annotations

import argparse
import shutil
import sys

from evo_nas.commands.base import Parser, add_output, cannot_write, name_list, translate_errors, whole
from evo_nas.errors import UsageError

EPILOG = """\
examples:
  python -m evo_nas table runs/RUN --top 10
  python -m evo_nas table 'runs/evolution-*' --columns run,id,fitness,elapsed --format csv
  python -m evo_nas table runs/RUN --sort seconds:desc,id -o trials.parquet

A row is a trial, in the order told, pending ones last. Columns and units:
  run, strategy, space, evaluator, run_seed   what the trial is of
  id, parent                   counts asks from 1; the individual that was mutated
  genotype, key, cell          as text; canonical spelling; readable form
  outcome, error, trained      how it ended; why it failed; whether it is an ended training
  fitness, test, best_so_far     the evaluator's measure, a fraction in [0, 1]
  seconds, elapsed             in seconds: of the evaluation; that the run had been going for
  parameters, mult_adds        counts; mult-adds of one image
  asked, told, sample          positions among events; trainings ended until then
  asked_at, told_at            wall clock, UTC

Without --columns: in CSV, JSON and parquet all of them; in a table those that fit a terminal. Missing values are -,
in CSV nothing, in JSON null. docs/analysis.md says more."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    parser.add_argument(
        "--format", choices=("table", "csv", "json", "parquet"), help="default: as FILE is called, else table"
    )
    parser.add_argument("--columns", metavar="LIST", type=name_list, default=(), help="names with commas, or all")
    parser.add_argument(
        "--sort", metavar="LIST", type=name_list, default=(), help="columns with commas, NAME or NAME:desc"
    )
    parser.add_argument(
        "--top", metavar="N", type=whole(10**9), help="only the first N; without --sort by fitness, the highest first"
    )
    add_output(parser, "file to write (default: standard output)")


def run(arguments: argparse.Namespace) -> None:
    """Print or write the trials."""
    from analysis.tables import ALL, find_format, for_the_eye, select, write_table
    from evo_nas.system.atomic import make_folder, replace_whole

    file = arguments.output
    try:
        format = find_format(arguments.format, file)
    except ValueError as error:
        raise UsageError(str(error)) from error
    is_seen = file is None and sys.stdout.isatty()
    if is_seen and format == "parquet":
        raise UsageError("parquet is nothing for a terminal: name a file with -o FILE, or send it through a pipe")
    with translate_errors():
        if format == "table" and not arguments.columns:
            frame = for_the_eye(arguments.runs, sort=arguments.sort, top=arguments.top)
        else:
            columns = () if arguments.columns == (ALL,) else arguments.columns
            frame = select(arguments.runs, columns=columns, sort=arguments.sort, top=arguments.top)
    try:
        if file is None:
            width = shutil.get_terminal_size().columns if is_seen else None
            write_table(frame, sys.stdout.buffer, format, width=width, plain=is_seen)
            return
        make_folder(file.parent)
        with replace_whole(file) as partial, partial.open("wb") as stream:
            write_table(frame, stream, format)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if file is None:  # a pipe that nobody reads, a full disk: said, or not, as everywhere
            raise
        raise cannot_write(error) from error
    print(file)
