"""What happens when there is no space, or somebody else has the folder."""

from __future__ import annotations

import fcntl
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evo_nas.cli import main
from evo_nas.storage.checksums import damage
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import take_lock
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
RUN = ("run", "--strategy", "evolution", "--population", "5", "--sample", "2", "--evaluator", "toy", "--run-dir", "run")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def evo_nas(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "evo_nas", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


def trials() -> list[tuple[Any, ...]]:
    connection = sqlite3.connect("run/history.db")
    assert damage(connection) is None
    found = connection.execute("SELECT id, genotype, outcome, fitness, asked, told FROM trial ORDER BY id").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("kilobytes", [4, 200])
def test_a_full_disk_ends_the_run_with_3_and_nothing_is_lost(kilobytes: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    assert main([*RUN, "--trials", "300"]) == 0
    whole = trials()
    Path("run").rename("whole")
    full = evo_nas(*RUN, "--trials", "300", preexec_fn=limit)
    assert full.returncode == 3, full.stderr
    assert "Traceback" not in full.stderr
    errors = [line for line in full.stderr.splitlines() if line.startswith("evo_nas: ")]
    assert len(errors) == 1
    assert "python -m evo_nas resume run" in errors[0]
    again = evo_nas("resume", "run", preexec_fn=limit)
    assert again.returncode == 3, "there is no more space than before"
    if kilobytes > 100:
        found = trials()
        assert 0 < len(found) < 300
        assert found[:-1] == whole[: len(found) - 1]
    assert evo_nas("resume", "run").returncode == 0
    assert trials() == whole


def test_a_history_that_may_not_grow_is_full_and_goes_on_when_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*RUN, "--trials", "300"]) == 0
    whole = trials()
    Path("run").rename("whole")
    connect = sqlite3.connect

    def small(*place: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*place, **options)
        connection.execute("PRAGMA max_page_count = 60")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        assert main([*RUN, "--trials", "300"]) == 3
    with History.read(Path("run/history.db")) as history:
        assert 0 < history.count_trainings() < 300
    assert main(["resume", "run"]) == 0
    assert trials() == whole


def race(words: tuple[str, ...]) -> None:
    """Have two processes want one run folder at the same time: one gets it, the other is told who has it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "evo_nas", *words]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    try:
        refused = wait_for(lambda: [index for index, process in enumerate(both) if process.poll() is not None])
        loser, winner = both[refused[0]], both[1 - refused[0]]
        assert loser.stderr is not None
        error = loser.stderr.read()
        assert loser.returncode == 3, error
        assert f"in use by process {winner.pid} on" in error
        assert error.count("\n") == 1
        # So that there is something to resume.
        wait_for(lambda: Path("run/history.db").exists() or winner.poll() is not None)
        assert winner.poll() is None, "it goes on"
    finally:
        for process in both:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("race_number", range(int(os.environ.get("EVO_NAS_RACES", "2"))))
def test_of_two_that_want_one_run_folder_one_gets_it(race_number: int) -> None:
    race((*RUN, "--set", "evaluator.seconds=3600"))
    race(("resume", "run"))


def test_a_lock_whose_file_was_taken_away_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.lock"
    flock, taken = fcntl.flock, []

    def lock_then_lose(file: Any, how: int) -> None:
        flock(file, how)
        if not taken:  # the other process, which had it until now, discards its folder
            taken.append(path.unlink())

    monkeypatch.setattr(fcntl, "flock", lock_then_lose)
    lock, _ = take_lock(path, "the run folder")
    assert os.path.samestat(os.fstat(lock.fileno()), path.stat())
    lock.close()
