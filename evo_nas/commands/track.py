"""The command ``track``: show a run to trackers, while it goes on or afterwards."""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import Parser, name_list
from evo_nas.config import BUDGET, OPTION_TABLES, RunConfig, read_toml
from evo_nas.errors import EvoNasError, UsageError
from evo_nas.storage.run_folder import TRACKERS, RunFolder, track_command
from evo_nas.system.links import refuse_links

if TYPE_CHECKING:
    from evo_nas.listeners.trackers.base import TrackedRun

PAUSE: Final = 1.0
"""Seconds between two looks at a history that is being written."""

_NICE: Final = 5
"""A tracker that a search has started leaves the processor to it."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    names = ", ".join(TRACKERS)
    parser.add_argument("--tracker", metavar="LIST", type=name_list, required=True, help=f"of {names}, with commas")


def run(arguments: argparse.Namespace) -> int:
    """Send what the trackers lack, and follow the run while it goes on; return the exit code."""
    from evo_nas.executors.guard import PARENT
    from evo_nas.listeners.followers import require_trackers
    from evo_nas.listeners.trackers.catalogue import build_tracker
    from evo_nas.listeners.trackers.follower import Follower, quiet_libraries
    from evo_nas.storage.endings import Reason
    from evo_nas.storage.log import read_log
    from evo_nas.storage.reader import HistoryReader

    is_tethered = PARENT in os.environ
    if is_tethered:  # by a search, with which it ends
        import evo_nas.executors.tether  # noqa: F401

        os.nice(_NICE)
    for name in arguments.tracker:
        if name not in TRACKERS:
            raise UsageError(f"there is no tracker {name!r}; there are: {', '.join(TRACKERS)}")
    require_trackers(arguments.tracker)
    folder = RunFolder.existing(arguments.run)
    refuse_links(folder.path, arguments.tracker)
    quiet_libraries()
    is_live = is_tethered or folder.holder() is not None
    with HistoryReader.read(folder.history, checked=not is_live) as reader:
        tracked, last = _describe(folder, reader)
        warn = _warn_of(folder.path, is_tethered)
        followers = [
            Follower(tracked, build_tracker(name, tracked), last, lambda fault, name=name: warn(name, fault))  # type: ignore[misc]
            for name in arguments.tracker
        ]
        is_over = False
        while not is_over:
            is_over = _has_ended(folder, is_tethered)
            log = read_log(folder.log_file) if is_over else None
            has_ended = log is not None and log.reason in set(Reason) and Reason(log.reason).is_final
            for follower in followers:
                follower.catch_up(is_over=is_over, has_ended=has_ended, reason=log.reason if log else None)
            if not is_over and not is_tethered:
                time.sleep(PAUSE)
    faults = [f"the tracker {one.tracker.name} was not sent all: {one.fault}" for one in followers if one.fault]
    if faults and not is_tethered:
        raise EvoNasError("; ".join(faults))
    return 1 if faults else 0


def _has_ended(folder: RunFolder, is_tethered: bool) -> bool:
    """Return whether the search is over: its process says so or has died, or nobody holds its lock."""
    if not is_tethered:
        return folder.holder() is None
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], PAUSE)
    return bool(readable)


def _warn_of(path: Path, is_tethered: bool) -> Callable[[str, str], None]:
    """Return what prints, once, that a tracker cannot be reached while the run goes on."""

    def warn(name: str, fault: str) -> None:
        if is_tethered:
            rest = track_command(path, [name])
            print(
                f"evo_nas: warning: the tracker {name} is tried again every minute, and what it lacks is sent by "
                f"`{rest}`: {fault}",
                file=sys.stderr,
            )

    return warn


def _describe(folder: RunFolder, reader: Any) -> tuple[TrackedRun, int]:
    """Return the run as trackers see it, and the P of "mean of the last P"."""
    from analysis.diversity import mean_window
    from analysis.frames import RunRecord
    from evo_nas.commands.cell_sources import find_decisions
    from evo_nas.listeners.trackers.base import TrackedRun
    from evo_nas.storage.log import read_log

    tables = RunConfig.from_tables(read_toml(folder.config)).to_tables() if folder.config.is_file() else {}
    science = {name: tables.get(name, {}) for name in ("run", *OPTION_TABLES)}
    settings = {f"{t}.{name}": value for t, table in science.items() for name, value in table.items()}
    labels = {f"run.{name}": settings.pop(f"run.{name}") for name in BUDGET if f"run.{name}" in settings}
    labels |= {f"hardware.{name}": value for name, value in tables.get("hardware", {}).items()}
    began = read_log(folder.log_file).began
    run = TrackedRun(folder.path, settings, labels, folder.measure(), reader, _draw, find_decisions, began)
    return run, mean_window([RunRecord(folder.path.name, folder.history, tables)])


def _draw(cell: str) -> bytes | None:
    """Draw what the space describes as a PNG; ``None`` where there is no picture of it."""
    from analysis.plots.designs import design_figure

    figure = design_figure(cell)
    if figure is None:
        return None
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, facecolor="white")
    return file.getvalue()
