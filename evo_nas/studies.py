"""A study: the same search by several strategies over many seeds, several runs at a time, to compare them.

Every run is an ordinary run folder below the study's, and ``study.json`` beside them says what was compared;
``docs/study.md`` documents it. Whoever looks at the numbers reads them from there, not from here.
"""

from __future__ import annotations

import json
import os
import signal
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final, cast

from evo_nas.config import OPTION_TABLES, RunConfig, Tables, differences, read_setting
from evo_nas.errors import EvoNasError, RunFolderError, UsageError, calling
from evo_nas.loop.listener import Listener
from evo_nas.run.knowledge import gather_knowledge
from evo_nas.run.parts import Parts, build, fill_options, list_defaults, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.storage.log import read_log
from evo_nas.storage.run_folder import RunFolder, is_of_a_run, take_lock
from evo_nas.storage.study_record import VERSION, file_name, read_study
from evo_nas.system.atomic import make_folder, write_whole
from evo_nas.system.links import refuse_links
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population
from genotypes.registry import options_of

if TYPE_CHECKING:
    from collections.abc import Generator

_NOTHING_LEFT: Final = (Reason.CONVERGED, Reason.EXHAUSTED, Reason.REFUSED)

_OWN: Final = ("strategy", "seed", "trials")
"""Fields of ``[run]`` that differ between the runs of a study, or between two parts of it."""


@dataclass(frozen=True)
class Entrant:
    """A strategy of a study: as it was listed, and the configuration of its runs but for their seeds."""

    label: str
    config: RunConfig

    @property
    def folder(self) -> str:
        """Name of its run folders, before ``-seed<k>``."""
        return file_name(self.label)


@dataclass(frozen=True)
class Study:
    """A comparison to run: every entrant on every seed."""

    entrants: tuple[Entrant, ...]
    seeds: range

    @property
    def config(self) -> RunConfig:
        """The options that all entrants share, read from the first."""
        return self.entrants[0].config

    @property
    def labels(self) -> list[str]:
        """Names of the entrants."""
        return [entrant.label for entrant in self.entrants]

    @property
    def default_folder(self) -> Path:
        """The folder of this study if none is named, the same whenever it is asked for."""
        evaluator, run = build(self.config).evaluator, self.config.run
        options = options_of(evaluator)
        what = options.get("dataset") or options.get("column") or run.evaluator.rpartition(":")[2]
        return Path("runs") / file_name(f"study-{run.space.rpartition(':')[2]}-{what}-{run.repeats}")


@dataclass(frozen=True)
class RunResult:
    """The end of a study's run: ``reason``, or else ``error`` with its exit code; ``best`` is its highest fitness."""

    label: str
    seed: int
    path: Path
    reason: Reason | None = None
    best: float | None = None
    error: str | None = None
    exit_code: int = 0


@dataclass(frozen=True)
class RunTask:
    """One run, as it is sent to a worker process: ``tables`` is its configuration, ``parent`` waits for the result."""

    label: str
    seed: int
    path: Path
    tables: Tables
    parent: int


def plan_study(
    strategies: Sequence[tuple[str, Mapping[str, Any]]],
    flags: Mapping[str, Any],
    *,
    seeds: range,
    settings: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Study:
    """Plan a study: a configuration for each strategy, by name and options, with the flags of ``run`` for all of them.

    An option of ``[strategy]`` goes to every strategy that has it; those in a strategy's brackets to it alone.

    Raises:
        UsageError: as :func:`evo_nas.run.parts.load_config` does; if a strategy is listed twice; or if something is
            set that is the study's own, such as the seed.
    """
    for table, name, _ in map(read_setting, settings):
        if table == "run" and name in ("strategy", "seed"):
            raise UsageError(
                f"--set run.{name}: each run of a study has its own; use --strategies, --seeds, --first-seed"
            )
    entrants: list[Entrant] = []
    names = [name for name, _ in strategies]
    for name, options in strategies:
        config = load_config(
            {**flags, "strategy": name, "seed": str(seeds[0])},
            settings=settings,
            file=file,
            environ={k: v for k, v in environ.items() if k not in ("EVO_NAS_WORKERS", "EVO_NAS_EXECUTOR")},
            beside=names,
        )
        if config.hardware.workers > 1 or config.hardware.executor not in ("auto", "serial"):
            raise UsageError("a run of a study has one worker, in its own process; --jobs says how many run at a time")
        words = ",".join(f"{option}={value}" for option, value in options.items())
        config = replace(
            config,
            strategy={**config.strategy, **options},
            hardware=replace(config.hardware, threads=1),
        )
        entrant = Entrant(f"{name}({words})" if words else name, config)
        if entrant.label in (other.label for other in entrants):
            raise UsageError(f"--strategies: {entrant.label} is listed twice")
        entrants.append(entrant)
    return Study(tuple(entrants), seeds)


@contextmanager
def open_study(study: Study, path: Path) -> Iterator[Study]:
    """Open a new or known study: check that it is the same one, prepare its evaluator, write ``study.json``.

    Gives the study with every option filled in. While it is open no other process can run it.

    Raises:
        RunFolderError: if the folder holds something else, is in use, or cannot be written.
        UsageError: if parts do not suit each other, or what was compared there before is not what is asked for now.
        DataError: if the evaluator's data is missing or damaged.
    """
    every_part = [gather_knowledge(entrant.config, build(entrant.config)) for entrant in study.entrants]
    known = path / "study.json"
    is_new = not path.exists()
    try:
        make_folder(path)
    except OSError as error:
        raise RunFolderError(f"cannot make the study folder {path}: {error.strerror}") from error
    if not known.is_file() and any(entry.name not in ("study.lock", "study.json.partial") for entry in path.iterdir()):
        raise RunFolderError(f"{path} is not empty and holds no study; name another folder with --study-dir")
    refuse_links(path, ["study.lock", "study.json", "figures"])
    lock, _ = take_lock(path / "study.lock", f"the study {path}")
    with closing(lock):
        try:
            # The same evaluator for all, so that what it fills in when it is prepared is the same too.
            evaluator = every_part[0].evaluator
            with calling(evaluator, "prepare", OSError):
                evaluator.prepare(path)
            filled = replace(
                study,
                entrants=tuple(
                    replace(one, config=fill_options(one.config, replace(parts, evaluator=evaluator)))
                    for one, parts in zip(study.entrants, every_part, strict=True)
                ),
            )
            record = _record(filled, evaluator.optimum)
            if known.is_file():
                record = _merge(read_study(path), record, path)
            _check_alike(record["strategies"])
        except BaseException:
            if not known.is_file():
                (path / "study.lock").unlink(missing_ok=True)
                if is_new:
                    with suppress(OSError):  # not empty, so not ours to remove
                        path.rmdir()
            raise
        write_whole(known, json.dumps(record, indent=2) + "\n")
        yield filled


def list_open_tasks(study: Study, path: Path) -> list[RunTask]:
    """List the runs of an opened study that are not finished, seed by seed, so that those there can be compared.

    Raises:
        RunFolderError: if a run folder is a link.
    """
    tasks = []
    for seed in study.seeds:
        for one in study.entrants:
            folder = path / f"{one.folder}-seed{seed}"
            refuse_links(path, [folder.name])
            if not is_finished(folder, study.config.run.trials):
                config = replace(one.config, run=replace(one.config.run, seed=seed))
                tasks.append(RunTask(one.label, seed, folder, _plain(config), os.getpid()))
    return tasks


def run_all(tasks: Sequence[RunTask], jobs: int, hear: Callable[[RunResult, int], None]) -> list[RunResult]:
    """Run or resume what :func:`list_open_tasks` listed, ``jobs`` runs at a time, and give how each ended.

    ``hear`` is called as each ends, with how many are left. A run that fails does not stop the others; Ctrl-C stops
    all. What comes out does not depend on ``jobs``.

    Raises:
        EvoNasError: if a worker process dies.
    """
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from threadpoolctl import threadpool_limits

    every: list[RunResult] = []
    jobs = min(jobs, len(tasks))
    if jobs == 0:
        return every
    try:
        # Sums of several threads can differ in their last bits: one thread, here and in each worker.
        with _quiet_tracker(), threadpool_limits(1), parallel_config("loky", inner_max_num_threads=1):
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
            results = cast("Generator[RunResult]", parallel(delayed(_search)(task, jobs) for task in tasks))
            with closing(results):
                for ended in results:
                    every.append(ended)
                    hear(ended, len(tasks) - len(every))
    except TerminatedWorkerError as error:
        raise EvoNasError("a worker process of the study died, as one does that is killed for its memory") from error
    finally:
        # Workers that wait for more are of no use to anybody; after Ctrl-C none may go on.
        if jobs > 1:
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    return every


@contextmanager
def _quiet_tracker() -> Iterator[None]:
    """Keep the process that cleans up after loky's workers from warning, after Ctrl-C, of what is gone already."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def is_finished(folder: Path, trials: int) -> bool:
    """Return whether a run needs no more: its trials are done, or it ended because there was nothing more to try."""
    try:
        with History.read(folder / "history.db") as history:
            if history.count_trainings() >= trials:
                return True
    except (RunFolderError, OSError):
        return False  # whoever runs it says what is wrong
    log = read_log(folder / "log.jsonl")
    return log.last == "end" and log.reason in _NOTHING_LEFT


class _Watch(Listener):
    """Remembers the best of a run, and ends the worker process if the process that wants the result is gone."""

    def __init__(self, parent: int | None) -> None:
        self.parent = parent
        self.best: float | None = None

    def restored(self, population: Population, trained: int) -> None:
        """Take over what was found before."""
        self.best = next((individual.fitness for individual in population.best(1)), None)

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        """Style at the best, and who is alive."""
        self.restored(population, trained)
        if self.parent is not None and os.getppid() != self.parent:
            os._exit(1)  # every step is on disk; nobody is there to be told


def _search(task: RunTask, jobs: int) -> RunResult:
    """Run or resume one run, in a worker process if there is more than one job."""
    in_worker = os.getpid() != task.parent
    if in_worker:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops its workers
    watch = _Watch(task.parent if in_worker else None)
    try:
        plugins = [name for part in OPTION_TABLES if ":" in (name := task.tables["run"][part])]
        if History.exists(task.path / "history.db"):
            config = read_stored_config(task.path, task.tables, plugins)
            with RunFolder.open(task.path) as folder:
                run = resume(config, folder, _parts(config, jobs), listeners=[watch], durable=False)
        else:
            _clear(task.path)
            config = RunConfig.from_tables(task.tables)
            with RunFolder.create(task.path) as folder:
                run = start(config, folder, _parts(config, jobs), listeners=[watch], durable=False)
    except EvoNasError as error:
        return RunResult(task.label, task.seed, task.path, best=watch.best, error=str(error), exit_code=error.exit_code)
    except Exception as error:  # a strategy that is broken costs its own runs, not those of others
        reason = "".join(traceback.format_exception_only(error)).strip()
        return RunResult(
            task.label, task.seed, task.path, best=watch.best, error=reason, exit_code=EvoNasError.exit_code
        )
    return RunResult(task.label, task.seed, task.path, run.reason, watch.best)


def _parts(config: RunConfig, jobs: int) -> Parts:
    """Build the parts of a run, whose evaluator is told how many others are at work beside it."""
    parts = build(config)
    parts.evaluator.placement = replace(parts.evaluator.placement, workers=jobs)
    return parts


def _clear(folder: Path) -> None:
    """Remove what a start left behind that was killed before its history began; whatever else is there stays."""
    if folder.is_dir() and all(is_of_a_run(entry.name) for entry in folder.iterdir()):
        lock, _ = take_lock(folder / "run.lock", f"the run folder {folder}")
        with closing(lock):
            rmtree(folder)


def _plain(config: RunConfig) -> Tables:
    """Return the tables of a configuration as ``run.toml`` will give them back."""
    return tomllib.loads(config.to_toml())


def _record(study: Study, optimum: float | None) -> dict[str, Any]:
    """Describe a study as ``study.json`` does."""
    tables = _plain(study.config)
    return {
        "version": VERSION,
        "optimum": None if optimum is None else float(optimum),
        "trials": study.config.run.trials,
        "first_seed": study.seeds.start,
        "seeds": len(study.seeds),
        "strategies": [
            {
                "label": one.label,
                "folder": one.folder,
                "name": one.config.run.strategy,
                "options": _plain(one.config)["strategy"],
            }
            for one in study.entrants
        ],
        "run": {name: value for name, value in tables["run"].items() if name not in _OWN},
        "space": tables["space"],
        "evaluator": tables["evaluator"],
    }


def _check_alike(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what would run under two labels, or two that would share folders.

    Raises:
        UsageError: naming both.
    """
    for later, entry in enumerate(entries):
        for other in entries[:later]:
            if (other["name"], other["options"]) == (entry["name"], entry["options"]):
                raise UsageError(f"--strategies: {other['label']} and {entry['label']} are the same search")
            if other["folder"] == entry["folder"]:
                raise UsageError(f"--strategies: {other['label']} and {entry['label']} would share a folder")


def _merge(old: Mapping[str, Any], new: dict[str, Any], path: Path) -> dict[str, Any]:
    """Add what is asked for now to what the study has already.

    Raises:
        UsageError: if that would be another study.
    """
    # A study of an earlier version lacks the settings that have come since; their defaults are what it had.
    defaults = {name: value for name, value in _plain(RunConfig())["run"].items() if name in new["run"]}
    evaluator = _complete("evaluator", new["run"]["evaluator"], old["evaluator"])
    past = {"run": defaults | old["run"], "space": old["space"], "evaluator": evaluator}
    shared = {name: (past[name], new[name]) for name in past}
    changed = list(differences({n: a for n, (a, _) in shared.items()}, {n: b for n, (_, b) in shared.items()}, shared))
    before = {entry["label"]: entry for entry in old["strategies"]}
    for entry in new["strategies"]:
        if (known := before.setdefault(entry["label"], entry)) is not entry:
            tables = (
                {"strategy": _complete("strategy", known["name"], known["options"])},
                {"strategy": entry["options"]},
            )
            changed += [f"of {entry['label']} {line}" for line in differences(*tables, ("strategy",))]
    if not changed and old["optimum"] != new["optimum"]:
        changed = [f"the best possible fitness from {old['optimum']} to {new['optimum']}, so its data is another"]
    if changed:
        raise UsageError(
            f"{path} is a study already, and a study cannot change {'; '.join(changed)}; "
            "name another folder with --study-dir"
        )
    return {**new, "strategies": list(before.values())}


def _complete(table: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults of what an earlier version of a strategy or an evaluator had no option for."""
    absent = {option: value for option, value in list_defaults(table, name).items() if option not in options}
    return {**_plain(RunConfig(evaluator=absent)).get("evaluator", {}), **options}
