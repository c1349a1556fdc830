"""The state of a run as ``status`` prints it: running or ended, how far, and how to resume it."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import Parser, add_json
from evo_nas.config import RunConfig, read_toml
from evo_nas.errors import RunFolderError, UsageError
from evo_nas.storage.log import Log, read_log
from evo_nas.storage.run_folder import RunFolder, resume_command
from evo_nas.system.terminal import duration, forgiving, pluralize
from evo_nas.system.text import open_file
from genotypes.genotype import printable, shorten
from genotypes.measure import ACCURACY, Measure

if TYPE_CHECKING:
    from evo_nas.storage.reader import Counts

SECONDS_BETWEEN_LOOKS: Final = 2.0
"""Seconds between two looks of ``--watch``."""

NAMED: Final = 8
"""Number of trials that a line names before it only counts."""


EPILOG = """\
examples:
  python -m evo_nas status runs/digits
  python -m evo_nas status runs/digits --watch"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--watch", action="store_true", help="show it until the run has ended, every 2 seconds anew")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the status."""
    status = watch(arguments.run) if arguments.watch else status_of(arguments.run)
    print(json.dumps(status.to_json(), indent=2) if arguments.json else "\n".join(status.lines()))


def watch(path: Path) -> Status:
    """Show the status on stderr, if that is a terminal, until nobody runs the run; return the last."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # Names are shown as they are, whatever they look like.
    console = Console(file=forgiving(sys.stderr), markup=False, emoji=False, highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (status := status_of(path)).state is RunState.RUNNING:
            live.update(Text("\n".join(map(printable, status.lines()))), refresh=True)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return status


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    """a process holds its lock"""
    ENDED = "ended"
    """the search is over"""
    STOPPED = "stopped"
    """it was stopped, or an error stopped it"""
    KILLED = "killed"
    """it was begun, nothing says that it ended, and nobody holds its lock"""
    UNKNOWN = "unknown"
    """there is no log, or no lock that could tell"""


@dataclass(frozen=True)
class InFlight:
    """A training that has begun: its trial, which attempt it is, and for how many seconds it has been going on."""

    id: int
    attempt: int
    seconds: float


@dataclass(frozen=True)
class Status:
    """A run at one moment; times in seconds since 1970, as the wall clock had it."""

    path: Path
    now: float
    state: RunState
    holder: str | None
    log: Log
    counts: Counts
    config: RunConfig | None
    measure: Measure = ACCURACY

    @property
    def budget(self) -> int | None:
        """Trainings that the run may hold."""
        return self.config.run.trials if self.config else None

    @property
    def resume(self) -> str | None:
        """The command that resumes the run; ``None`` while it runs and when there is nothing left to do."""
        from evo_nas.storage.endings import Reason

        spent = self.budget is not None and self.counts.trained >= self.budget
        over = self.state is RunState.ENDED and (self.log.reason != Reason.TRIALS or spent)
        if self.state is RunState.RUNNING or over or self.config is None:
            return None
        return resuming(self.path, self.config)

    @property
    def in_flight(self) -> list[InFlight]:
        """The trainings that are going on; of a run that does not run, none."""
        if self.state is not RunState.RUNNING:
            return []
        return [
            InFlight(id, attempt, _since(begun, self.now))
            for id, attempt, begun in self.counts.pending
            if begun is not None and id not in self.counts.paused and self._is_of_this_start(begun)
        ]

    @property
    def trials_an_hour(self) -> float | None:
        """Pace of the last trainings since the last start; ``None`` if too few have ended to tell.

        Intervals in which the wall clock went backwards count for nothing.
        """
        from evo_nas.storage.reader import LATELY

        ends = [moment for moment in self.counts.ends if self._is_of_this_start(moment)]
        if self.log.started is not None and len(ends) < LATELY:
            ends.insert(0, self.log.started)
        intervals = [later - earlier for earlier, later in pairwise(ends) if later >= earlier]
        return 3600 * len(intervals) / sum(intervals) if sum(intervals) > 0 else None

    @property
    def eta(self) -> float | None:
        """Seconds until the budget is spent at this pace, if it is running."""
        pace = self.trials_an_hour
        if self.state is not RunState.RUNNING or self.budget is None or not pace:
            return None
        return 3600 * max(0, self.budget - self.counts.trained) / pace

    @property
    def limit_in(self) -> float | None:
        """Seconds until the time limit, if it is running and has one."""
        limit = self.config.hardware.time_limit if self.config else None
        if self.state is not RunState.RUNNING or limit is None or self.log.started is None:
            return None
        return max(0.0, limit - _since(self.log.started, self.now))

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``status --json``; docs/survival.md documents the fields."""
        from evo_nas.storage.reader import NO_FAILURE

        ok, reused, refused = (self.counts.outcomes.get(name, 0) for name in NO_FAILURE)
        failures = self.counts.failures
        run = self.config.run if self.config else None
        best, last = self.counts.best, self.counts.last_told
        return {
            "run": str(self.path),
            "state": str(self.state),
            "holder": self.holder,
            "reason": None if self.state is RunState.RUNNING else self.log.reason,
            "began": _utc(self.log.began),
            "started": _utc(self.log.started),
            "starts": self.log.starts,
            "last_told": _utc(last),
            "seconds_since_last_told": None if last is None else _since(last, self.now),
            "strategy": run.strategy if run else None,
            "space": run.space if run else None,
            "evaluator": run.evaluator if run else None,
            "seed": run.seed if run else None,
            "trials": {"done": self.counts.trained, "budget": self.budget, "ok": ok, "failed": sum(failures.values())}
            | {"reused": reused, "refused": refused},
            "stopped_early": self.counts.stopped_early,
            "failures": failures,
            "best": None if best is None else dict(zip(("id", "fitness", "genotype"), best, strict=True)),
            "trials_an_hour": self.trials_an_hour,
            "eta_seconds": self.eta,
            "in_flight": [{"id": i.id, "attempt": i.attempt, "seconds": i.seconds} for i in self.in_flight],
            "pending": [id for id, *_ in self.counts.pending],
            "paused": sorted(self.counts.paused),
            "epochs": self.counts.epochs,
            "quarantined": [{"id": id, "genotype": genotype} for id, genotype in self.counts.quarantined],
            "time_limit_seconds": self.config.hardware.time_limit if self.config else None,
            "target_accuracy": run.target_accuracy if run else None,
            "resume": self.resume,
        }

    def lines(self) -> Iterator[str]:
        """Return the text of ``status``."""
        yield f"{printable(self.path)}: {self._how_it_is()}"
        rows = {
            "search": self._search(),
            "started": self._spell_start(),
            "trials": self._trials(),
            "best": "" if self.counts.best is None else _best(*self.counts.best),
            "pace": self._pace(),
            "limits": self._limits(),
            "in flight": self._in_flight(),
            "pending": self._spell_leftovers(),
            "left alone": _some([f"trial {id} (crashed twice)" for id, _ in self.counts.quarantined]),
            "resume": self.resume or "",
        }
        yield from (f"  {name:<10}  {text}" for name, text in rows.items() if text)

    def _is_of_this_start(self, moment: float) -> bool:
        # The log is written in whole seconds, rounded down.
        return self.log.started is None or moment >= self.log.started

    def _how_it_is(self) -> str:
        from evo_nas.storage.endings import say_why

        reason = self.log.reason or ""
        match self.state:
            case RunState.RUNNING:
                verb = "running" if self.log.last == "start" else "starting or ending"
                return f"{verb} ({shorten(self.holder or 'another process')})"
            case RunState.ENDED:
                return f"ended: {say_why(reason, self.measure)}"
            case RunState.STOPPED if reason.startswith("EndedAtOnce"):
                return "stopped: at once, by a second signal"
            case RunState.STOPPED:
                return f"stopped: {say_why(reason, self.measure)}"
            case RunState.KILLED if self.counts.has_begun:
                return "killed: it did not end, and nobody is running it"
            case RunState.KILLED:
                return "killed before its first trial; nobody is running it"
            case RunState.UNKNOWN if self.log.last == "start":
                return "running or killed: the file system has no locks that would tell"
            case _:
                return "not running; it has no log that would say how it ended"

    def _search(self) -> str:
        if self.config is None:
            return ""
        run = self.config.run
        dataset = self.config.evaluator.get("dataset")
        on = f" ({dataset})" if isinstance(dataset, str) else ""
        return shorten(f"{run.strategy} on {run.space} with {run.evaluator}{on}, seed {run.seed}", 200)

    def _spell_start(self) -> str:
        words = []
        if self.log.started is not None:
            again = f", start {self.log.starts}" if self.log.starts > 1 else ""
            age = f" ({duration(_since(self.log.started, self.now))} ago{again})"
            words.append(f"{_utc(self.log.started, ' ')} UTC{age}")
        if self.counts.last_told is not None:
            words.append(f"the last trial ended {duration(_since(self.counts.last_told, self.now))} ago")
        return ", ".join(words)

    def _trials(self) -> str:
        from evo_nas.storage.reader import NO_FAILURE

        ok, reused, refused = (self.counts.outcomes.get(name, 0) for name in NO_FAILURE)
        words = [f"{ok} ok" + (f" ({early} stopped early)" if (early := self.counts.stopped_early) else "")]
        if failures := self.counts.failures:
            which = ", ".join(f"{n} {shorten(name)}" for name, n in failures.items())
            words.append(f"{sum(failures.values())} failed ({which})")
        words += [f"{n} {name}" for n, name in ((reused, "reused"), (refused, "refused")) if n]
        of = "" if self.budget is None else f" of {self.budget}"
        epochs = f"; {pluralize(self.counts.epochs, 'epoch')} trained" if self._counts_epochs() else ""
        return f"{self.counts.trained}{of} done: {', '.join(words)}{epochs}"

    def _counts_epochs(self) -> bool:
        return self.config is not None and self.config.run.fidelity != "none"

    def _pace(self) -> str:
        pace, eta = self.trials_an_hour, self.eta
        if self.state is not RunState.RUNNING or pace is None:
            return ""
        words = f"{pace:,.0f} trials per hour" if pace >= 10 else f"{pace:.1f} trials per hour"
        if eta is not None:
            has_target = self.config is not None and self.config.run.target_accuracy is not None
            words += f"; ETA {'at most ' if has_target else ''}{duration(eta)}"
        return words

    def _limits(self) -> str:
        if self.config is None:
            return ""
        words = []
        if (limit := self.config.hardware.time_limit) is not None:
            left = "" if self.limit_in is None else f", in {duration(self.limit_in)}"
            words.append(f"time limit {duration(limit)} a start{left}")
        if (target := self.config.run.target_accuracy) is not None:
            words.append(f"target {self.measure.name} {100 * target:.2f} %")
        largest = (("parameters", self.config.run.max_parameters), ("mult-adds", self.config.run.max_mult_adds))
        words += [f"at most {most:,} {word}" for word, most in largest if most is not None]
        return "; ".join(words)

    def _in_flight(self) -> str:
        running = self.in_flight
        named = [
            f"trial {one.id} for {duration(one.seconds)}" + (f" (attempt {one.attempt})" if one.attempt > 1 else "")
            for one in running
        ]
        if self.state is not RunState.RUNNING:
            return ""
        waiting = len(self.counts.pending) - len(running) - len(self.counts.paused)
        return "; ".join(filter(None, [_some(named), f"{waiting} waiting" if waiting else "", self._spell_pauses()]))

    def _spell_pauses(self) -> str:
        return f"{len(self.counts.paused)} paused at a rung" if self.counts.paused else ""

    def _spell_leftovers(self) -> str:
        if self.state is RunState.RUNNING or not self.counts.pending:
            return ""
        cut = _some([f"trial {id}" for id, *_ in self.counts.pending if id not in self.counts.paused])
        return "; ".join(
            filter(None, [f"{cut}: not ended, will be trained again" if cut else "", self._spell_pauses()])
        )


def ends_early(config: RunConfig) -> bool:
    """Return whether trainings of a run may end before their last epoch without having failed."""
    return config.run.fidelity != "none" or config.evaluator.get("early_stopping", "none") != "none"


def resuming(path: Path, config: RunConfig) -> str:
    """Spell the command that resumes a run, with the plug-ins that have to be named again."""
    from evo_nas.run.parts import plugins_of

    return resume_command(path) + "".join(f" {flag}{shlex.quote(name)}" for flag, name in plugins_of(config))


def status_of(path: Path, clock: Callable[[], float] = time.time) -> Status:
    """Return the state of a run, finished or live, without disturbing the process that writes it.

    The history of a run that is being written is believed; any other is held to its checksums.

    Raises:
        RunFolderError: if the folder holds no run, or it is damaged.
    """
    from evo_nas.storage.reader import count_trials

    folder = RunFolder(path)
    holder = folder.holder()
    if holder is None:  # else it is a run, even if there is nothing in it yet
        RunFolder.existing(path)
    log = read_log(folder.log_file)
    if holder is None and log.last == "start":  # it may have been started a moment ago
        holder = folder.holder()
    config = _config(folder)
    stops = config is not None and ends_early(config)
    counts = count_trials(folder, is_live=holder is not None, stops=stops)
    return Status(path, clock(), _state(folder, holder, log, counts), holder, log, counts, config, folder.measure())


def _state(folder: RunFolder, holder: str | None, log: Log, counts: Counts) -> RunState:
    from evo_nas.storage.endings import Reason

    if holder is not None:
        return RunState.RUNNING
    match log.last:
        case "end":
            is_over = log.reason in set(Reason) and Reason(log.reason).is_final
            return RunState.ENDED if is_over else RunState.STOPPED
        case "stop":
            return RunState.STOPPED
        case "start":
            return RunState.KILLED if _has_locks(folder.path / "run.lock") else RunState.UNKNOWN
        case _:  # the log is begun before the first trial is asked
            return RunState.UNKNOWN if counts.has_begun else RunState.KILLED


def _has_locks(lock_file: Path) -> bool:
    """Return whether this file system supports file locks."""
    try:
        with os.fdopen(open_file(lock_file)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _config(folder: RunFolder) -> RunConfig | None:
    if not folder.config.is_file():  # a history of whoever uses the manager alone
        return None
    try:
        return RunConfig.from_tables(read_toml(folder.config))
    except UsageError as error:
        raise RunFolderError(f"{folder.path} is damaged: {error}") from error


def _since(moment: float, now: float) -> float:
    """Count the seconds from one moment to another; none if the wall clock was set back between them."""
    return max(0.0, now - moment)


def _utc(moment: float | None, between: str = "T") -> str | None:
    """Write a moment as ``2025-11-25T02:05:07``, with ``Z`` unless there is a space between."""
    if moment is None:
        return None
    with suppress(ValueError, OverflowError, OSError):
        text = datetime.fromtimestamp(moment, UTC).isoformat(between, "seconds").removesuffix("+00:00")
        return text if between == " " else text + "Z"
    return None


def _best(id: int, fitness: float, genotype: str) -> str:
    return f"{100 * fitness:.2f} % (trial {id}), {shorten(genotype, 80)}"


def _some(words: Sequence[str]) -> str:
    """List what there is, or the first of it and how many more."""
    more = len(words) - NAMED
    return ", ".join([*islice(words, NAMED), *([f"{more} more"] if more > 0 else [])])
