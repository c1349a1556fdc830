"""Progress: a line that renews itself on a terminal, a line now and then elsewhere; and nobody has to listen."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evo_nas.listeners.progress import Progress
from evo_nas.storage.endings import WHY, Reason
from evo_nas.system.terminal import duration
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.population import Population

ROOT = Path(__file__).parents[3]
RUN = ("run", "--strategy", "random", "--evaluator", "toy", "--set", "evaluator.seconds=0.02", "--run-dir", "here")


class Clock:
    """Monotonic seconds that pass when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("listeners.progress", "system.terminal"):
            monkeypatch.setattr(f"evo_nas.{module}.time", SimpleNamespace(monotonic=lambda: self.now))


def trained(folder: Path) -> int:
    connection = sqlite3.connect(folder / "history.db")
    (count,) = connection.execute("SELECT count(*) FROM trial WHERE seconds IS NOT NULL").fetchone()
    connection.close()
    return int(count)


def tell(progress: Progress, population: Population, id: int, fitness: float | None) -> None:
    outcome = Outcome.OK if fitness is not None else Outcome.NAN
    error = None if fitness is not None else "Traceback ...\nRuntimeError: it broke"
    individual = Individual(id, Genotype("any", (id,)), outcome, fitness)
    population.add(individual)
    progress.told(individual, Evaluation(outcome, fitness=fitness, error=error), population, id)


def test_it_says_how_far_it_is_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    progress, population = Progress("run folder here", trials=3, last=2), Population()
    progress.restored(population, 0)
    tell(progress, population, 1, 0.25)
    tell(progress, population, 2, None)
    tell(progress, population, 3, 0.75)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "run folder here"
    assert lines[1].startswith("1/3 trials  best 25.00 % (trial 1)  mean of last 1 25.00 %  ETA ")
    assert lines[2] == "trial 2 failed (nan): RuntimeError: it broke"
    assert lines[-1].startswith("3/3 trials  best 75.00 % (trial 3)  mean of last 2 50.00 %  1 failed  ETA 0s")


def test_a_resumed_search_goes_on_with_what_was_before(capsys: pytest.CaptureFixture[str]) -> None:
    population = Population(window=2)
    for id, fitness in enumerate((0.1, 0.2, 0.6), start=1):
        population.add(Individual(id, Genotype("any", (id,)), Outcome.OK, fitness))
    progress = Progress("run folder here", trials=4, last=2)
    progress.restored(population, 3)
    tell(progress, population, 4, 0.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "run folder here; resuming after 3 trials"
    assert lines[1].startswith("4/4 trials  best 60.00 % (trial 3)  mean of last 2 50.00 %")


def test_a_short_restore_is_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, progress = Clock(monkeypatch), Progress("run folder here", trials=9, last=2)
    for told in range(0, 10_000, 100):
        progress.restoring(told, 20_000)
        clock.now += 0.009
    progress.restored(Population(), 7)
    assert capsys.readouterr().err.splitlines() == ["run folder here; resuming after 7 trials"]


def test_a_long_restore_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock, progress = Clock(monkeypatch), Progress("run folder here", trials=9, last=2)
    for told in range(0, 5_000, 1_000):
        progress.restoring(told, 20_000)
        clock.now += 1.0
    progress.restored(Population(), 7)
    assert capsys.readouterr().err.splitlines() == [
        "run folder here",
        "telling the history again: 1,000 of 20,000 trials",
        "telling the history again: 3,000 of 20,000 trials",
        "resuming after 7 trials",
    ]


def test_the_time_left_knows_of_the_time_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, population = Clock(monkeypatch), Population()
    progress = Progress("run folder here", trials=100, last=2, time_limit=120.0)
    progress.restored(population, 0)
    clock.now += 1
    tell(progress, population, 1, 0.25)
    for id in range(2, 100):
        tell(progress, population, id, 0.25)
    clock.now += 9
    tell(progress, population, 100, 0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].endswith("  ETA 1:39"), "100 trials of a second each are done before 2 minutes are over"
    assert lines[-1].endswith("  ETA 0s")
    progress = Progress("run folder here", trials=1000, last=2, time_limit=120.0)
    progress.restored(population, 0)
    clock.now += 1
    tell(progress, population, 1, 0.25)
    assert capsys.readouterr().err.splitlines()[1].endswith("  time limit in 1:59")


def test_with_a_target_the_time_left_is_an_upper_bound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, population = Clock(monkeypatch), Population()
    progress = Progress("run folder here", trials=61, last=2, target=0.9)
    progress.restored(population, 0)
    clock.now += 1
    tell(progress, population, 1, 0.25)
    assert capsys.readouterr().err.splitlines()[1].endswith("  ETA at most 1:00")


@pytest.mark.parametrize(
    ("reason", "running", "line"),
    [
        (Reason.TIME, 3, "stopping (the time limit is reached): 3 trials in flight have 30s to end"),
        (Reason.TARGET, 1, "stopping (the target accuracy is reached): 1 trial in flight has 30s to end"),
        (Reason.INTERRUPTED, 2, "2 trials in flight have 30s to end"),  # that it stops was said when the signal arrived
    ],
)
def test_stopping_says_what_becomes_of_the_trials_in_flight(
    reason: Reason, running: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    progress, population = Progress("run folder here", trials=9, last=2, grace=30.0), Population()
    progress.restored(population, 0)
    progress.stopping(reason, running)
    tell(progress, population, 1, 0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == line
    assert "ETA" not in lines[2]


def test_every_reason_has_its_words() -> None:
    assert set(WHY) == set(Reason)


def test_on_a_terminal_the_line_renews_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evo_nas", "run", "--strategy", "random", "--evaluator", "toy", "--trials", "40"]
    master, slave = os.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=slave, stdout=subprocess.DEVNULL)
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the other side has gone
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert process.wait() == 0
    assert b"run folder runs/random-toy-seed0-" in seen
    assert b"\x1b[2K" in seen, "lines are erased and written again"
    assert b"\x1b[?25h" in seen, "the cursor is given back"


@pytest.mark.parametrize("workers", [1, 2])
def test_when_the_reader_of_a_pipe_has_seen_enough_the_search_goes_on(tmp_path: Path, workers: int) -> None:
    command = shlex.join([sys.executable, "-m", "evo_nas", *RUN, "--trials", "40", "--workers", str(workers)])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    script = f"{{ {command} 2>&1; echo $? > code; }} | head -n 1"
    done = subprocess.run(
        script, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("run folder here")
    assert done.stderr == ""
    assert (tmp_path / "code").read_text() == "0\n"
    assert trained(tmp_path / "here") == 40


def test_when_its_terminal_has_gone_the_search_goes_on(tmp_path: Path) -> None:
    master, slave = os.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-m", "evo_nas", *RUN, "--trials", "60"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=slave, stdout=subprocess.DEVNULL)
    os.close(slave)
    seen = b""
    while b"trial" not in seen:
        seen += os.read(master, 4096)
    os.close(master)  # from here on every write of the live line fails
    assert process.wait() == 0
    assert trained(tmp_path / "here") == 60


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_standard_files_that_are_closed_or_full_change_nothing(tmp_path: Path, closed: str) -> None:
    if "/dev/full" in closed and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    words = [*RUN, "--trials", "5", "--workers", "2"]
    command = shlex.join([sys.executable, "-m", "evo_nas", *words])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(f"{command} {closed}", shell=True, cwd=tmp_path, env=environment, check=False).returncode == 0
    assert trained(tmp_path / "here") == 5
    said = [path for path in (tmp_path / "here").iterdir() if path.is_file() and b"best" in path.read_bytes()]
    assert said == [], "nothing that is meant for a stream goes into a file of the run"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "2>&1 | true"])
@pytest.mark.parametrize(("words", "code"), [(["run", "--strategy", "none"], 2), (["show", "nothing"], 3)])
def test_the_exit_code_is_true_though_nobody_reads_why(
    tmp_path: Path, closed: str, words: list[str], code: int
) -> None:
    if "/dev/full" in closed and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    redirection, bar, reader = closed.partition(" | ")
    command = shlex.join([sys.executable, "-m", "evo_nas", *words])
    script = f"{{ {command} {redirection}; echo $? > code; }} {bar} {reader}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(script, shell=True, cwd=tmp_path, env=environment, check=False, stdout=subprocess.DEVNULL)
    assert (tmp_path / "code").read_text() == f"{code}\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (4.4, "4s"), (59.6, "1:00"), (125, "2:05"), (10925, "3:02:05"), (360000, "100:00:00")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
