"""One run: its parts and a folder become a manager that searches. The only place where they are put together."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_exc

from evo_nas.config import (
    RunConfig,
    differences,
)
from evo_nas.errors import RunFolderError, RunFolderMoved, UsageError, calling
from evo_nas.evaluators.base import Evaluator
from evo_nas.evaluators.limits import advise_on_limits
from evo_nas.executors.capacity import check_memory
from evo_nas.executors.choice import build_executor
from evo_nas.listeners.followers import Followers
from evo_nas.listeners.weights import WeightKeeper
from evo_nas.loop.listener import Listener
from evo_nas.manager import PopulationManager
from evo_nas.run.knowledge import gather_knowledge, restore_knowledge
from evo_nas.run.parts import Parts, fill_options, prepare
from evo_nas.signals import handle_signals
from evo_nas.storage.crashes import CrashFile, take_crash
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.storage.knowledge import fingerprint, spell_knowledge
from evo_nas.storage.run_folder import RunFolder, repair_command
from evo_nas.system.failpoints import Failpoint, reach
from evo_nas.system.resources import environment
from evo_nas.system.stops import name_ctrl_c
from evo_nas.system.text import read_text
from evo_nas.system.version import __version__

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """A run that ended: where it is and why it ended. Whatever takes a run folder takes this too.

    ``advice`` says what to do about it, where there is something to be done.
    """

    path: Path
    reason: Reason
    advice: str | None = None

    def __fspath__(self) -> str:
        return str(self.path)


def start(
    config: RunConfig,
    folder: RunFolder,
    parts: Parts,
    *,
    listeners: Sequence[Listener] = (),
    durable: bool = True,
    heeds_signals: bool = False,
) -> Run:
    """Start a new run in a folder that :meth:`RunFolder.create` has made, and search until it ends.

    The caller closes the folder. ``durable`` is that of :class:`evo_nas.storage.history.History`: whether every step
    outlives a power cut. ``heeds_signals`` lets Ctrl-C, SIGTERM and their kin end the search in order, as
    :func:`evo_nas.signals.handle_signals` says; otherwise they do what they do.

    Raises:
        RunFolderError: if the folder cannot be written, or a run to learn from cannot be read.
        UsageError: if there is nothing to learn from such a run, if the workers need much more memory than there is, or
            if the limits refused one network after another, and nothing was trained.
        DataError: if the evaluator's data is missing or damaged.
        TooManyFailures: if trial after trial failed.
    """
    try:
        parts = gather_knowledge(config, parts, folder.path)
        prepare(parts, folder.path)
        check_memory(config.hardware, parts.evaluator)
        folder.write_config(fill_options(config, parts).to_toml())
    except BaseException as error:
        folder.discard()
        if isinstance(error, KeyboardInterrupt):
            _log.info("nothing was begun: the same command begins again")
        raise
    reach(Failpoint.CONFIG_WRITTEN)
    return _begin(config, folder, parts, listeners, durable, heeds_signals)


def resume(
    config: RunConfig,
    folder: RunFolder,
    parts: Parts,
    *,
    listeners: Sequence[Listener] = (),
    durable: bool = True,
    heeds_signals: bool = False,
) -> Run:
    """Resume a run where it stopped, under the configuration of :func:`read_stored_config`, which is stored.

    ``folder`` comes from :meth:`RunFolder.open`, the other arguments are those of :func:`start`.

    Raises:
        RunFolderError: if the folder is damaged.
        UsageError: if the data of the run has changed, the workers need much more memory than there is, or the limits
            still leave nothing to train.
        DataError: if the evaluator's data is missing or damaged.
        TooManyFailures: if trial after trial failed.
    """
    with ExitStack() as stack:
        parts = restore_knowledge(config, parts, folder)
        prepare(parts, folder.path)
        check_memory(config.hardware, parts.evaluator)
        if folder.history.exists():
            lay_groundwork(parts.evaluator, listeners)
            _check_surroundings(folder, parts)
            history = stack.enter_context(History.open(folder.history, locks=folder.has_locks, durable=durable))
        elif folder.log_file.exists():
            begun = any(folder.path.glob("history.damaged-*.db"))
            mend = f"end its repair with: {repair_command(folder.path)}" if begun else "put it back from a copy"
            raise RunFolderError(f"{folder.path} is damaged: its history.db is gone; {mend}")
        folder.write_config(fill_options(config, parts).to_toml())
        reach(Failpoint.CONFIG_REWRITTEN)
        if not folder.history.exists():  # it was killed before it had one
            return _begin(config, folder, parts, listeners, durable, heeds_signals)
        return _search_anywhere(config, folder, history, parts, listeners, durable, heeds_signals)


def _begin(
    config: RunConfig,
    folder: RunFolder,
    parts: Parts,
    listeners: Sequence[Listener],
    durable: bool,
    heeds_signals: bool,
) -> Run:
    """Search in a folder that has a configuration and nothing else yet."""
    if parts.donors:
        folder.write_knowledge(spell_knowledge(parts.donors))
    lay_groundwork(parts.evaluator, listeners)
    record = {**environment(), "space": parts.space.spelling, "data": _fingerprint(parts)}
    record["measure"] = parts.evaluator.measure.to_json()
    folder.write_environment(json.dumps(record, indent=2) + "\n")
    reach(Failpoint.ENVIRONMENT_WRITTEN)
    history = History.create(folder.history, locks=folder.has_locks, durable=durable)
    return _search_anywhere(config, folder, history, parts, listeners, durable, heeds_signals)


def lay_groundwork(evaluator: Evaluator, listeners: Sequence[Listener]) -> None:
    """Have the evaluator build what all trials need, while the listeners hear how far it is."""

    def announce(words: str) -> None:
        for listener in listeners:
            listener.preparing(words)

    with calling(evaluator, "groundwork", OSError):
        evaluator.groundwork(announce)


def _fingerprint(parts: Parts) -> dict[str, str]:
    """Return name -> digest of all data that a search depends on.

    That is the evaluator's, the images of what screens, and what other runs found.
    """
    others = fingerprint(parts.donors) | ({} if parts.scorer is None else parts.scorer.images_fingerprint())
    with calling(parts.evaluator, "fingerprint", OSError):
        return {str(name): str(digest) for name, digest in {**others, **parts.evaluator.fingerprint()}.items()}


def _check_surroundings(folder: RunFolder, parts: Parts) -> None:
    """Compare what a result depends on besides the configuration with what it was when the run began.

    Raises:
        UsageError: if the data is not the same.
    """
    try:
        before = json.loads(read_text(folder.environment))
        data, versions = dict(before.get("data", {})), dict(before["versions"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # it says nothing, so there is nothing to compare
    now = environment()["versions"]
    if changed := list(differences({"data": data}, {"data": _fingerprint(parts)}, ("data",) if data else ())):
        raise UsageError(
            f"resume continues the same search, and its data is not the same: {'; '.join(changed)}; "
            "bring back the data that the run began with, or start a new run"
        )
    if changed := list(differences({"version": versions}, {"version": now}, ("version",))):
        message = f"since the run began, {'; '.join(changed)}: from here on trials need not repeat to the last digit"
        print(f"evo_nas: note: {message}", file=sys.stderr)
        folder.log("warning", message=message)


def _search_anywhere(
    config: RunConfig,
    folder: RunFolder,
    history: History,
    parts: Parts,
    listeners: Sequence[Listener],
    durable: bool,
    heeds_signals: bool,
) -> Run:
    """Search, and go on where the folder is now when it was moved meanwhile; what was in flight begins again."""
    began = time.monotonic()
    while True:
        try:
            with history:
                return _search(config, folder, history, parts, listeners, heeds_signals)
        except RunFolderMoved:
            folder.follow()
            if not history.is_at(folder.history):
                raise
        folder.log("moved", to=str(folder.path))
        print(f"evo_nas: the run folder was moved; the search continues in {folder.path}", file=sys.stderr)
        prepare(parts, folder.path)
        if limit := config.hardware.time_limit:
            left = max(0.0, limit - (time.monotonic() - began))
            config, began = replace(config, hardware=replace(config.hardware, time_limit=left)), time.monotonic()
        history = History.open(folder.history, locks=folder.has_locks, durable=durable)


def _search(
    config: RunConfig,
    folder: RunFolder,
    history: History,
    parts: Parts,
    listeners: Sequence[Listener],
    heeds_signals: bool,
) -> Run:
    """Run the manager on an open folder and an open history, and log how it ended."""
    if not folder.has_locks:
        _warn_of_missing_locks(folder)
    hardware = config.hardware
    crash_file = CrashFile(folder.crash)
    crashed = take_crash(crash_file, history)

    def watch(id: int) -> AbstractContextManager[None]:
        attempt = history.find_open_attempt(id)
        assert attempt is not None, "it is recorded before the job is submitted"
        return crash_file.watch(id, attempt[0])

    executor = build_executor(hardware, parts.evaluator, folder.path / "alive.lock", watch)
    manager = PopulationManager(
        parts.space,
        parts.strategy,
        parts.evaluator,
        executor,
        history,
        config.run,
        time_limit=hardware.time_limit,
        grace=hardware.grace,
        listeners=[WeightKeeper(folder.path, hardware.keep_weights, lambda: manager.list_heritable()), *listeners],
        crashed=crashed,
    )
    folder.log("start", evo_nas=__version__, process=os.getpid(), trials=config.run.trials, asked=history.last_id)
    for id, evaluation in crashed.items():
        folder.log("crash", trial=id, error=evaluation.error)
    with Followers(folder.path, hardware.tracker):  # which read in the log how the search ended
        try:
            with handle_signals(manager.stop) if heeds_signals else name_ctrl_c():
                reason = manager.run()
        except BaseException as error:
            if not isinstance(error, RunFolderMoved):  # at the old place nothing is ours
                folder.log("stop", error=f"{type(error).__name__}: {error}", traceback=format_exc())
            raise
        finally:
            executor.close()
            crash_file.close()
            if history.is_at(folder.history):  # it removes the file, unless the search ended before it took a crash up
                take_crash(crash_file, history)
        history.settle()  # a study believes the log that nothing is left to try
        folder.log("end", reason=str(reason))
        reach(Failpoint.ENDED)
    return Run(folder.path, reason, advise_on_limits(history, manager.limits) if reason is Reason.REFUSED else None)


def _warn_of_missing_locks(folder: RunFolder) -> None:
    message = (
        f"the file system of {folder.path} has no file locks: history.db uses a rollback journal instead of WAL, and "
        "nothing keeps a second process from writing to this run; do not start one"
    )
    print(f"evo_nas: warning: {message}", file=sys.stderr)
    folder.log("warning", message=message)
