"""The command ``doctor``: what a search would use, how long it takes, and what to change."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from evo_nas.commands.base import Parser, add_json
from evo_nas.commands.config_flags import add_budget_and_hardware, add_flags, add_science, read_flags
from genotypes.genotype import printable


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("--strategy", metavar="NAME", help="a name of `list strategies` (default: evolution)")
    add_flags(parser, "run", ("seed",))
    add_science(parser)
    add_budget_and_hardware(parser)
    parser.add_argument("--run-dir", metavar="DIR", type=Path, help="where the run folder would lie (default: runs/)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found, and return the exit code."""
    from evo_nas.commands.doctor.examine import examine
    from evo_nas.run.parts import load_config

    def hear(words: str) -> None:
        print(f"evo_nas: {words} ...", file=sys.stderr, flush=True)

    config = load_config(read_flags(arguments), settings=arguments.set, file=arguments.config)
    report = examine(config, arguments.run_dir, hear)
    print(json.dumps(report.to_json(), indent=2) if arguments.json else "\n".join(map(printable, report.lines())))
    return report.exit_code
