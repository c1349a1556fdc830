"""Slots: workers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from evo_nas.evaluators.base import Evaluator, Job, Placement
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.serial import SerialExecutor
from evo_nas.executors.slots import SlotsExecutor
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome
from tests.waiting import is_alive, wait_for

pytestmark = pytest.mark.slow

SPACE = build_space("nasnet(blocks=1)")


class Unsendable(Evaluation):
    """Cannot be pickled."""

    def __reduce__(self) -> str:
        raise RuntimeError("not for travelling")


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
            case 105:
                return Unsendable(Outcome.OK, fitness=0.5)
            case 106:
                import numpy  # noqa: F401
                from threadpoolctl import threadpool_info

                most = max(int(library["num_threads"]) for library in threadpool_info())
                gpu = float(os.environ.get("CUDA_VISIBLE_DEVICES", "-1"))
                return Evaluation(Outcome.OK, fitness=0.5, metrics={"threads": most, "gpu": gpu})
            case 104:
                return Evaluation(Outcome.OK, fitness=0.5, metrics={"process": float(os.getpid())})
        return super().evaluate(job)


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


def test_a_result_that_cannot_be_sent_fails_its_trial_only(slots: SlotsExecutor) -> None:
    slots.submit(job(105))
    assert drain(slots, 1)[105].outcome is Outcome.ERROR
    slots.submit(job(1))
    assert drain(slots, 1)[1].outcome is Outcome.OK


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
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "searching\ntrials\n"), done.stderr


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
