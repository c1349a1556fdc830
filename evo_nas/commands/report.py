"""The command ``report``: what runs found, as one HTML file."""

from __future__ import annotations

import argparse

from evo_nas.commands.base import Parser, add_output, translate_errors, whole
from evo_nas.errors import UsageError


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    parser.add_argument(
        "--top", metavar="N", type=whole(10**4), default=200, help="trials in the table of the best (default: 200)"
    )
    add_output(parser, "file to write (default: RUN/figures/report.html)")


def run(arguments: argparse.Namespace) -> None:
    """Write the report, and print its name."""
    from analysis.frames import find_runs
    from analysis.plots.files import figure_file
    from analysis.report.page import report_page
    from evo_nas.system.atomic import make_folder, write_whole

    with translate_errors():
        file = arguments.output or figure_file(find_runs(arguments.runs)[0].folder, "report.html")
        if file.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{file} is no name of a report: let it end in .html")
        page = report_page(arguments.runs, top=arguments.top, command=["python", "-m", "evo_nas", *arguments.words])
        make_folder(file.parent)
        write_whole(file, page)
    print(file)
