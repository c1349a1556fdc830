"""How a search ends when somebody wants it to: signals, limits, and readers that go away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.signals import EXIT_CODES, EndedAtOnce, handle_signals
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.system.stops import STOPS
from tests.waiting import GATED, wait_for

SEARCH = ("run", "--strategy", "random", "--run-dir", "run")
RUN = (*SEARCH, "--evaluator", "toy")
HELD = (*SEARCH, "--evaluator", GATED, "--grace", "1h")
"""Its trainings last until the file ``gate`` exists."""
ENDLESS = "evaluator.seconds=3600"

Started = Callable[..., subprocess.Popen[str]]


def heard(process: subprocess.Popen[str], words: str) -> str:
    """Read what a process says until it has said this."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"it did not say {words!r}: {lines}")


def in_flight(run: Path, trials: int) -> Callable[[], bool]:
    """Whether so many trainings have begun that have not ended."""

    def look() -> bool:
        if not (run / "log.jsonl").exists():
            return False
        with History.read(run / "history.db", checked=False) as history:
            return len(history.pending()) >= trials

    return look


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGINT, 130, 3),
        (signal.SIGTERM, 143, 1),
        (signal.SIGHUP, 129, 3),
        (signal.SIGUSR1, 75, 1),
        (signal.SIGXCPU, 75, 1),
    ],
)
def test_a_signal_lets_what_is_in_flight_end_and_says_how_to_go_on(
    started: Started, tmp_path: Path, number: signal.Signals, code: int, workers: int
) -> None:
    process = started(*HELD, "--workers", str(workers))
    wait_for(in_flight(tmp_path / "run", workers))
    process.send_signal(number)
    error = heard(process, "once more ends it at once")
    (tmp_path / "gate").touch()
    out, rest = process.communicate()
    error += rest
    assert process.returncode == code, error
    assert "resume with: python -m evo_nas resume run" in error
    assert "Traceback" not in error
    assert out == ""
    with History.read(tmp_path / "run" / "history.db") as history:
        assert history.pending() == []
        assert history.count_trainings() == workers, "nothing was asked after the signal"
    assert started("resume", "run", "--trials", str(workers + 1), "--evaluator", GATED).wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGXCPU, signal.SIGINT])
def test_a_signal_to_the_whole_group_takes_no_worker_down(
    started: Started, tmp_path: Path, number: signal.Signals
) -> None:
    process = started(*HELD, "--workers", "2", start_new_session=True)
    wait_for(in_flight(tmp_path / "run", 2))
    os.killpg(process.pid, number)
    error = heard(process, "once more ends it at once")
    (tmp_path / "gate").touch()
    assert "Traceback" not in error + process.communicate()[1]
    with History.read(tmp_path / "run" / "history.db") as history:
        assert history.pending() == []
        assert set(history.outcomes()) == {"ok"}
        assert [history.crashes(id) for id in (1, 2)] == [0, 0]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_does_not_end_within_the_grace_is_left_for_later(started: Started, tmp_path: Path, workers: int) -> None:
    process = started(*RUN, "--workers", str(workers), "--set", ENDLESS, "--grace", "0.2")
    wait_for(in_flight(tmp_path / "run", workers))
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert (process.returncode, "Traceback" in error) == (143, False)
    with History.read(tmp_path / "run" / "history.db") as history:
        assert [pending.id for pending in history.pending()] == list(range(1, workers + 1))


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_twice_ends_at_once(started: Started, tmp_path: Path, workers: int) -> None:
    process = started(*RUN, "--workers", str(workers), "--set", ENDLESS, "--grace", "1h")
    wait_for(in_flight(tmp_path / "run", workers))
    process.send_signal(signal.SIGINT)
    heard(process, "once more ends it at once")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "stopped at once; resume with: python -m evo_nas resume run" in error
    assert "Traceback" not in error


def test_nohup_means_it(started: Started, tmp_path: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = started(*HELD, "--trials", "8", preexec_fn=ignore)
    wait_for(in_flight(tmp_path / "run", 1))
    process.send_signal(signal.SIGHUP)
    (tmp_path / "gate").touch()
    assert process.wait() == 0
    with History.read(tmp_path / "run" / "history.db") as history:
        assert history.count_trainings() == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_the_time_limit_ends_with_75_and_can_be_resumed(started: Started, tmp_path: Path, workers: int) -> None:
    limits = ("--time-limit", "1", "--grace", "1h")
    process = started(*RUN, "--workers", str(workers), *limits, "--set", "evaluator.seconds=0.05")
    _, error = process.communicate()
    assert process.returncode == 75
    assert "stopped: the time limit is reached; resume with: python -m evo_nas resume run" in error
    with History.read(tmp_path / "run" / "history.db") as history:
        assert history.pending() == []
        trained = history.count_trainings()
    resumed = started("resume", "run", "--time-limit", "none", "--trials", str(trained + 2))
    assert resumed.wait() == 0


def test_a_trial_that_outlasts_the_time_limit_and_the_grace_is_given_up(started: Started, tmp_path: Path) -> None:
    process = started(*RUN, "--time-limit", "5", "--grace", "0.2", "--set", ENDLESS)
    process.communicate()
    assert process.returncode == 75
    with History.read(tmp_path / "run" / "history.db") as history:
        assert [pending.id for pending in history.pending()] == [1]


def test_the_target_ends_with_0(started: Started, tmp_path: Path) -> None:
    process = started(*RUN, "--target-accuracy", "0.6", "--workers", "2")
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert out.startswith("ended: the target accuracy is reached\n")
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["reason"] == "target"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_search_goes_on_when_its_reader_goes_away(started: Started, tmp_path: Path, stream: str) -> None:
    process = started(*HELD, "--trials", "30")
    wait_for(in_flight(tmp_path / "run", 1))
    getattr(process, stream).close()
    setattr(process, stream, None)
    (tmp_path / "gate").touch()
    assert process.wait() == 0
    with History.read(tmp_path / "run" / "history.db") as history:
        assert history.count_trainings() == 30


DEAF = """
import itertools, sys, time
from pathlib import Path
from evo_nas.evaluators.toy import ToyEvaluator
from strategies.random_search import RandomSearch

def endless(word, last=False):
    if Path(word).exists():
        Path("there").touch()
        if Path("interpreter").exists():
            sum(itertools.repeat(0))  # in C, and without ever looking for a signal
        time.sleep(3600)

class Slow(RandomSearch):
    name = "slow"
    def start(self, space, rng):
        endless("start")
        super().start(space, rng)
    def ask(self, population, waiting, rng):
        if len(waiting) == 1:
            endless("ask")
        return super().ask(population, waiting, rng)
    def tell(self, individual, rng):
        endless("tell")
        return super().tell(individual, rng)

class Deliberate(ToyEvaluator):
    name = "deliberate"
    def bind(self, *arguments):
        endless("bind")
        super().bind(*arguments)
    def prepare(self, directory):
        endless("prepare")
        super().prepare(directory)
    def groundwork(self, hear):
        endless("groundwork")
"""

PLUGINS = ("--strategy", "deaf:Slow", "--evaluator", "deaf:Deliberate")


@pytest.fixture
def busy(started: Started, tmp_path: Path) -> Started:
    """Start a search whose plug-ins take for ever where the words say."""

    def begin(*words: str) -> subprocess.Popen[str]:
        (tmp_path / "deaf.py").write_text(DEAF)
        for word in words:
            (tmp_path / word).touch()
        variables = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
        process = started("run", *PLUGINS, "--workers", "2", "--trials", "4", "--run-dir", "run", variables=variables)
        wait_for(lambda: (tmp_path / "there").exists() or process.poll() is not None)
        return process

    return begin


@pytest.mark.parametrize(
    ("where", "number"),
    [(where, signal.SIGTERM) for where in ("bind", "prepare", "groundwork", "start", "ask", "tell")]
    + [("prepare", signal.SIGINT)],
)
def test_a_signal_is_heeded_whatever_a_plug_in_does(
    busy: Started, started: Started, tmp_path: Path, where: str, number: signal.Signals
) -> None:
    process = busy(where)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == STOPS[number], error
    assert "Traceback" not in error
    assert "stop" in error
    (tmp_path / where).unlink()
    again = ("resume", "run") if (tmp_path / "run" / "run.toml").exists() else ("run", "--run-dir", "run")
    variables = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    assert started(*again, *PLUGINS, "--workers", "2", "--trials", "4", variables=variables).wait() == 0


@pytest.mark.parametrize("where", ["bind", "tell"])
def test_a_second_signal_ends_even_code_that_keeps_the_interpreter(busy: Started, where: str) -> None:
    process = busy(where, "interpreter")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)  # another one: two of a kind that nobody has heeded are one
    assert process.wait() == -signal.SIGKILL


def test_the_first_signal_asks_and_the_second_insists() -> None:
    reasons: list[Reason] = []
    before = signal.getsignal(signal.SIGUSR1)
    with handle_signals(reasons.append):
        signal.raise_signal(signal.SIGUSR1)
        assert reasons == [Reason.SCHEDULER]
        with pytest.raises(EndedAtOnce) as caught:
            signal.raise_signal(signal.SIGTERM)
    assert caught.value.reason is Reason.SCHEDULER
    assert signal.getsignal(signal.SIGUSR1) is before


def test_every_reason_that_is_not_final_has_an_exit_code() -> None:
    assert {reason for reason in Reason if not reason.is_final} == set(EXIT_CODES)
