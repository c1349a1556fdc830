"""The wall clock may jump, as it does when it is corrected, and in spring and autumn: no run is changed by it."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evo_nas.commands.status import status_of
from evo_nas.errors import TooManyFailures
from evo_nas.listeners.progress import Progress
from evo_nas.run.parts import build, load_config
from evo_nas.run.search import Run, start
from evo_nas.storage.endings import Reason
from evo_nas.storage.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
HOUR = 3600.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock jump at every look at it: back an hour, forward a day, back to 1970 ..."""
    now = time.time
    jumps = itertools.cycle([0.0, -HOUR, 24 * HOUR, -now(), HOUR, -0.5])
    monkeypatch.setattr(time, "time", lambda: max(now() + next(jumps), 0.0))


def begun(path: Path, listeners: tuple[Progress, ...] = (), **flags: Any) -> Run:
    settings = [f"evaluator.seconds={flags.pop('seconds', 0.0)}"]
    config = load_config({"strategy": "random", "evaluator": "toy", **flags}, settings=settings, environ={})
    with RunFolder.create(path) as folder:
        return start(config, folder, build(config), listeners=listeners)


@pytest.mark.usefixtures("jumping")
@pytest.mark.parametrize("executor", ["serial", "slots"])
def test_a_jump_makes_no_time_limit_and_no_timeout_come_early(tmp_path: Path, executor: str) -> None:
    limits = {"trial_timeout": HOUR} if executor == "slots" else {}
    run = begun(tmp_path / "run", executor=executor, trials=20, seconds=0.01, time_limit=HOUR, **limits)
    assert run.reason is Reason.TRIALS
    assert status_of(run.path).counts.outcomes == {"ok": 20}


@pytest.mark.usefixtures("jumping")
@pytest.mark.parametrize("executor", ["serial", "slots"])
def test_a_jump_makes_no_time_limit_come_late(tmp_path: Path, executor: str) -> None:
    # One that did would come an hour late.
    before = time.monotonic()
    run = begun(tmp_path / "run", executor=executor, trials=10**6, seconds=0.05, time_limit=0.5, grace=1.0)
    assert run.reason is Reason.TIME
    assert time.monotonic() - before >= 0.5


@pytest.mark.usefixtures("jumping")
def test_a_jump_makes_no_timeout_come_late(tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(TooManyFailures):
        begun(tmp_path / "run", trials=9, seconds=HOUR, trial_timeout=0.5, max_consecutive_failures=2)
    assert time.monotonic() - before >= 1.0
    assert status_of(tmp_path / "run").counts.outcomes == {"timeout": 2}


@pytest.mark.usefixtures("jumping")
def test_a_jump_changes_neither_the_history_nor_the_time_left(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: Callable[[Path], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun(tmp_path / "jumped", (Progress("here", 400, 10),), trials=400)
    lefts = [line.rpartition("ETA ")[2] for line in capsys.readouterr().err.splitlines() if "ETA" in line]
    assert lefts
    assert all(left.count(":") < 2 for left in lefts), "a search of seconds never takes an hour"
    monkeypatch.undo()
    begun(tmp_path / "straight", trials=400)
    sums = {"asked_sum", "told_sum"}  # these cover the times of day

    def events(run: str) -> Iterator[dict[str, Any]]:
        for row in rows(tmp_path / run):
            yield {name: value for name, value in row.items() if name not in sums}

    assert list(events("jumped")) == list(events("straight"))


@pytest.mark.usefixtures("jumping")
def test_status_knows_no_time_below_zero(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", trials=30)
    connection = sqlite3.connect(run.path / "history.db")
    last = connection.execute("SELECT max(told_at) FROM trial").fetchone()[0]
    connection.close()
    for now in (0.0, last - 30 * HOUR, last - 1, last + HOUR):
        seen = status_of(run.path, clock=lambda now=now: now).to_json()
        assert seen["seconds_since_last_told"] >= 0
        assert seen["trials_an_hour"] is None or seen["trials_an_hour"] > 0


def test_the_wall_clock_is_read_only_to_be_written_down() -> None:
    readers = {path.name for path in (ROOT / "evo_nas").rglob("*.py") if "time.time" in path.read_text("utf-8")}
    # crashes.py: what is written down of an attempt by a process that has died since is no later than now.
    writers = {"history.py", "crashes.py", "status.py", "tensorboard.py", "mlflow.py"}
    assert readers == writers, "limits and time left are measured with a monotonic clock"
