"""One run: a configuration and a folder become a manager. The only place where the parts are put together."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_exc
from typing import Any

from evo_nas.config import (
    BUDGET,
    OPTION_TABLES,
    Hardware,
    RunConfig,
    Tables,
    differences,
    from_environment,
    from_flags,
    merge,
    read_toml,
)
from evo_nas.errors import RunFolderError, RunFolderMoved, UsageError, calling
from evo_nas.evaluators.base import Evaluator, Placement, check_evaluator, prepare_evaluator
from evo_nas.evaluators.catalogue import EVALUATORS
from evo_nas.evaluators.limits import advise_on_limits
from evo_nas.executors.capacity import check_memory
from evo_nas.executors.choice import build_executor
from evo_nas.listeners.tensorboard import TensorBoard, require_tensorboard
from evo_nas.listeners.weights import WeightKeeper
from evo_nas.manager import MEAN_OF, Listener, PopulationManager
from evo_nas.signals import handle_signals
from evo_nas.storage.crashes import CrashFile, take_crash
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import RunFolder, repair_command
from evo_nas.system.failpoints import Failpoint, reach
from evo_nas.system.resources import environment, usable_cores
from evo_nas.system.text import read_text
from evo_nas.system.version import __version__
from genotypes.catalogue import SPACES, build_space
from genotypes.genotype import shorten
from genotypes.plain import whole
from genotypes.registry import OptionError, Registry, option_types, options_of
from genotypes.space import SearchSpace, check_space
from strategies.base import SearchStrategy, check_strategy
from strategies.catalogue import STRATEGIES


@dataclass(frozen=True)
class Parts:
    """The three parts that a configuration names, built and bound to each other."""

    space: SearchSpace
    strategy: SearchStrategy
    evaluator: Evaluator


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


def load_config(
    flags: Mapping[str, Any],
    *,
    settings: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    beside: Sequence[str] = (),
) -> RunConfig:
    """Resolve a configuration: flags go before ``EVO_NAS_*`` variables, these before the TOML file.

    ``beside`` names other strategies that the same flags are meant for: an option that only they have is left out.

    Raises:
        UsageError: if a table, field, flag or name is unknown, or a value impossible.
    """
    from_file = read_toml(file) if file else {}
    from_command = from_flags(flags, settings)
    from_variables = from_environment(environ)
    for origin, tables in ((str(file), from_file), ("from the environment (EVO_NAS_*)", from_variables)):
        try:
            RunConfig.from_tables(tables)
        except UsageError as error:
            raise UsageError(f"{origin}: {error}") from error
    names = RunConfig.from_tables(merge(from_file, from_variables, from_command)).run
    # An exported variable is a habit, not a demand: where the chosen part has no such option it says nothing.
    for table, catalogue in (("strategy", STRATEGIES), ("evaluator", EVALUATORS)):
        if table in from_variables:
            known = option_types(_find(catalogue, getattr(names, table)))
            from_variables[table] = {k: v for k, v in from_variables[table].items() if k in known}
    tables = merge(from_file, from_variables, from_command)
    if beside and "strategy" in tables:
        known = option_types(_find(STRATEGIES, names.strategy))
        others = {option for name in beside for option in option_types(_find(STRATEGIES, name))} - known.keys()
        tables["strategy"] = {k: v for k, v in tables["strategy"].items() if k not in others}
    return RunConfig.from_tables(tables)


def build(config: RunConfig) -> Parts:
    """Build space, strategy and evaluator.

    Raises:
        UsageError: if a name or an option is unknown, a value impossible, or the parts do not suit each other.
        PluginError: if one of them does not keep its contract.
    """
    if config.hardware.tensorboard:
        require_tensorboard()
    try:
        name = config.run.space
        # A spelling alone imports no code; a plug-in is named by whoever runs the search.
        space = SPACES.build(name, config.space) if ":" in name else build_space(name, config.space)
        with calling(space, "its decisions and spelling"):
            check_space(space)
        given = STRATEGIES.build(config.run.strategy, config.strategy)
        with calling(given, "suited", ValueError):
            strategy = given.suited(space)
        with calling(given, "its properties"):
            check_strategy(strategy)
        evaluator = EVALUATORS.build(config.run.evaluator, config.evaluator)
        with calling(evaluator, "bind", ValueError):
            evaluator.bind(space, placement(config.hardware))
        with calling(evaluator, "its properties"):
            check_evaluator(evaluator)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _refuse_missing_metrics(strategy, evaluator)
    return Parts(space, strategy, evaluator)


def _refuse_missing_metrics(strategy: SearchStrategy, evaluator: Evaluator) -> None:
    """Refuse a strategy that compares by what the evaluator is known not to measure.

    Raises:
        UsageError: naming what is missing, what there is, and how to mend it.
    """
    given = evaluator.metrics
    if given is None or not (missing := [name for name in strategy.needs if name not in given]):
        return
    name = shorten(missing[0])
    if options_of(evaluator).get(missing[0]) is False:
        mend = f"switch it on with --set evaluator.{name}=true"
    else:
        mend = "choose among these, or another evaluator"
    raise UsageError(
        f"the strategy {strategy.name} needs the metric {name!r}, and the evaluator {evaluator.name} "
        f"gives {', '.join(given) or 'no metrics'}: {mend}"
    )


def fill_options(config: RunConfig, parts: Parts) -> RunConfig:
    """Fill the option tables with every option that the parts have, so that later defaults cannot change the run."""
    space, strategy, evaluator = map(options_of, (parts.space, parts.strategy, parts.evaluator))
    return replace(config, space=space, strategy=strategy, evaluator=evaluator)


def new_folder(config: RunConfig, parts: Parts) -> Path:
    """Name a folder below ``runs/`` that does not exist: strategy, what is searched on, seed, time."""
    what = options_of(parts.evaluator).get("dataset") or config.run.evaluator.rpartition(":")[2]
    name = f"{config.run.strategy.rpartition(':')[2]}-{what}-seed{config.run.seed}"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    candidates = (Path("runs") / f"{name}-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(path for path in candidates if not path.exists())


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
        RunFolderError: if the folder cannot be written.
        UsageError: if the workers need much more memory than there is, or if the limits refused one network after
            another, and nothing was trained.
        DataError: if the evaluator's data is missing or damaged.
        TooManyFailures: if trial after trial failed.
    """
    try:
        prepare_evaluator(parts.evaluator, folder.path)
        check_memory(config.hardware, parts.evaluator)
        folder.write_config(fill_options(config, parts).to_toml())
    except BaseException:
        folder.discard()
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
        prepare_evaluator(parts.evaluator, folder.path)
        check_memory(config.hardware, parts.evaluator)
        if folder.history.exists():
            _lay_groundwork(parts.evaluator, listeners)
            _check_surroundings(folder, parts.evaluator)
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
    _lay_groundwork(parts.evaluator, listeners)
    record = {**environment(), "space": parts.space.spelling, "data": _fingerprint(parts.evaluator)}
    record["measure"] = parts.evaluator.measure.to_json()
    folder.write_environment(json.dumps(record, indent=2) + "\n")
    reach(Failpoint.ENVIRONMENT_WRITTEN)
    history = History.create(folder.history, locks=folder.has_locks, durable=durable)
    return _search_anywhere(config, folder, history, parts, listeners, durable, heeds_signals)


def _lay_groundwork(evaluator: Evaluator, listeners: Sequence[Listener]) -> None:
    """Have the evaluator build what all trials need, while the listeners hear how far it is."""

    def announce(words: str) -> None:
        for listener in listeners:
            listener.preparing(words)

    with calling(evaluator, "groundwork", OSError):
        evaluator.groundwork(announce)


def _fingerprint(evaluator: Evaluator) -> dict[str, str]:
    with calling(evaluator, "fingerprint", OSError):
        return {str(name): str(digest) for name, digest in evaluator.fingerprint().items()}


def _check_surroundings(folder: RunFolder, evaluator: Evaluator) -> None:
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
    if changed := list(differences({"data": data}, {"data": _fingerprint(evaluator)}, ("data",) if data else ())):
        raise UsageError(
            f"resume continues the same search, and its data is not the same: {'; '.join(changed)}; "
            "bring back the data that the run began with, or start a new run"
        )
    if changed := list(differences({"version": versions}, {"version": now}, ("version",))):
        message = f"since the run began, {'; '.join(changed)}: from here on trials need not repeat to the last digit"
        print(f"evo_nas: note: {message}", file=sys.stderr)
        folder.log("warning", message=message)


def read_stored_config(path: Path, given: Tables | None = None, plugins: Sequence[str] = ()) -> RunConfig:
    """Read the configuration of a run, with a new budget or other hardware if ``given`` says so.

    A run folder is data, never code: what it names as ``package.module:Class`` is imported only if the caller names
    it in ``plugins`` too.

    Raises:
        RunFolderError: if the folder holds no run.
        UsageError: if ``given`` changes the science of the run, or a plug-in was not named.
    """
    folder = RunFolder.existing(path)
    if not folder.config.is_file():
        raise RunFolderError(f"{path} holds no run: there is no run.toml in it")
    old = RunConfig.from_tables(read_toml(folder.config))
    given = given or {}
    new = RunConfig.from_tables(merge(old.to_tables(), given))
    same = replace(old, run=replace(old.run, **{name: getattr(new.run, name) for name in BUDGET}))
    if changed := list(differences(same.to_tables(), new.to_tables(), (*OPTION_TABLES, "run"))):
        raise UsageError(f"resume continues the same search, it cannot change {'; '.join(changed)}")
    for part in OPTION_TABLES:
        name = getattr(old.run, part)
        if ":" in name and name not in plugins:
            raise UsageError(
                f"the run uses the plug-in {name}; name it on the command line too, with --{part} {name}, "
                "because a run folder alone imports no code"
            )
    return new


def placement(hardware: Hardware) -> Placement:
    """Return where evaluations run; the cores are shared out among the workers unless ``threads`` is given."""
    cores = hardware.cpus_per_trial if hardware.executor == "ray" else usable_cores() / hardware.workers
    return Placement(
        device=hardware.device,
        data_dir=hardware.data_dir,
        threads=hardware.threads or max(1, int(cores)),
        keep_weights=hardware.keep_weights > 0,
        workers=hardware.workers,
    )


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
        prepare_evaluator(parts.evaluator, folder.path)
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
    mean_of = whole(parts.strategy.window) or MEAN_OF
    tensorboard = TensorBoard(folder.path, history, mean_of) if hardware.tensorboard else None
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
        listeners=[WeightKeeper(folder.path, hardware.keep_weights), *filter(None, [tensorboard]), *listeners],
        crashed=crashed,
    )
    folder.log("start", evo_nas=__version__, process=os.getpid(), trials=config.run.trials, asked=history.last_id)
    for id, evaluation in crashed.items():
        folder.log("crash", trial=id, error=evaluation.error)
    try:
        with handle_signals(manager.stop) if heeds_signals else nullcontext(), tensorboard or nullcontext():
            reason = manager.run()
    except BaseException as error:
        if not isinstance(error, RunFolderMoved):  # at the old place nothing is ours
            folder.log("stop", error=f"{type(error).__name__}: {error}", traceback=format_exc())
        raise
    finally:
        executor.close()
        crash_file.close()
        if history.is_at(folder.history):  # which removes the file, unless the search ended before it took a crash up
            take_crash(crash_file, history)
    history.settle()  # a study believes the log that nothing is left to try
    folder.log("end", reason=str(reason))
    reach(Failpoint.ENDED)
    return Run(folder.path, reason, advise_on_limits(history, manager.limits) if reason is Reason.REFUSED else None)


def _find(catalogue: Registry[Any], name: str) -> type:
    try:
        return catalogue.find(name)
    except OptionError as error:
        raise UsageError(str(error)) from error


def _warn_of_missing_locks(folder: RunFolder) -> None:
    message = (
        f"the file system of {folder.path} has no file locks: history.db uses a rollback journal instead of WAL, and "
        "nothing keeps a second process from writing to this run; do not start one"
    )
    print(f"evo_nas: warning: {message}", file=sys.stderr)
    folder.log("warning", message=message)
