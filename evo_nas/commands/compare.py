"""The command ``compare``: strategies compared over their runs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from evo_nas.commands.base import Parser, add_json, add_output, fraction, translate_errors, whole

if TYPE_CHECKING:
    from analysis.comparison.compare import Comparison


EPILOG = """\
examples:
  python -m evo_nas compare runs/evolution runs/random
  python -m evo_nas compare 'runs/study/*-seed*' --target 0.9"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folder, or a pattern of them")
    add_output(parser, "picture to write (default: RUN/figures/)")
    parser.add_argument("--target", metavar="ACC", type=fraction, help="samples to reach it, a fraction in [0, 1]")
    parser.add_argument(
        "--trials", metavar="N", type=whole(10**9), help="compare after N trainings (default: what all runs have)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare, and print what was found."""
    from analysis.plots.compare_report import compare_runs

    with translate_errors():
        comparison = compare_runs(arguments.runs, arguments.output, target=arguments.target, trials=arguments.trials)
    print_comparison(comparison, arguments.json)


def print_comparison(comparison: Comparison, as_json: bool) -> None:
    """Print what was found."""
    print(json.dumps(comparison.to_json(), indent=2) if as_json else "\n".join(comparison.lines()))
