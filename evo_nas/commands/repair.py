"""The command ``repair``: save what can be read of a damaged history."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evo_nas.commands.base import Parser, add_json


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Save what can be read, and print what that was."""
    from evo_nas.storage.repair import repair

    result = repair(arguments.run)
    print(json.dumps(result.to_json(), indent=2) if arguments.json else "\n".join(result.lines()))
