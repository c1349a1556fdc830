"""The command ``resume``: continue a search where it stopped."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.commands.base import Parser
from evo_nas.commands.config_flags import add_budget_and_hardware, read_flags
from evo_nas.commands.run import search_live
from evo_nas.config import from_environment, from_flags, merge
from evo_nas.errors import UsageError
from evo_nas.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from evo_nas.loop.listener import Listener
    from evo_nas.run.search import Run


EPILOG = """\
examples:
  python -m evo_nas resume runs/digits
  python -m evo_nas resume runs/digits --trials 200 --workers 2"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    add_budget_and_hardware(parser)
    for name in ("strategy", "space", "evaluator"):
        parser.add_argument(
            f"--{name}", metavar="package.module:Class", help=f"the run's plug-in {name}, if it has one"
        )
    for name, metavar in (("seed", "K"), ("dataset", "NAME")):
        parser.add_argument(f"--{name}", metavar=metavar, help="what it is; another one is refused")
    parser.add_argument("--set", metavar="TABLE.FIELD=VALUE", action="append", default=[], help="set an option")


def run(arguments: argparse.Namespace) -> int:
    """Resume a search, and return its exit code."""
    from evo_nas.run.parts import build, read_stored_config
    from evo_nas.run.search import resume

    path = arguments.run
    if any((path / name).is_file() for name in ("train.json", "top.json")):
        raise UsageError(f"{path} holds a training, no search; the train command that began it resumes it")
    flags = read_flags(arguments)
    plugins = [flags[name] for name in ("strategy", "space", "evaluator") if flags[name]]
    # The variables of hardware count here too; those of science would only be refused.
    variables = {"hardware": from_environment(os.environ).get("hardware", {})}
    with RunFolder.open(path) as folder:
        config = read_stored_config(path, merge(variables, from_flags(flags, arguments.set)), plugins)
        parts = build(config)

        def go(listeners: Sequence[Listener]) -> Run:
            return resume(config, folder, parts, listeners=listeners, heeds_signals=True)

        return search_live(path, config, parts, go)
