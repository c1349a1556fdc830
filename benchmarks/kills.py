"""Runs that are killed and resumed, seen from outside: their processes, their trainings, what is in their history.

What a run promises to whoever kills it is checked against three witnesses that it cannot talk to: the list of
processes, a file to which every training adds a line when it begins, and a copy of the history as each kill left it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.states import keep_states, state_file
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.run.parts import build, read_stored_config
from evo_nas.storage.checksums import damage
from evo_nas.storage.schema import ASK
from evo_nas.system.atomic import write_whole
from evo_nas.system.failpoints import VARIABLE
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.space import SearchSpace
from genotypes.spaces.widths import WidthsSpace
from genotypes.widths import ALIVE
from strategies.evolution import RegularizedEvolution

ROOT = Path(__file__).parents[1]
EVALUATOR, EVALUATOR_OF_WIDTHS, EVALUATOR_OF_RUNGS, DIARIST = (
    f"{__name__}:{name}" for name in ("Witnessed", "Narrowed", "Climbing", "Diarist")
)
PLUG_INS = (EVALUATOR, EVALUATOR_OF_WIDTHS, EVALUATOR_OF_RUNGS, DIARIST)
MARK = "KILLS_MARK"
"""A variable in the environment of a run's processes, by which its orphans are found too."""
SECONDS_TO_DIE = 120.0
"""When whoever still lives of a run that has ended is taken never to end: no machine is so busy. How long the slowest
took is in the tally."""
SECONDS_TO_LIVE = 600.0
"""How long a life may last that nobody ends: much longer than any of these, so it hangs."""

SPACES = {"pnas": "pnas", "morphnet": "widths", "multiplier": "widths"}
"""Where a strategy searches, if not on the small space of most."""
OPTIONS: dict[str, dict[str, object]] = {
    "random": {},
    "evolution": {"population": 6, "sample": 3},
    "rl": {"batch": 5, "passes": 2},
    "pnas": {"beam": 8, "ensemble": 2, "epochs": 2},
    "local": {"starts": 3},
    "guided": {"initial": 5, "children": 20, "strangers": 5, "memory": 10},
    "genetic": {"population": 8, "parents": 3},
    "optuna": {"memory": 10},
    "nevergrad": {},
    "hyperopt": {"memory": 25},
    "morphnet": {},
    "multiplier": {},
}
"""Options with which a strategy learns, and forgets, within few trials."""


# Plug-ins of the runs: an evaluator that others can watch, and a strategy that keeps notes without torch -------------


def _sleep() -> None:
    while True:
        time.sleep(3600)


def _defy() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _sleep()


def _crash(how: Callable[[], object]) -> None:
    """Crash in native code, without the image of the memory that some machines keep of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    how()


def _lose_a_child() -> None:
    if (child := os.fork()) == 0:
        _crash(os.abort)
    os.waitpid(child, 0)


DEEDS: dict[str, Callable[[], object]] = {
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleep": _sleep,
    "defy": _defy,
    "hog": lambda: re.fullmatch("(a|aa)+", "a" * 200 + "b"),  # in C, and exponential: the interpreter is never let go
    "breed": lambda: subprocess.Popen(["sleep", "1000"]),
    "abort": lambda: _crash(os.abort),
    "segfault": lambda: _crash(lambda: ctypes.string_at(0)),
    **{
        f"sig{name}": partial(_crash, partial(signal.raise_signal, signal.Signals[f"SIG{name.upper()}"]))
        for name in ("bus", "ill", "fpe")
    },
    "lose-a-child": _lose_a_child,
}
"""What a training can do to its process."""


@dataclass
class Witnessed(ToyEvaluator):
    """The toy landscape, with a curve and costs; each training writes a line when it begins.

    ``deeds`` are what some trials do then, named by id or genotype, one after the other: ``3:breed,3:sleep``. With
    ``-once``, as in ``3:die-once``, it is done in the first training of the trial only.
    """

    name: ClassVar[str] = "witnessed"
    preload: ClassVar[tuple[str, ...]] = (__name__,)

    deeds: tuple[str, ...] = ()

    def evaluate(self, job: Job) -> Evaluation:
        path = trainings_file(self.directory)
        line = {"id": job.id, "genotype": str(job.genotype), "seed": job.seed, "brief": job.brief}
        line |= {"process": os.getpid(), "at": time.time()}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for deed in self.deeds:
            whose, _, what = deed.rpartition(":")
            what, once, _ = what.partition("-once")
            if whose in (str(job.id), str(job.genotype)) and not (once and trainings_of(path)[job.id] > 1):
                DEEDS[what]()
        evaluation = super().evaluate(job)
        assert evaluation.fitness is not None
        curve = (evaluation.fitness / 3, evaluation.fitness / 2, evaluation.fitness)
        return replace(evaluation, curve=curve, metrics={"parameters": 1000.0 + job.id, "depth": 0.5})


@dataclass
class Climbing(Witnessed):
    """The same for trainings that pause: the curve nears the fitness, and its state is a file that must be there.

    What it would come to is drawn once, so that the parts of a training are those of a whole one.
    """

    name: ClassVar[str] = "climbing"

    epochs: int = 9

    def count_pausable_epochs(self) -> int:
        return self.epochs

    def keep_states(self, wanted: Mapping[int, int]) -> None:
        keep_states(self.directory, wanted)

    def evaluate(self, job: Job) -> Evaluation:
        assert job.until is not None
        whole = super().evaluate(job)
        assert whole.fitness is not None
        if job.so_far is not None:
            before = state_file(self.directory, job.id, len(job.so_far.curve))
            if json.loads(before.read_text("utf-8")) != list(job.so_far.curve):
                raise ValueError(f"the state of trial {job.id} is another")
        speed = job.rng().uniform(0.5, 2.0)
        curve = tuple(whole.fitness * (1 - float(np.exp(-speed * epoch))) for epoch in range(1, job.until + 1))
        if job.until < self.epochs:
            path = state_file(self.directory, job.id, job.until)
            path.parent.mkdir(exist_ok=True)
            write_whole(path, json.dumps(curve))
        metrics = {**whole.metrics, "epochs": float(job.until), "stopped": float(job.until < self.epochs)}
        seconds = (whole.seconds or 0.0) + (job.so_far.seconds or 0.0 if job.so_far else 0.0)
        return replace(whole, fitness=curve[-1], curve=curve, metrics=metrics, seconds=seconds)


@dataclass
class Narrowed(Witnessed):
    """The same for widths: what they cost, and how many channels are alive after a training, drawn with its seed."""

    name: ClassVar[str] = "narrowed"

    def complete(self, space: SearchSpace, placement: Placement) -> SearchSpace:
        assert isinstance(space, WidthsSpace)
        return WidthsSpace.of(space.network, {f"group{i}": 8 * i for i in range(1, 6)})

    @property
    def metrics(self) -> tuple[str, ...]:
        assert isinstance(self.space, WidthsSpace)
        return ("parameters", "depth", *(f"{ALIVE}{group}" for group in self.space.seed))

    def cost(self, genotype: Genotype) -> Cost:
        assert isinstance(self.space, WidthsSpace)
        widths = self.space.widths(genotype)
        return Cost(sum(widths), sum(before * after for before, after in pairwise(widths)))

    def evaluate(self, job: Job) -> Evaluation:
        assert isinstance(self.space, WidthsSpace)
        evaluation, rng = super().evaluate(job), job.rng()
        widths = self.space.decode(job.genotype).widths
        alive = {f"{ALIVE}{group}": float(rng.integers(1, width + 1)) for group, width in widths.items()}
        return replace(evaluation, metrics={**evaluation.metrics, **alive})


@dataclass
class Diarist(RegularizedEvolution):
    """Evolution that notes what it was told, to have every table of a history filled without torch."""

    name: ClassVar[str] = "diarist"

    def start(self, space: Any, rng: np.random.Generator) -> None:
        super().start(space, rng)
        self._told = 0

    @property
    def lookback(self) -> None:
        return None  # it counts from the beginning

    def tell(self, individual: Individual, rng: np.random.Generator) -> dict[str, float]:  # type: ignore[override]
        super().tell(individual, rng)
        self._told += 1
        return {"told": float(self._told), "fitness": individual.fitness or 0.0}


# A run and its lives -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """What a run is asked to do. ``seconds`` is the median of a training, ``sigma`` the spread of its logarithm.

    With ``pauses`` the trainings climb rungs, and their states must be there; not for strategies of widths.

    ``science`` is said when a run begins, ``hardware`` also when it is resumed.
    """

    strategy: str
    workers: int = 1
    trials: int = 30
    seconds: float = 0.01
    sigma: float = 0.5
    seed: int = 0
    deeds: str = ""
    space: str | None = None
    science: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    pauses: bool = False

    @property
    def flags(self) -> dict[str, object]:
        """The flags with which the run begins, by name."""
        return {
            "space": self.space or SPACES.get(self.strategy, "nasnet(blocks=1)"),
            "strategy": DIARIST if self.strategy == "diarist" else self.strategy,
            "evaluator": self._evaluator,
            "seed": self.seed,
            "trials": self.trials,
            "workers": self.workers,
        }

    @property
    def _evaluator(self) -> str:
        if self.pauses:
            return EVALUATOR_OF_RUNGS
        return EVALUATOR_OF_WIDTHS if SPACES.get(self.strategy) == "widths" else EVALUATOR

    @property
    def settings(self) -> list[str]:
        """What ``--set`` takes when the run begins."""
        options = {f"strategy.{k}": v for k, v in OPTIONS.get(self.strategy, OPTIONS["evolution"]).items()}
        options |= {f"evaluator.{name}": getattr(self, name) for name in ("seconds", "sigma", "deeds")}
        options |= {"run.fidelity": "epochs", "run.fidelity_patience": 4} if self.pauses else {}
        return [f"{name}={value}" for name, value in options.items()]

    def command(self, folder: Path) -> list[str]:
        """Spell the command that begins the run, or resumes it."""
        words = [sys.executable, "-m", "evo_nas"]
        if (folder / "run.toml").exists():
            words += ["resume", str(folder)]
            flags = {name: self.flags[name] for name in ("strategy", "evaluator", "trials", "workers")}
        else:
            words += ["run", "--run-dir", str(folder), *self.science]
            words += [word for setting in self.settings for word in ("--set", setting)]
            flags = self.flags
        return [*words, *(f"--{name}={value}" for name, value in flags.items()), *self.hardware]


class Life:
    """One process of a run, with the processes that it starts, until it ends or is killed."""

    def __init__(self, search: Search, folder: Path, *, failpoint: str | None = None) -> None:
        self.folder = folder
        self.mark = f"{MARK}={folder}#{time.monotonic_ns()}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVO_NAS_")}
        environment |= {"PYTHONPATH": str(ROOT), MARK: self.mark.partition("=")[2]}
        if failpoint:
            environment[VARIABLE] = failpoint
        self.words = folder.with_name(f"{folder.name}.err")  # the last life's, for whoever wants to know what happened
        with self.words.open("wb") as words:
            self.process = subprocess.Popen(
                search.command(folder), env=environment, stdout=subprocess.DEVNULL, stderr=words
            )
        self.began = self.ended = time.monotonic()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end, and give its exit code; ``None`` if it still lives after so many seconds."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self.ended = time.monotonic()
        return code

    def kill(self) -> int:
        """Kill the main process alone, and give its exit code: it may have ended before."""
        self.process.kill()
        self.ended = time.monotonic()
        return self.process.wait()

    def processes(self) -> list[int]:
        """List whatever descends from it and lives, orphans included; what waits to be reaped does not live."""
        wanted, found = os.fsencode(self.mark), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):  # it has ended, or is somebody else's
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def survivors(self) -> list[int]:
        """List who still lives :data:`SECONDS_TO_DIE` after its end; gives an empty list as soon as nobody does."""
        deadline = self.ended + SECONDS_TO_DIE
        while True:
            is_late = time.monotonic() >= deadline
            found = self.processes()
            if not found or is_late:
                return found
            time.sleep(0.01)

    def last_words(self) -> str:
        """What it wrote to stderr."""
        return self.words.read_text("utf-8")


# What the witnesses say ----------------------------------------------------------------------------------------------


def trainings_file(folder: Path) -> Path:
    """Name the file of a run's trainings. It lies beside the folder, where a run has no business."""
    return folder.with_name(f"{folder.name}.trainings")


def trainings(folder: Path) -> list[dict[str, Any]]:
    """List the trainings that began, in the order in which they did; a line that is being written is left out."""
    path = trainings_file(folder)
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def trainings_of(path: Path) -> Counter[int]:
    """Count the trainings of each trial."""
    return Counter(json.loads(line)["id"] for line in path.read_text("utf-8").splitlines())


@dataclass(frozen=True)
class Record:
    """The tables of a history as they are, and what is wrong with them, if anything."""

    trial: list[dict[str, Any]]
    attempt: list[dict[str, Any]]
    note: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    rung: list[dict[str, Any]]
    damage: str | None

    @property
    def told(self) -> dict[int, dict[str, Any]]:
        """The trials that ended, by id."""
        return {row["id"]: row for row in self.trial if row["told"] is not None}

    @property
    def trained(self) -> int:
        """How many trainings ended."""
        return sum(row["seconds"] is not None for row in self.trial)

    @property
    def repeated(self) -> int:
        """How many attempts did not end, in a run that has: so many had to be made again."""
        return sum(row["outcome"] is None for row in self.attempt)

    def science(self) -> dict[str, Any]:
        """Everything that must not depend on when and how often the run was killed: no times, no sums of them."""
        clock = {"asked_at", "told_at", "asked_sum", "told_sum", "sum", "started_at", "ended_at", "number", "paused_at"}
        trials = [{name: row[name] for name in row if name not in clock} for row in self.trial]
        for row in trials:
            if row["outcome"] in (Outcome.CRASH, Outcome.TIMEOUT):
                row["seconds"] = -1.0  # measured, not simulated
        last = {row["trial"]: row["outcome"] for row in self.attempt}
        return {"trial": trials, "attempt": last} | {
            name: [{n: row[n] for n in row if n not in clock} for row in getattr(self, name)]
            for name in ("note", "curve", "rung")
        }


def recorded(folder: Path) -> Record | None:
    """Read a copy of a history, so that looking at it mends nothing; ``None`` if it has no tables yet."""
    path = folder / "history.db"
    if not path.is_file():
        return None
    with TemporaryDirectory(prefix="kills-") as copies:
        for file in folder.glob("history.db*"):
            if not file.name.endswith("-shm"):  # a reader makes it anew from the log
                shutil.copy2(file, copies)
        with closing(sqlite3.connect(Path(copies) / path.name)) as connection:
            connection.row_factory = sqlite3.Row
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return None
            order = {"trial": "id", "attempt": "trial, number", "note": "trial, name", "curve": "trial, epoch"}
            order["rung"] = "trial, epoch"
            tables = {
                name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY {columns}")]
                for name, columns in order.items()
            }
            connection.row_factory = None
            return Record(**tables, damage=damage(connection))


@dataclass
class Tally:
    """What the kills of a run, or of many, have cost; ``problems`` says in words what should not have happened."""

    kills: int = 0
    in_flight: int = 0  # kills that met a training
    runs: int = 0
    trials: int = 0
    repeated: int = 0
    lost: int = 0
    duplicated: int = 0
    damaged: int = 0
    different: int = 0  # decisions, or rows, that an uninterrupted run would not have
    survivors: int = 0
    slowest: float = 0.0  # seconds until the last process was gone
    problems: list[str] = field(default_factory=list)

    def __iadd__(self, other: Tally) -> Tally:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name == "slowest" else mine + value)
        return self

    def add(self, what: str, problems: list[str]) -> None:
        """Count problems of a kind."""
        setattr(self, what, getattr(self, what) + len(problems))
        self.problems += [f"{what}: {problem}" for problem in problems]


Moment = Callable[[Life], int | None]
"""Waits for the moment at which a life is to end by force; gives the exit code of one that has ended before."""


def after(seconds: float) -> Moment:
    """Kill so many seconds after the start."""
    return lambda life: life.wait(seconds)


def at_training(number: int, later: float) -> Moment:
    """Kill some seconds later than the start of the life's so-manieth training."""

    def wait(life: Life) -> int | None:
        until = size_of_line(life.folder, number)
        while (code := life.wait(0.002)) is None and len(trainings(life.folder)) < until:
            pass
        return life.wait(later) if code is None else code

    def size_of_line(folder: Path, number: int) -> int:
        return len(trainings(folder)) + number

    return wait


def random_moment(rng: np.random.Generator, duration: float, search: Search) -> Moment:
    """Draw a moment: of the whole duration of a run, start-up included, or, as often, while it trains."""
    if rng.random() < 0.5:
        return after(rng.uniform(0.0, duration))
    return at_training(int(rng.integers(1, max(2, search.trials // 2))), rng.uniform(0.0, 2 * search.seconds))


@dataclass
class Killed:
    """A run that is killed again and again, and what is held against it."""

    search: Search
    folder: Path
    tally: Tally = field(default_factory=Tally)
    is_over: bool = False
    _seen: list[tuple[Record, Counter[int]]] = field(default_factory=list)
    _lives: list[Life] = field(default_factory=list)
    _funerals: list[threading.Thread] = field(default_factory=list)

    def live(self, moment: Moment | None = None, *, failpoint: str | None = None) -> int:
        """Begin the run or resume it, until the moment has come or it ends by itself; give the exit code.

        Nobody waits for its orphans: what is left of one life must not hinder the next.
        """
        before = recorded(self.folder)
        life = Life(self.search, self.folder, failpoint=failpoint)
        self._lives.append(life)
        code = moment(life) if moment else life.wait(SECONDS_TO_LIVE)
        if code is None:
            code = life.kill()
            assert moment is not None, "the run hangs"
        self._funerals.append(threading.Thread(target=self._bury, args=(life, code)))
        self._funerals[-1].start()
        record = recorded(self.folder)
        if code == -signal.SIGKILL:
            self._was_killed(before, record)
        elif code != 0:
            self.tally.add("different", [f"exit code {code}: {life.last_words()}"])
        self.is_over = code != -signal.SIGKILL
        return code

    def _bury(self, life: Life, code: int) -> None:
        """Wait until nothing of a life is left, or it should not be there any more."""
        found = life.survivors()
        self.tally.add("survivors", [f"process {pid} outlives its run" for pid in found])
        if code == -signal.SIGKILL:
            self.tally.slowest = max(self.tally.slowest, time.monotonic() - life.ended)

    def _was_killed(self, before: Record | None, record: Record | None) -> None:
        self.tally.kills += 1
        if record is None:
            if before is not None:
                self.tally.add("lost", ["the whole history"])
            return
        if record.damage:
            self.tally.add("damaged", [record.damage])
        attempts = before.attempt if before else []
        cut = {(row["trial"], row["number"] + 1) for row in attempts if row["outcome"] != Outcome.OK}
        new = {(row["trial"], row["number"]) for row in record.attempt}
        new -= {(row["trial"], row["number"]) for row in attempts}
        if (n := len(new & cut)) > self.search.workers:
            self.tally.add("duplicated", [f"{n} trials were repeated after a kill, with {self.search.workers} workers"])
        self.tally.in_flight += any(row["told"] is None for row in record.trial)
        self._seen.append((record, Counter(row["id"] for row in trainings(self.folder))))

    def judge(self, reference: Record | None = None) -> Tally:
        """Hold the run, which has ended, against its promises; with one worker also against the uninterrupted one."""
        for funeral in self._funerals:
            funeral.join()
        tally, record = self.tally, recorded(self.folder)
        assert record is not None, self._lives[-1].last_words()
        tally.runs += 1
        tally.trials += record.trained
        tally.repeated += record.repeated
        if record.damage:
            tally.add("damaged", [record.damage])
        if record.trained != self.search.trials:
            tally.add("different", [f"{record.trained} trainings, not {self.search.trials}"])
        if record.repeated > tally.kills * self.search.workers:
            tally.add("duplicated", [f"{record.repeated} repeated trainings after {tally.kills} kills"])
        self._judge_kills(record)
        self._judge_trainings(record)
        tally.add("different", replayed(self.folder, record))
        if not self.search.deeds:
            failed = [row for row in record.trial if row["outcome"] not in (Outcome.OK, Outcome.REUSED)]
            tally.add("different", [f"trial {row['id']} ended {row['outcome']}: {row['error']}" for row in failed])
        if reference is not None:
            mine, whole = record.science(), reference.science()
            tally.add(
                "different",
                [f"table {name} is not that of an uninterrupted run" for name in whole if mine[name] != whole[name]],
            )
        return tally

    def _judge_kills(self, record: Record) -> None:
        """What was there at a kill must be there in the end, to the last digit; what was told is not trained again."""
        rows, began = {row["id"]: row for row in record.trial}, Counter(row["id"] for row in trainings(self.folder))
        for seen, before in self._seen:
            told = seen.told
            self.tally.add("lost", [f"the result of trial {id}" for id in told if told[id] != rows.get(id)])
            asked = [row for row in seen.trial if row["id"] not in told]
            changed = [
                row["id"] for row in asked if any(row[name] != rows.get(row["id"], {}).get(name) for name in ASK)
            ]
            self.tally.add("lost", [f"the ask of trial {id}" for id in changed])
            again = [id for id in told if began[id] != before[id]]
            self.tally.add("duplicated", [f"trial {id} was trained again after it was told" for id in again])
            kept = [(table, row) for table in ("note", "curve", "rung") for row in getattr(seen, table)]
            gone = [f"{table} {row}" for table, row in kept if row not in getattr(record, table)]
            self.tally.add("lost", gone)

    def _judge_trainings(self, record: Record) -> None:
        """Ids and events without gaps; a network trained once; a repeated training is the same training."""
        ids = [row["id"] for row in record.trial]
        events = [row[event] for row in record.trial for event in ("asked", "told") if row[event] is not None]
        events = sorted([*events, *(row["event"] for row in record.rung)])
        if ids != list(range(1, len(ids) + 1)) or events != list(range(1, 2 * len(ids) + len(record.rung) + 1)):
            self.tally.add("duplicated", [f"ids {ids}, events {events}"])
        keys = Counter(row["key"] for row in record.trial if row["outcome"] == Outcome.OK)
        self.tally.add("duplicated", [f"network {key} was trained {n} times" for key, n in keys.items() if n > 1])
        asked = {row["id"]: (row["genotype"], row["seed"], json.loads(row["brief"])) for row in record.trial}
        began = trainings(self.folder)
        other = [line for line in began if asked.get(line["id"]) != (line["genotype"], line["seed"], line["brief"])]
        self.tally.add("different", [f"a training that was not asked for: {line}" for line in other])
        attempts = Counter(row["trial"] for row in record.attempt)
        attempts.subtract(Counter(line["id"] for line in began))
        self.tally.add("lost", [f"an attempt of trial {id}" for id, n in attempts.items() if n < 0])


def replayed(folder: Path, record: Record) -> list[str]:
    """Tell a strategy the recorded sequence of events, and list what it does not decide as the run did."""
    config = read_stored_config(folder, {}, PLUG_INS)
    parts = build(config)
    parts.strategy.use_cost(parts.space, parts.evaluator.cost)
    strategy, seed = parts.strategy, config.run.seed
    strategy.start(parts.space, np.random.default_rng([seed]))
    population = Population(strategy.window)
    proposals = {
        row["id"]: Proposal(Genotype.parse(row["genotype"]), row["parent"], tuple(json.loads(row["memo"])))
        for row in record.trial
    }
    notes: dict[int, dict[str, float]] = {}
    for row in record.note:
        notes.setdefault(row["trial"], {})[row["name"]] = row["value"]
    events: list[tuple[int, int, dict[str, Any] | None]] = [(row["asked"], row["id"], None) for row in record.trial]
    events += [(row["told"], row["id"], row) for row in record.trial if row["told"] is not None]
    pending: set[int] = set()
    differences = []
    for _, id, told in sorted(events, key=lambda event: event[0]):
        if told is None:
            waiting = [proposals[other] for other in sorted(pending)]
            if strategy.ask(population, waiting, np.random.default_rng([seed, id, 1])) != proposals[id]:
                differences.append(f"ask {id} is not what the strategy would ask")
            pending.add(id)
            continue
        pending.remove(id)
        proposal = proposals[id]
        individual = Individual(
            id,
            proposal.genotype,
            Outcome(told["outcome"]),
            told["fitness"],
            proposal.parent,
            proposal.memo,
            json.loads(told["metrics"]),
        )
        population.add(individual)
        said = strategy.tell(individual, np.random.default_rng([seed, id, 2])) or {}
        if {name: value for name, value in said.items() if np.isfinite(value)} != notes.get(id, {}):
            differences.append(f"the notes of trial {id} are not what the strategy would note")
    return differences


def uninterrupted(search: Search, folder: Path) -> tuple[Record, float]:
    """Run a search to its end, and give its history and its seconds."""
    life = Life(search, folder)
    if (code := life.wait(SECONDS_TO_LIVE)) is None:
        life.kill()
    record = recorded(folder)
    assert code == 0, life.last_words()
    assert record is not None
    return record, life.ended - life.began


def kill_often(run: Killed, kills: int, rng: np.random.Generator, duration: float) -> Killed:
    """Kill a run at random moments until it was killed so often, or is done before; then let it end."""
    while not run.is_over:
        run.live(random_moment(rng, duration, run.search) if run.tally.kills < kills else None)
    return run
