"""What a run survives: kills of its process at any moment, and whatever a training does to a worker.

The promises: what was told is never lost and never trained again; a kill costs at most the trainings in flight, which
are repeated as they were; the run that is resumed decides as the one that was never killed would have. The soak
with more kills is ``benchmarks/soak_kills.py``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kills import (
    OPTIONS,
    PLUG_INS,
    ROOT,
    Killed,
    Life,
    Record,
    Search,
    Tally,
    kill_often,
    recorded,
    trainings,
    trainings_file,
    uninterrupted,
)
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.failpoints import Failpoint
from strategies.catalogue import STRATEGIES
from tests.soaked import HEAVY_STRATEGIES, soak
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="orphans are found in /proc")

SLOTS = ("--executor", "slots")

Whole = Callable[[Search], tuple[Record, float]]
Begin = Callable[[Search], Life]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Run a search that nobody kills, once however often it is asked for: its history and its seconds."""
    return cache(lambda search: uninterrupted(search, tmp_path_factory.mktemp("whole") / "run"))


# Kills at random moments ---------------------------------------------------------------------------------------------

KILLS = {1: 3, 4: 2}
"""How often a run is killed, by its workers."""
ONCE = {
    "rl": 1,
    "pnas": 4,
    "guided": 1,
    "optuna": 1,
    "hyperopt": 1,
    "local": 4,
    "genetic": 1,
    "morphnet": 4,
    "multiplier": 1,
    "nevergrad": 1,
    "random": 4,
}
"""They are killed once each here, with so many workers; the soak does the rest."""
TRIALS = {"multiplier": 1}
"""How many trials a strategy asks for that ends by itself."""
PLACES = [(strategy, workers) for strategy in STRATEGIES for workers in KILLS if ONCE.get(strategy, workers) == workers]


def test_every_strategy_of_the_catalogue_is_killed() -> None:
    assert list(OPTIONS) == list(STRATEGIES) == list(dict.fromkeys(strategy for strategy, _ in PLACES))


@pytest.mark.parametrize(("strategy", "workers"), soak(PLACES, HEAVY_STRATEGIES))
def test_killed_at_random_a_run_loses_nothing_and_stays_the_same_search(
    tmp_path: Path, whole: Whole, strategy: str, workers: int
) -> None:
    search = Search(strategy, workers, trials=TRIALS.get(strategy, 16))
    rng = np.random.default_rng([len(strategy), workers])
    run, reference = Killed(search, tmp_path / "run"), None
    # Once for certain: on a busy machine a run may be over before its moment has come.
    assert run.live(failpoint=f"evaluated:{min(rng.integers(4, 12), search.trials)}") == -signal.SIGKILL
    if strategy in ONCE:  # compared by decisions here, by rows in the soak
        run.live()
    else:
        reference, duration = whole(search)
        kill_often(run, KILLS[workers], rng, duration)
    assert run.judge(reference if workers == 1 else None).problems == []


@pytest.mark.parametrize("strategy", ["diarist", "guided"])
def test_recorded_order_of_three_uneven_workers_replays_every_decision(tmp_path: Path, strategy: str) -> None:
    run = Killed(Search(strategy, 3, trials=36, sigma=1.0), tmp_path / "run")
    for number in (9, 14):
        run.live(failpoint=f"evaluated:{number}")
    run.live()
    tally = run.judge()
    assert tally.problems == []
    assert (tally.kills, tally.in_flight) == (2, 2)
    record = recorded(run.folder)
    assert record is not None
    assert [row["id"] for row in sorted(record.trial, key=lambda row: row["told"])] != list(range(1, 37))


@pytest.mark.parametrize("strategy", ["random", "evolution", "local", "guided", "diarist"])
def test_search_past_its_lookback_resumes_as_if_uninterrupted(tmp_path: Path, strategy: str) -> None:
    search = Search(strategy, trials=60, seconds=0.0)
    runs = {name: tmp_path / name for name in ("whole", "parts")}
    for path, trials in zip(runs.values(), (60, 50), strict=True):
        config = load_config(search.flags | {"trials": trials}, settings=search.settings, environ={})
        with RunFolder.create(path) as folder:
            start(config, folder, build(config))
    config = read_stored_config(runs["parts"], {"run": {"trials": 60}}, PLUG_INS)
    with RunFolder.open(runs["parts"]) as folder:
        resume(config, folder, build(config))
    parts, uncut = (recorded(path) for path in (runs["parts"], runs["whole"]))
    assert parts is not None
    assert uncut is not None
    assert parts.science() == uncut.science()


# Kills between two steps of writing ----------------------------------------------------------------------------------

PLAIN = Search("diarist", trials=12, seconds=0.0)
CLIMBING = replace(PLAIN, pauses=True)
CRASHING = replace(PLAIN, deeds="3:die-once,5:die", hardware=SLOTS)
FAILPOINTS = [
    (when, point, search)
    for when, search, points in (
        ("run", PLAIN, "folder-made config-written environment-written history-made restored asking:8 asked:8"),
        ("run", PLAIN, "submitted submitted:8 evaluated:8 telling:8 told told:8 told:12 learned:8 noted:8"),
        ("run", PLAIN, "ended checkpointed"),
        # The second of them is the first crash of trial 5, whose second crash is told.
        ("run", CRASHING, "crashed crashed:2 retrying retrying:2 evaluated:3"),
        ("run", CLIMBING, "paused:7 promoted:2"),
        ("longer", PLAIN, "sum-removed config-rewritten restored checkpointed"),
        ("again", PLAIN, "sum-removed config-rewritten restored asked learned"),
    )
    for point in points.split()
]
"""Whether a new run is killed, one that is resumed with a larger budget, or one that was killed before; where; what."""


def test_every_failpoint_is_reached_by_a_kill() -> None:
    assert {point.partition(":")[0] for _, point, _ in FAILPOINTS} == set(Failpoint)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended after half of its trials."""
    folder = tmp_path_factory.mktemp("short") / "run"
    uninterrupted(replace(PLAIN, trials=6), folder)
    return folder


@pytest.mark.parametrize(("when", "point", "search"), FAILPOINTS, ids=lambda value: str(getattr(value, "deeds", value)))
def test_killed_between_two_steps_a_run_becomes_what_it_would_have_been(
    tmp_path: Path, whole: Whole, short: Path, when: str, point: str, search: Search
) -> None:
    reference, _ = whole(search)
    run = Killed(search, tmp_path / "run")
    if when == "longer":
        shutil.copytree(short, run.folder)
        shutil.copy(trainings_file(short), trainings_file(run.folder))
    if when == "again":
        assert run.live(failpoint="evaluated:6") == -signal.SIGKILL
    assert run.live(failpoint=point) == -signal.SIGKILL, "the failpoint was not reached"
    assert run.live() == 0
    assert run.judge(reference).problems == []


# Workers that die, hang and multiply ---------------------------------------------------------------------------------


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begin a run; whatever still runs of it in the end is killed."""
    lives: list[Life] = []

    def begin(search: Search) -> Life:
        lives.append(Life(search, tmp_path / "run"))
        return lives[-1]

    yield begin
    for life in lives:
        life.kill()
        for pid in life.processes():
            with suppress(ProcessLookupError):  # it may end between being listed and being killed
                os.kill(pid, signal.SIGKILL)


def children(life: Life) -> list[int]:
    """Processes that trainings have started."""
    found = []
    for pid in life.processes():
        with suppress(OSError):  # it has ended since
            if "sleep" in Path(f"/proc/{pid}/comm").read_text("utf-8"):
                found.append(pid)
    return found


def worker_of(folder: Path, id: int, training: int = 1) -> int | None:
    """The process in which a trial is trained for the first, second ... time; ``None`` if it has not begun."""
    processes = [line["process"] for line in trainings(folder) if line["id"] == id]
    return int(processes[training - 1]) if len(processes) >= training else None


def ended(life: Life) -> Record:
    """The history of a run that is waited for, and must end as it should."""
    assert life.wait() == 0, life.last_words()
    record = recorded(life.folder)
    assert record is not None
    assert record.damage is None
    return record


def test_killed_worker_costs_one_attempt_and_its_children_die(begin: Begin) -> None:
    # While the worker of trial 6 sleeps the run cannot end, and only the death of trial 4's can end its child.
    deeds = "4:breed-once,4:sleep-once,6:sleep-once,12:sleep-once"
    search = Search("random", 2, trials=12, deeds=deeds)
    life = begin(search)
    victims = {4: wait_for(lambda: children(life) and worker_of(life.folder, 4))}
    os.kill(victims[4], signal.SIGKILL)
    victims[6] = wait_for(lambda: worker_of(life.folder, 4, 2) and worker_of(life.folder, 6))
    wait_for(lambda: not children(life))
    os.kill(victims[6], signal.SIGKILL)
    # When the last worker dies the other one has nothing to do.
    wait_for(lambda: (record := recorded(life.folder)) and len(record.told) == 11)
    victims[12] = wait_for(lambda: worker_of(life.folder, 12))
    os.kill(victims[12], signal.SIGKILL)
    record = ended(life)
    assert [row["outcome"] for row in record.trial] == ["ok"] * 12
    attempts = {id: [row["outcome"] for row in record.attempt if row["trial"] == id] for id in range(1, 13)}
    assert attempts == {id: ["crash", "ok"] if id in victims else ["ok"] for id in range(1, 13)}
    for id in victims:
        retried = worker_of(life.folder, id, 2)
        first = next(line for line in trainings(life.folder) if line["process"] == retried)
        assert first["id"] == id, "the second attempt has a worker that has run nothing before"
    assert life.survivors() == []


@pytest.mark.parametrize("repeats", ["reuse", "retrain"])
def test_network_that_kills_its_worker_is_trained_twice_then_quarantined(begin: Begin, repeats: str) -> None:
    poison = "bits(length=2):1.0"
    # Retraining, a budget counts every training; otherwise there are four networks to train.
    search = Search("random", trials=4 if repeats == "reuse" else 12, seconds=0.0, deeds=f"{poison}:die")
    search = replace(search, space="bits(length=2)", science=("--repeats", repeats), hardware=SLOTS)
    life = begin(search)
    record = ended(life)
    first, *later = (row for row in record.trial if row["genotype"] == poison)
    assert Counter(line["genotype"] for line in trainings(life.folder))[poison] == 2
    assert [row["outcome"] for row in record.attempt if row["trial"] == first["id"]] == ["crash", "crash"]
    assert first["outcome"] == "crash"
    assert first["seconds"] is not None
    assert later, "the seed was chosen so that it is proposed again"
    assert {(row["outcome"], row["seconds"]) for row in later} == {("crash", None)}
    others = [row for row in record.trial if row["genotype"] != poison]
    assert {row["outcome"] for row in others} <= {"ok", "reused"}
    assert record.trained == search.trials


def test_trainings_that_hang_are_killed_at_their_limit_whatever_they_do(begin: Begin) -> None:
    stuck = {1: "sleep", 2: "defy", 3: "hog", 4: "sleep"}  # both slots at once, twice
    deeds = ",".join(f"{id}:breed,{id}:{deed}" for id, deed in stuck.items())
    search = Search("random", 2, trials=20, deeds=deeds, hardware=("--trial-timeout", "5"))
    life = begin(search)
    record = ended(life)
    assert {row["id"]: row["outcome"] for row in record.trial if row["outcome"] != "ok"} == dict.fromkeys(
        stuck, "timeout"
    )
    assert record.trained == 20
    begun = {line["id"]: line for line in trainings(life.folder)}
    assert len(begun) == len(trainings(life.folder)), "nothing is tried again"
    for row in record.trial:
        if row["id"] in stuck:
            assert row["seconds"] >= 5.0
    dead = {begun[id]["process"] for id in stuck}
    assert len(dead) == 4
    after = {line["process"] for id, line in begun.items() if id not in stuck}
    assert len(after) == 2, "both slots are back"
    assert dead.isdisjoint(after)
    assert life.survivors() == []


def test_no_worker_and_no_child_of_one_outlives_a_run_that_is_killed(begin: Begin) -> None:
    deeds = "1:breed,1:sleep,2:breed,2:defy,3:breed,3:hog"
    life = begin(Search("random", 3, deeds=deeds))
    wait_for(lambda: len(children(life)) == 3 and len(trainings(life.folder)) == 3)
    assert life.kill() == -signal.SIGKILL
    assert life.survivors() == []


def test_late_worker_does_not_adopt_the_next_run(tmp_path: Path) -> None:
    alive, words = tmp_path / "alive.lock", {"before": b"the run before", "now": b"the run now"}
    script = "import sys, time; from evo_nas.executors.guard import divide_off_guard; from pathlib import Path; "
    script += "divide_off_guard((Path(sys.argv[1]), sys.argv[2].encode())); print(flush=True); time.sleep(1000)"
    with alive.open("wb", buffering=0) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(words["now"])
        workers = {
            whose: subprocess.Popen([sys.executable, "-c", script, alive, word], cwd=ROOT, stdout=subprocess.PIPE)
            for whose, word in words.items()
        }
        workers["before"].wait()
        assert workers["now"].stdout is not None
        assert workers["now"].stdout.readline() == b"\n"
        assert workers["now"].poll() is None
    workers["now"].wait()
    for worker in workers.values():
        worker.communicate()


# The judge itself ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """A run of six trials that was killed at the fifth and has ended."""
    run = Killed(replace(PLAIN, trials=6), tmp_path_factory.mktemp("killed") / "run")
    run.live(failpoint="asked:5")
    run.live()
    return run


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("", set()),
        ("UPDATE trial SET fitness = fitness / 2 WHERE id = 3", {"lost", "damaged", "different"}),
        ("UPDATE trial SET memo = '[1.0]' WHERE id = 5", {"lost", "damaged", "different"}),
        ("DELETE FROM note WHERE trial = 2", {"lost", "different"}),
        ("DELETE FROM attempt WHERE trial = 6", {"lost"}),
        ("UPDATE trial SET id = 7 WHERE id = 6", {"duplicated", "damaged", "different"}),
    ],
)
def test_the_judge_notices_what_should_not_have_happened(
    tmp_path: Path, killed: Killed, change: str, found: set[str]
) -> None:
    run = replace(killed, folder=tmp_path / "run", tally=Tally(kills=1))
    shutil.copytree(killed.folder, run.folder)
    shutil.copy(trainings_file(killed.folder), trainings_file(run.folder))
    with closing(sqlite3.connect(run.folder / "history.db")) as connection:
        connection.executescript(change)
    tally = run.judge()
    assert {name for name in ("lost", "duplicated", "damaged", "different") if getattr(tally, name)} == found


def test_the_judge_notices_a_training_of_what_was_told(tmp_path: Path) -> None:
    run = Killed(replace(PLAIN, trials=6), tmp_path / "run")
    run.live(failpoint="asked:5")
    with trainings_file(run.folder).open("a+", encoding="utf-8") as file:
        file.seek(0)
        file.write(file.readline())
    run.live()
    tally = run.judge()
    assert (tally.duplicated, tally.lost) == (1, 1), tally.problems


def test_the_judge_notices_what_outlives_a_run(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.kills.SECONDS_TO_DIE", 0.0)
    life = begin(Search("random", 2, deeds="1:sleep"))
    wait_for(lambda: worker_of(life.folder, 1))
    life.ended = time.monotonic()
    assert life.process.pid in life.survivors()
