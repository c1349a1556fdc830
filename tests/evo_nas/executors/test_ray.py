"""The ray executor on a cluster of two nodes on this machine: what is lost with a worker and with a node."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="ray is not installed: pip install 'evo_nas[ray]'")

from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.ray import RayExecutor
from evo_nas.executors.serial import SerialExecutor
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome
from tests.evo_nas.evaluators.rude import DEEDS, Rude, check_deed
from tests.waiting import is_alive, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SPACE = build_space("nasnet(blocks=1)")
ALONE = {"RAY_AUTH_MODE": "disabled"}  # no token is looked for, or left behind, in the user's home

# In a process of its own, because what ray leaves unclosed would be warnings in this one. It ends with its input.
CLUSTER = """
import json, os, sys, threading
from ray.cluster_utils import Cluster

modest = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**modest, "num_gpus": 2, "include_dashboard": False})
second = cluster.add_node(**modest)
raylet = second.all_processes["raylet"][0].process.pid
print(json.dumps({"address": cluster.address, "second": raylet}), flush=True)
for _ in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
threading.Timer(20, os._exit, (1,)).start()
cluster.shutdown()
os._exit(0)
"""


@dataclass(frozen=True)
class Cluster:
    """``address`` of the head, which has one CPU and two GPUs; process id of the raylet of the second, with one CPU."""

    address: str
    second: int
    kill_second: Callable[[], None]


@dataclass
class Hostile(ToyEvaluator):
    """Does to its process what job ids from 100 on say."""

    def evaluate(self, job: Job) -> Evaluation:
        match job.id:
            case 100:
                os.kill(os.getpid(), signal.SIGKILL)
            case 101:
                raise MemoryError("no room")
            case 102:
                raise RuntimeError("a fault of the evaluator")
            case 103:
                child = subprocess.Popen(["sleep", "3600"])
                (self.directory / "processes").write_text(f"{os.getpid()} {child.pid}")
                time.sleep(3600)
            case 104:
                return Evaluation(Outcome.OK, fitness=0.5, metrics={"process": float(os.getpid())})
            case 106:
                names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
                return Evaluation.failed(Outcome.ERROR, json.dumps({name: os.environ.get(name) for name in names}))
            case 107 | 108:
                (self.directory / f"{job.id}.new").write_text(str(os.getppid()))
                (self.directory / f"{job.id}.new").rename(self.directory / str(job.id))
                while not (self.directory / "go").exists():
                    time.sleep(0.02)
        return super().evaluate(job)


def job(id: int) -> Job:
    return Job(id, SPACE.sample(np.random.default_rng(id)), seed=0)


def drain(executor: RayExecutor, n: int) -> dict[int, Evaluation]:
    results: dict[int, Evaluation] = {}
    while len(results) < n:
        results.update(executor.next(None))
    return results


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(
        prefix="ray", ignore_cleanup_errors=True
    ) as folder:  # the names of sockets are limited
        environment = os.environ | ALONE | {"RAY_TMPDIR": folder}
        process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())

            def kill_second() -> None:
                print("kill", file=process.stdin, flush=True)

            with pytest.MonkeyPatch.context() as patch:
                for name, value in ALONE.items():
                    patch.setenv(name, value)
                yield Cluster(**found, kill_second=kill_second)
            process.stdin.close()
            process.wait()


@pytest.fixture
def make(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., RayExecutor]]:
    """Make an executor of two slots on the cluster."""
    made = []

    def executor(evaluator: Evaluator | None = None, **options: Any) -> RayExecutor:
        made.append(RayExecutor(bound(tmp_path, evaluator), 2, address=cluster.address, **options))
        return made[-1]

    yield executor
    for one in made:
        one.close()


def bound(directory: Path, evaluator: Evaluator | None = None) -> Evaluator:
    evaluator = evaluator or Hostile()
    evaluator.bind(SPACE)
    evaluator.prepare(directory)
    return evaluator


def test_what_comes_back_is_what_comes_back_from_this_process(make: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor, serial = make(), SerialExecutor(bound(tmp_path))
    for ids in ((1, 2), (101, 102)):
        for id in ids:
            executor.submit(job(id))
        results = drain(executor, 2)
        for id in ids:
            serial.submit(job(id))
            ((_, expected),) = serial.next(None)
            assert replace(results[id], seconds=0.0) == replace(expected, seconds=0.0)
    assert (results[101].outcome, results[102].outcome) == (Outcome.OOM, Outcome.ERROR)


def test_a_worker_that_dies_costs_its_trial_only(
    make: Callable[..., RayExecutor], capfd: pytest.CaptureFixture[str]
) -> None:
    executor = make()
    for id in (100, 104):
        executor.submit(job(id))
    results = drain(executor, 2)
    assert results[100].outcome is Outcome.CRASH
    assert (results[100].error or "").startswith("the worker died: ")
    assert "\n" not in (results[100].error or "")
    # The other one dies while it is idle, which costs nothing.
    pid = int(results[104].metrics["process"])
    with suppress(ProcessLookupError):  # ray may have ended it already
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    for id in (1, 2):
        executor.submit(job(id))
    assert {evaluation.outcome for evaluation in drain(executor, 2).values()} == {Outcome.OK}
    assert capfd.readouterr() == ("", ""), "standard output is for results"


def test_nothing_that_an_evaluation_raises_returns_or_prints_ends_more_than_its_trial(
    make: Callable[..., RayExecutor],
) -> None:
    executor = make(Rude())
    for id in range(1, len(DEEDS) + 1):
        executor.submit(job(id))
        check_deed(id, drain(executor, 1)[id])


def test_a_trial_that_takes_too_long_is_killed_with_its_children(
    make: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make(trial_timeout=5.0)
    executor.submit(job(103))
    assert drain(executor, 1)[103].outcome is Outcome.TIMEOUT
    pids = list(map(int, (tmp_path / "processes").read_text().split()))
    wait_for(lambda: not any(map(is_alive, pids)))
    executor.submit(job(1))
    assert drain(executor, 1)[1].outcome is Outcome.OK


def test_a_wait_can_be_ended_from_outside(make: Callable[..., RayExecutor]) -> None:
    executor = make()
    executor.submit(job(103))
    assert executor.next(0.05) == []
    Timer(0.1, executor.wake).start()
    assert executor.next(None) == []


def test_closing_leaves_no_actor_behind(make: Callable[..., RayExecutor], tmp_path: Path) -> None:
    executor = make()
    executor.submit(job(104))
    idle = int(drain(executor, 1)[104].metrics["process"])
    executor.submit(job(103))
    executor.submit(job(1))
    drain(executor, 1)
    wait_for(lambda: (tmp_path / "processes").exists() and (tmp_path / "processes").read_text().count(" "))
    pids = [idle, *map(int, (tmp_path / "processes").read_text().split())]
    executor.close()
    wait_for(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize(("gpus", "visible"), [(0.0, [""]), (0.5, ["0", "1"])])
def test_a_trial_sees_the_gpus_that_it_asked_for(
    make: Callable[..., RayExecutor], gpus: float, visible: list[str]
) -> None:
    executor = make(cpus=0.5, gpus=gpus)
    executor.submit(job(106))
    seen = json.loads(drain(executor, 1)[106].error or "")
    assert seen["CUDA_VISIBLE_DEVICES"] in visible
    assert seen["OMP_NUM_THREADS"] == "1"


def test_what_no_node_has_is_refused(make: Callable[..., RayExecutor]) -> None:
    with pytest.raises(UsageError, match=r"has the 1 CPUs and 3 GPUs that .* \(its nodes have 1 and 0, 1 and 2\)"):
        make(gpus=3.0)
    with pytest.raises(UsageError, match=r"part of one GPU or whole ones, not 1\.5"):
        make(gpus=1.5)


def test_it_is_said_that_no_worker_comes_up(
    make: Callable[..., RayExecutor], capfd: pytest.CaptureFixture[str]
) -> None:
    executor = make()
    executor.patience = 0.05  # type: ignore[misc]
    executor.submit(job(1))
    assert executor.next(None) == executor.next(None) == []
    assert drain(executor, 1)[1].outcome is Outcome.OK
    out, err = capfd.readouterr()
    assert (out, err.count("for 0.05 seconds no worker has come up")) == ("", 1)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nobody.invalid:6379", "ray://127.0.0.1:10001", "127.0.0.1", "x:y"])
def test_a_wrong_address_is_told_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("ray takes up to minutes to find out"))
    with pytest.raises(UsageError, match=address):
        RayExecutor(bound(tmp_path), 2, address=address)


def test_the_extra_is_named_where_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "evo_nas.executors.ray")
    with pytest.raises(UsageError, match=r"needs ray: pip install 'evo_nas\[ray\]'"):
        importlib.import_module("evo_nas.executors.ray")


SLEEPER = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from evo_nas.evaluators.toy import ToyEvaluator

@dataclass
class Sleeper(ToyEvaluator):
    def evaluate(self, job):
        Path(f"pid-{job.id}.partial").write_text(str(os.getpid()))
        Path(f"pid-{job.id}.partial").rename(f"pid-{job.id}")
        time.sleep(self.seconds)
        return super().evaluate(job)
"""


def search(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Search with a plug-in of the working folder, in a process of its own."""
    (folder / "sleeper.py").write_text(SLEEPER)
    command = [*(sys.executable, "-m", "evo_nas", "run", "--strategy", "random", "--evaluator", "sleeper:Sleeper")]
    command += [*("--workers", "2", "--run-dir", "run", "--executor", "ray"), *flags]
    environment = os.environ | ALONE | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_actors_follow_a_main_process_that_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    files = [tmp_path / "pid-1", tmp_path / "pid-2"]
    with search(tmp_path, "--ray-address", cluster.address, "--set", "evaluator.seconds=3600") as main:
        wait_for(lambda: all(file.exists() for file in files) or main.poll() is not None)
        pids = [int(file.read_text()) for file in files]
        main.kill()
    wait_for(lambda: not any(map(is_alive, pids)))


def test_a_node_that_is_lost_costs_its_trial_only(
    cluster: Cluster, make: Callable[..., RayExecutor], tmp_path: Path
) -> None:
    executor = make()
    executor.patience = 1.0  # type: ignore[misc]
    files = {id: tmp_path / str(id) for id in (107, 108)}
    for id in files:
        executor.submit(job(id))
    wait_for(lambda: all(file.exists() for file in files.values()))
    (lost,) = (id for id, file in files.items() if int(file.read_text()) == cluster.second)
    cluster.kill_second()
    crashed = drain(executor, 1)
    assert crashed[lost].outcome is Outcome.CRASH
    # Of the next two one must wait for a place that never comes, and goes to the worker that is left.
    executor.submit(job(1))
    (tmp_path / "go").touch()
    assert {evaluation.outcome for evaluation in drain(executor, 2).values()} == {Outcome.OK}
    for id in (2, 3, 4, 5):
        executor.submit(job(id))
        if id > 2:
            assert {evaluation.outcome for evaluation in drain(executor, 1).values()} == {Outcome.OK}
    assert drain(executor, 1)


def test_a_cluster_of_its_own_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / "pid-1", tmp_path / "pid-2"]
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with search(tmp_path, "--grace", "0", "--set", "evaluator.seconds=3600") as main:
            wait_for(lambda: all(file.exists() for file in files) or main.poll() is not None)
            main.terminate()
            out, err = main.communicate()
        assert (main.returncode, out) == (143, ""), err
        assert "*** SIGTERM received" not in err, "ray prints a stack trace if one lets it"
        processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert folder not in processes
    assert not any(is_alive(int(file.read_text())) for file in files)
