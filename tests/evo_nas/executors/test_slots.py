"""Slots: workers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from evo_nas.errors import TooManyFailures, UsageError, WorkersError
from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.serial import SerialExecutor
from evo_nas.executors.slots import SlotsExecutor, try_worker
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome
from tests.evo_nas.evaluators.rude import DEEDS, Rude, check_deed
from tests.waiting import is_alive, wait_for

pytestmark = pytest.mark.slow

SPACE = build_space("nasnet(blocks=1)")


@dataclass
class Hostile(ToyEvaluator):
    """Does to its process what job ids 100, 101, ... say."""

    def evaluate(self, job: Job) -> Evaluation:
        match job.id:
            case 100:
                os.kill(os.getpid(), signal.SIGKILL)
            case 101:
                raise MemoryError("no room")
            case 102:
                raise RuntimeError("a fault of the evaluator")
            case 103:
                time.sleep(3600)
            case 106:
                import numpy  # noqa: F401
                from threadpoolctl import threadpool_info

                most = max(int(library["num_threads"]) for library in threadpool_info())
                gpu = float(os.environ.get("CUDA_VISIBLE_DEVICES", "-1"))
                return Evaluation(Outcome.OK, fitness=0.5, metrics={"threads": most, "gpu": gpu})
            case 107:
                return Evaluation(Outcome.OK, fitness=0.5, metrics={"process": float(_daemon())})
            case 108:
                _daemon(Path(self.directory, "daemon"))
                os.kill(os.getpid(), signal.SIGKILL)
            case 104:
                return Evaluation(Outcome.OK, fitness=0.5, metrics={"process": float(os.getpid())})
        return super().evaluate(job)


def _daemon(file: Path | None = None) -> int:
    """Start a process that leaves its parent, its group and its session, as daemons do; return its id."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (child := os.fork()) != 0:
            if file is not None:
                file.write_text(str(child))
            os.write(writing, str(child).encode())
            os._exit(0)
        time.sleep(3600)
    os.wait()
    return int(os.read(reading, 100))


@dataclass
class Unwilling(ToyEvaluator):
    """Cannot be loaded by a worker: it raises there, hangs, or ends the process, as ``how`` says."""

    how: str = "raise"

    def __setstate__(self, state: dict[str, object]) -> None:
        match state["how"]:
            case "raise":
                raise ImportError("no such library here")
            case "hang":
                time.sleep(3600)
            case "end":
                os._exit(7)


def job(id: int) -> Job:
    return Job(id, SPACE.sample(np.random.default_rng(id)), seed=0)


def bound(evaluator: Evaluator) -> Evaluator:
    evaluator.bind(SPACE)
    return evaluator


@pytest.fixture
def slots() -> Iterator[SlotsExecutor]:
    executor = SlotsExecutor(bound(Hostile()), 2)
    yield executor
    executor.close()


def drain(executor: SlotsExecutor, n: int) -> dict[int, Evaluation]:
    results: dict[int, Evaluation] = {}
    while len(results) < n:
        results.update(executor.next(None))
    return results


def test_a_job_gives_the_same_result_as_in_this_process(slots: SlotsExecutor) -> None:
    serial = SerialExecutor(bound(Hostile()))
    for id in (1, 2):
        slots.submit(job(id))
    results = drain(slots, 2)
    for id in (1, 2):
        serial.submit(job(id))
        assert serial.next(None) == [(id, results[id])]


def test_a_worker_that_dies_costs_its_trial_only(slots: SlotsExecutor) -> None:
    slots.submit(job(100))
    slots.submit(job(1))
    results = drain(slots, 2)
    assert results[100].outcome is Outcome.CRASH
    assert "the worker process died" in (results[100].error or "")
    assert results[1].outcome is Outcome.OK
    for id in (2, 3):
        slots.submit(job(id))
    assert {e.outcome for e in drain(slots, 2).values()} == {Outcome.OK}


def test_what_an_evaluator_raises_is_a_failed_trial(slots: SlotsExecutor) -> None:
    for id in (101, 102):
        slots.submit(job(id))
    results = drain(slots, 2)
    assert results[101].outcome is Outcome.OOM
    assert results[102].outcome is Outcome.ERROR
    assert (results[102].error or "").endswith("RuntimeError: a fault of the evaluator")


def test_a_worker_that_dies_while_idle_is_replaced(slots: SlotsExecutor) -> None:
    slots.submit(job(104))
    (process,) = (e.metrics["process"] for e in drain(slots, 1).values())
    os.kill(int(process), signal.SIGKILL)
    wait_for(lambda: not is_alive(int(process)))
    slots.submit(job(1))
    assert drain(slots, 1)[1].outcome is Outcome.OK


def test_nothing_that_an_evaluation_raises_returns_or_prints_ends_more_than_its_trial() -> None:
    with closing(SlotsExecutor(bound(Rude()), slots=1)) as slots:
        for id in range(1, len(DEEDS) + 1):
            slots.submit(job(id))
            check_deed(id, drain(slots, 1)[id])


def test_a_worker_has_its_share_of_the_cores_and_one_of_the_gpus() -> None:
    evaluator = Hostile()
    evaluator.bind(SPACE, Placement(threads=3))
    executor = SlotsExecutor(evaluator, 3, gpus=["4", "7"])
    try:
        for _ in range(3):
            executor.submit(job(106))
        seen: list[Mapping[str, float]] = []
        while len(seen) < 3:
            seen += [evaluation.metrics for _, evaluation in executor.next(None)]
    finally:
        executor.close()
    assert [metrics["threads"] for metrics in seen] == [3, 3, 3]
    assert sorted(metrics["gpu"] for metrics in seen) == [4, 4, 7], "two of three share one"


def test_a_plain_script_can_search_with_workers(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import evo_nas\n"
        "print('searching')\n"
        "run = evo_nas.search(strategy='random', evaluator='toy', trials=4, workers=2, run_dir='run')\n"
        "print(run.reason)\n"
    )
    code, out, error = run_script(script)
    assert (code, out) == (0, "searching\ntrials\n"), error


def test_waiting_can_be_limited(slots: SlotsExecutor) -> None:
    slots.submit(job(103))
    assert slots.next(0.05) == []


def test_closing_leaves_no_process_behind() -> None:
    executor = SlotsExecutor(bound(Hostile()), 2)
    executor.submit(job(104))
    ((_, evaluation),) = executor.next(None)
    executor.submit(job(103))
    executor.submit(job(103))
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(evaluation.metrics["process"]), 0)


def test_a_worker_can_be_killed_at_any_moment(slots: SlotsExecutor) -> None:
    for id in range(1, 61):  # what goes wrong in a thread of loky fails the test
        slots.submit(job(id), fresh=True)
        time.sleep(id % 4 / 10_000)
        ((number, slot),) = slots._busy.items()
        slot.worker.kill()
        del slots._busy[number]
    slots.submit(job(1))
    assert drain(slots, 1)[1].outcome is Outcome.OK


def test_workers_follow_a_main_process_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import os, sys, time\n"
        "from dataclasses import dataclass\n"
        "from pathlib import Path\n"
        "from evo_nas.evaluators.toy import ToyEvaluator\n\n"
        "@dataclass\n"
        "class Sleeper(ToyEvaluator):\n"
        "    def evaluate(self, job):\n"
        "        Path(f'pid-{job.id}.partial').write_text(str(os.getpid()))\n"
        "        Path(f'pid-{job.id}.partial').rename(f'pid-{job.id}')\n"
        "        time.sleep(3600)\n"
    )
    command = [*(sys.executable, "-m", "evo_nas", "run", "--strategy", "random", "--evaluator", "sleeper:Sleeper")]
    command += ["--workers", "2", "--run-dir", "run"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])}
    main = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    files = [tmp_path / "pid-1", tmp_path / "pid-2"]
    wait_for(lambda: all(file.exists() for file in files) or main.poll() is not None)
    main.kill()
    assert main.wait() == -signal.SIGKILL
    pids = [int(file.read_text()) for file in files]
    wait_for(lambda: not any(map(is_alive, pids)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are not found")
@pytest.mark.parametrize("id", [107, 108])
def test_what_moved_to_a_session_of_its_own_ends_with_its_worker(tmp_path: Path, id: int) -> None:
    evaluator = bound(Hostile())
    evaluator.prepare(tmp_path)
    with closing(SlotsExecutor(evaluator, 1)) as executor:
        executor.submit(job(id))
        evaluation = drain(executor, 1)[id]
        if id == 107:
            process = int(evaluation.metrics["process"])
            assert is_alive(process), "the worker goes on"
        else:
            assert evaluation.outcome is Outcome.CRASH
            process = int((tmp_path / "daemon").read_text())
            wait_for(lambda: not is_alive(process))
    assert not is_alive(process)


@pytest.mark.parametrize(
    ("how", "words"),
    [("raise", "ImportError: no such library here"), ("hang", "longer than 0.5 seconds"), ("end", "EXIT\\(7\\)")],
)
def test_workers_that_do_not_start_say_why(monkeypatch: pytest.MonkeyPatch, how: str, words: str) -> None:
    if how == "hang":
        monkeypatch.setattr(SlotsExecutor, "start_limit", 0.5)
    with closing(SlotsExecutor(bound(Unwilling(how=how)), 2, trial_timeout=3600.0)) as executor:
        executor.submit(job(1))
        with pytest.raises(TooManyFailures, match=f"cannot start workers: 3 in a row failed, .*{words}"):
            executor.next(None)
    with pytest.raises(WorkersError, match=f"cannot start workers: .*{words}"):
        try_worker(bound(Unwilling(how=how)))


def test_an_evaluator_that_cannot_be_sent_is_refused_in_words() -> None:
    evaluator = bound(Hostile())
    evaluator.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"cannot be sent to workers .*lock.*: let it make what cannot be pickled"):
        SlotsExecutor(evaluator, 1)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_process_that_was_forked_after_a_search_can_search(tmp_path: Path, method: str) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import multiprocessing, sys, evo_nas\n"
        "def search(folder):\n"
        "    print(evo_nas.search(strategy='random', evaluator='toy', trials=3, workers=2, run_dir=folder).reason)\n"
        "if __name__ == '__main__':\n"
        "    search('a')\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=search, args=['b'])\n"
        "    child.start(); child.join()\n"
        "    search('c')\n"
        "    sys.exit(child.exitcode)\n"
    )
    assert run_script(script) == (0, "trials\ntrials\ntrials\n", "")


def test_a_daemonic_process_is_told_to_search_without_workers(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import multiprocessing, evo_nas\n"
        "def search(executor):\n"
        "    options = {'strategy': 'random', 'evaluator': 'toy', 'trials': 3, 'run_dir': executor}\n"
        "    try:\n"
        "        return str(evo_nas.search(executor=executor, **options).reason)\n"
        "    except Exception as error:\n"
        "        return f'{type(error).__name__}: {error}'\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "        print(*pool.map(search, ['slots', 'serial']), sep='\\n')\n"
    )
    code, out, error = run_script(script)
    assert (code, error) == (0, "")
    refused, searched = out.splitlines()
    assert refused.startswith("UsageError: a daemonic process")
    assert refused.endswith('search there with executor="serial", workers=1')
    assert searched == "trials"


def run_script(script: Path) -> tuple[int, str, str]:
    """Return exit code, output and errors of a Python program."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, script.name], cwd=script.parent, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr
