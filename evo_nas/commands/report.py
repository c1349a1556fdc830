"""The command ``report``: what runs found, as one HTML file."""

from __future__ import annotations

import argparse

from evo_nas.commands.base import Parser, add_output, translate_errors, whole

EPILOG = """\
examples:
  python -m evo_nas report runs/digits
  python -m evo_nas report runs/evolution runs/random -o report.html"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    parser.add_argument(
        "--top", metavar="N", type=whole(10**4), default=200, help="trials in the table of the best (default: 200)"
    )
    add_output(parser, "file to write (default: RUN/figures/report.html)")


def run(arguments: argparse.Namespace) -> None:
    """Write the report, and print its name."""
    from analysis.report.page import write_report

    command = ["python", "-m", "evo_nas", *arguments.words]
    with translate_errors():
        print(write_report(arguments.runs, arguments.output, top=arguments.top, command=command))
