"""Status: whether a run is running or how it ended, how far it is, and how to go on."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evo_nas.cli import main
from evo_nas.commands.status import NAMED, RunState, Status, status_of
from evo_nas.errors import TooManyFailures
from evo_nas.run.search import Run
from evo_nas.storage.reader import LATELY
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.failpoints import VARIABLE, Failpoint
from tests.waiting import GATED, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SEARCH = ("run", "--strategy", "random", "--run-dir", "run")
LONG = 100_000
"""Trials of a run that does not end before it is looked at."""
RUN = (*SEARCH, "--evaluator", "toy", "--trials", str(LONG))

Started = Callable[..., subprocess.Popen[str]]


def trained(run: Path) -> int:
    return status_of(run).counts.trained if (run / "log.jsonl").exists() else 0


def text_of(run: Path) -> str:
    return "\n".join(status_of(run).lines())


def log(run: Path, *entries: dict[str, Any]) -> None:
    (run / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def start_of(seconds: float) -> dict[str, Any]:
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)), "event": "start"}


def test_a_live_run_is_looked_at_again_and_again_and_does_not_mind(
    started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    settings = ("--set", "evaluator.seconds=0.05", "--set", "evaluator.first=150")  # the last waits for the gate
    process = started(*SEARCH, "--evaluator", GATED, "--trials", "150", "--workers", "2", *settings)
    looks = 0
    wait_for(run.exists)
    while process.poll() is None and trained(run) < 5:
        if main(["status", str(run)]) == 0:  # 3 while there is nothing but a folder
            looks += 1
    commands = [["status", str(run)], ["status", str(run), "--json"], ["show", str(run)], ["plot", str(run)]]
    commands.append(["compare", str(run)])
    while process.poll() is None and (looks < 10 or trained(run) < 149):
        for command in commands:
            capsys.readouterr()
            assert main(command) == 0, capsys.readouterr().err
            looks += 1
    (tmp_path / "gate").touch()
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert looks >= 10
    status = status_of(run)
    assert (status.state, status.counts.trained, status.counts.pending) == (RunState.ENDED, 150, ())
    assert (run / "history.sum").exists(), "no reader stood in the way of an orderly end"


def test_of_a_live_run_it_says_who_runs_it_how_fast_and_what_is_in_flight(started: Started, tmp_path: Path) -> None:
    process = started(*RUN, "--workers", "2", "--set", "evaluator.seconds=0.1", "--time-limit", "100h")
    wait_for(lambda: trained(tmp_path / "run") >= 5)
    seen = status_of(tmp_path / "run").to_json()
    assert seen["state"] == "running"
    assert seen["holder"].startswith(f"process {process.pid} on ")
    assert (seen["reason"], seen["resume"]) == (None, None)
    assert 0 < seen["trials_an_hour"] < 2 * 36_000 * 1.5
    assert seen["eta_seconds"] == pytest.approx((LONG - seen["trials"]["done"]) * 3600 / seen["trials_an_hour"])
    assert [one["attempt"] for one in seen["in_flight"]] == [1] * len(seen["in_flight"])
    assert all(0 <= one["seconds"] < 3600 for one in seen["in_flight"])
    assert {one["id"] for one in seen["in_flight"]} <= set(seen["pending"])
    assert seen["trials"]["done"] < seen["pending"][0]
    text = text_of(tmp_path / "run")
    assert text.startswith(f"{tmp_path / 'run'}: running (process {process.pid} on ")
    assert " trials per hour; ETA " in text
    assert "time limit 100:00:00 a start, in 99:" in text
    process.kill()
    wait_for(lambda: status_of(tmp_path / "run").state is RunState.KILLED)
    text = text_of(tmp_path / "run")
    assert "killed: it did not end, and nobody is running it" in text
    assert "not ended, will be trained again" in text
    assert f"resume      python -m evo_nas resume {tmp_path / 'run'}" in text
    assert "ETA" not in text


@pytest.mark.parametrize(
    ("words", "number", "how"),
    [
        ((), signal.SIGINT, "stopped: Ctrl-C"),
        ((), signal.SIGTERM, "stopped: SIGTERM"),
        ((), signal.SIGUSR1, "stopped: the scheduler wants the machine"),
        (("--time-limit", "0.5"), None, "stopped: the time limit is reached"),
    ],
)
def test_it_says_what_stopped_a_run_and_how_to_go_on(
    started: Started, tmp_path: Path, words: tuple[str, ...], number: signal.Signals | None, how: str
) -> None:
    process = started(*RUN, "--set", "evaluator.seconds=0.05", *words)
    if number is not None:
        wait_for(lambda: trained(tmp_path / "run") >= 1)
        process.send_signal(number)
    process.communicate()
    lines = text_of(tmp_path / "run").splitlines()
    assert lines[0] == f"{tmp_path / 'run'}: {how}"
    assert lines[-1] == f"  resume      python -m evo_nas resume {tmp_path / 'run'}"


def test_a_run_that_ended_is_not_gone_on_with(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=10)
    lines = text_of(run.path).splitlines()
    assert lines[0] == f"{run.path}: ended: all trials are done"
    assert lines[1] == "  search      random on nasnet with toy, seed 0"
    assert "  trials      10 of 10 done: 10 ok" in lines
    assert not [line for line in lines if line.strip().startswith(("go on", "in flight", "pending", "pace"))]
    assert status_of(run.path).to_json()["resume"] is None


def test_a_larger_budget_makes_an_ended_run_resumable(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=10)  # as resume leaves it when it is killed right after it has written the new budget
    config = run.path / "run.toml"
    config.write_text(config.read_text().replace("trials = 10", "trials = 20"))
    assert status_of(run.path).resume == f"python -m evo_nas resume {run.path}"


def test_the_error_that_stopped_a_run_is_named(toy_run: Callable[..., Run], tmp_path: Path) -> None:
    run = toy_run(trials=4).path
    folder = RunFolder(run)
    folder.log("start", trials=4)
    folder.log("stop", error="TooManyFailures: 10 trainings in a row failed")
    assert text_of(run).splitlines()[0] == f"{run}: stopped: TooManyFailures: 10 trainings in a row failed"
    folder.log("start", trials=4)
    folder.log("stop", error="EndedAtOnce: a second signal: interrupted")
    assert text_of(run).splitlines()[0] == f"{run}: stopped: at once, by a second signal"


@pytest.mark.parametrize("point", [Failpoint.CONFIG_WRITTEN, Failpoint.ENVIRONMENT_WRITTEN, Failpoint.HISTORY_MADE])
def test_a_run_that_was_killed_before_its_first_trial_can_be_gone_on_with(
    started: Started, tmp_path: Path, point: Failpoint
) -> None:
    process = started(*RUN, "--trials", "5", variables={VARIABLE: str(point)})
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    run = tmp_path / "run"
    assert text_of(run).splitlines() == [
        f"{run}: killed before its first trial; nobody is running it",
        "  search      random on nasnet with toy, seed 0",
        "  trials      0 of 5 done: 0 ok",
        f"  resume      python -m evo_nas resume {run}",
    ]
    (run / "history.db").write_bytes(b"")
    assert status_of(run).state is RunState.KILLED


def test_a_run_that_begins_is_one_already(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run"):
        status = status_of(tmp_path / "run")
        assert status.state is RunState.RUNNING
        assert "starting or ending (process " in "\n".join(status.lines())


def test_no_run_and_a_damaged_one_end_with_3(
    toy_run: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path / "nothing")]) == 3
    (tmp_path / "empty").mkdir()
    assert main(["status", str(tmp_path / "empty")]) == 3
    run = toy_run(trials=10)
    shutil.copytree(run.path, tmp_path / "config")
    (tmp_path / "config" / "run.toml").write_text("[run]\nstrategy = 7\nunheard = 1\n")
    assert main(["status", str(tmp_path / "config")]) == 3
    shutil.copytree(run.path, tmp_path / "gone")
    (tmp_path / "gone" / "history.db").unlink()
    assert main(["status", str(tmp_path / "gone")]) == 3
    connection = sqlite3.connect(run.path / "history.db")
    with connection:
        connection.execute("UPDATE trial SET fitness = 0.99 WHERE id = 7")
    connection.close()
    capsys.readouterr()
    assert main(["status", str(run.path)]) == 3
    error = capsys.readouterr().err
    assert "damaged" in error
    assert error.count("\n") == 1


def test_a_live_history_is_not_read_to_its_end(toy_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy_run(trials=10)
    (run.path / "history.sum").unlink()

    def damage(*_: object) -> str:
        raise AssertionError("every row is read")

    monkeypatch.setattr("evo_nas.storage.opening.damage", damage)
    with RunFolder.open(run.path):
        assert status_of(run.path).counts.trained == 10
    with pytest.raises(AssertionError, match="every row"):
        status_of(run.path)


def test_a_history_without_a_log_or_a_configuration_is_read_too(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=10).path
    (run / "log.jsonl").unlink()
    assert "not running; it has no log that would say how it ended" in text_of(run)
    (run / "run.toml").unlink()
    lines = text_of(run).splitlines()
    assert "  trials      10 done: 10 ok" in lines
    assert status_of(run).to_json()["strategy"] is None


def test_where_there_are_no_locks_it_does_not_pretend_to_know(
    toy_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = toy_run(trials=10).path
    log(run, start_of(time.time()))

    def flock(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    status = status_of(run)
    assert status.state is RunState.UNKNOWN
    assert "running or killed: the file system has no locks that would tell" in "\n".join(status.lines())


def test_failures_and_quarantined_networks_are_counted_and_named(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=12).path
    connection = sqlite3.connect(run / "history.db")
    with connection:
        connection.execute("UPDATE trial SET outcome = 'crash', fitness = NULL WHERE id IN (3, 5)")
        connection.execute(
            "UPDATE trial SET outcome = 'crash', fitness = NULL, seconds = NULL, key = "
            "(SELECT key FROM trial WHERE id = 3) WHERE id = 6"
        )
        connection.execute("UPDATE trial SET outcome = 'nan', fitness = NULL WHERE id = 7")
        connection.execute("UPDATE trial SET outcome = 'reused', seconds = NULL WHERE id = 8")
        connection.execute("UPDATE trial SET key = (SELECT key FROM trial WHERE id = 5) WHERE id = 9")
    connection.close()
    with RunFolder.open(run):  # so that it is believed
        status = status_of(run)
    assert "  trials      10 of 12 done: 7 ok, 4 failed (3 crash, 1 nan), 1 reused" in list(status.lines())
    assert [one["id"] for one in status.to_json()["quarantined"]] == [3], "5 has succeeded another time, 6 is 3 again"
    assert "  left alone  trial 3 (crashed twice)" in list(status.lines())


def test_the_pace_is_that_of_the_last_trainings_since_the_last_start(toy_run: Callable[..., Run]) -> None:
    status = status_of(toy_run(trials=4).path)
    began = 1_000_000.0

    def pace(ends: list[float]) -> float | None:
        counts = replace(status.counts, ends=tuple(ends))
        return replace(status, counts=counts, log=replace(status.log, started=began)).trials_an_hour

    assert pace([]) is None
    assert pace([began + 60, began + 120]) == pytest.approx(60)
    assert pace([began - 7000, began - 6000, began + 60, began + 120]) == pytest.approx(60), "what was before is over"
    assert pace([began + 10_000 + 36 * n for n in range(LATELY)]) == pytest.approx(100), "how it began is forgotten"
    assert pace([began + 60, began + 120, began + 20, began + 80]) == pytest.approx(60), "the clock was set back once"
    assert pace([began - 100, began - 50]) is None, "the clock was set back below the start"


def test_a_wall_clock_that_was_set_back_makes_nothing_negative(started: Started, tmp_path: Path) -> None:
    process = started(*RUN, "--workers", "2", "--set", "evaluator.seconds=0.1", "--time-limit", "100h")
    wait_for(lambda: trained(tmp_path / "run") >= 3)
    for clock in (lambda: 0.0, lambda: time.time() - 86_400, lambda: time.time() + 86_400):
        status = status_of(tmp_path / "run", clock)
        seen = status.to_json()
        assert seen["state"] == "running"
        numbers = [seen["seconds_since_last_told"], seen["eta_seconds"], status.limit_in]
        numbers += [one["seconds"] for one in seen["in_flight"]]
        assert all(number >= 0 for number in numbers if number is not None)
        assert "-" not in " ".join(line for line in status.lines() if "ago" in line).replace("-", "", 2)
    process.kill()


def test_many_trials_are_named_in_part(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=30).path
    connection = sqlite3.connect(run / "history.db")
    with connection:
        connection.execute("UPDATE trial SET told = NULL, outcome = NULL, fitness = NULL, seconds = NULL WHERE id > 10")
    connection.close()
    log(run, start_of(time.time() - 60))
    with RunFolder.open(run):
        lines = list(status_of(run).lines())
    (line,) = [line for line in lines if "in flight" in line]
    assert line.count("trial ") == NAMED
    assert line.endswith(f", {20 - NAMED} more")


def test_a_plug_in_is_named_in_the_command_that_goes_on(toy_run: Callable[..., Run], tmp_path: Path) -> None:
    run = toy_run(trials=4).path
    config = run / "run.toml"
    config.write_text(config.read_text().replace('"random"', '"my.own:Strategy"').replace("trials = 4", "trials = 8"))
    assert status_of(run).resume == f"python -m evo_nas resume {run} --strategy my.own:Strategy"


def test_what_stands_in_a_log_or_a_lock_does_nothing_to_a_terminal(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=4).path
    escape = "\x1b]0;owned\x07\x1b[2J"
    for entry in ({"event": "end", "reason": escape}, {"event": "stop", "error": escape}):
        log(run, start_of(0), {"time": "2025-01-01T00:00:00Z", **entry})
        assert "\x1b" not in text_of(run)
    with RunFolder.open(run):
        (run / "run.lock").write_text(escape)
        assert "\x1b" not in text_of(run)


def test_lines_of_a_log_that_are_none_are_passed_over(toy_run: Callable[..., Run]) -> None:
    run = toy_run(trials=4).path
    with (run / "log.jsonl").open("a") as file:
        file.write('null\n[]\n{"event": "start"}\n{"time": 7, "event": "end"}\n{"time": "now", "event": "end"}\n')
        file.write("[" * 100_000 + "\n" + '{"time": "2025-01-01T00:00')
    assert status_of(run).state is RunState.ENDED


def test_every_field_of_the_json_is_documented(toy_run: Callable[..., Run]) -> None:
    documented = (ROOT / "docs" / "survival.md").read_text("utf-8")
    assert [name for name in status_of(toy_run(trials=4).path).to_json() if f"`{name}`" not in documented] == []


def test_too_many_failures_are_the_reason(toy_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(TooManyFailures):
        toy_run(settings=("evaluator.seconds=3600",), trial_timeout=0.1, max_consecutive_failures=2)
    (first, *_, last) = text_of(tmp_path / "run").splitlines()
    assert "stopped: TooManyFailures: 2 trainings in a row failed, the last one with outcome timeout" in first
    assert last.startswith("  resume ")


def test_watching_a_run_shows_it_until_nobody_runs_it(
    toy_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run("run", trials=2)
    status, looks = status_of(run.path), [RunState.RUNNING, RunState.RUNNING, RunState.ENDED]

    def look(path: Path) -> Status:
        return replace(status, state=looks.pop(0))

    monkeypatch.setattr("evo_nas.commands.status.status_of", look)
    monkeypatch.setattr("evo_nas.commands.status.SECONDS_BETWEEN_LOOKS", 0.0)
    assert main(["status", "run", "--watch"]) == 0
    assert not looks
    assert "run: ended: all trials are done" in capsys.readouterr().out
