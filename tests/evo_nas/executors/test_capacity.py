"""Workers that do not fit into memory are refused with the sum, and a lost device costs a worker, not the search."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from evo_nas.config import Hardware
from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job, Placement, evaluate_safely
from evo_nas.evaluators.proxy import memory
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.executors import capacity
from evo_nas.executors.capacity import SERVER, Demand, check_memory, memory_demand
from evo_nas.executors.slots import SlotsExecutor
from evo_nas.system.resources import available_memory, processor_quota, total_memory
from evo_nas.training.devices import use_threads
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome

GB = 10**9


@dataclass
class Large(Evaluator):
    """An evaluator whose workers take a gigabyte each."""

    name: ClassVar[str] = "large"

    batch_size: int = 64

    def memory(self) -> int | None:
        return GB

    def evaluate(self, job: Job) -> Evaluation:
        return Evaluation(Outcome.OK, fitness=0.5)


class AcceleratorError(RuntimeError):
    """Named as torch's."""


@dataclass
class Losing(Evaluator):
    """An evaluator that loses its device for good after its first job, as CUDA does in a process."""

    name: ClassVar[str] = "losing"
    lost: bool = False

    def evaluate(self, job: Job) -> Evaluation:
        if job.id == 1:
            self.lost = True
        if self.lost:
            raise AcceleratorError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA\n")
        return Evaluation(Outcome.OK, fitness=0.5)


def job(id: int) -> Job:
    return Job(id, Genotype("bits(length=4)", (0, 1, 0, 1)), seed=0)


def test_the_sum_is_that_of_the_workers_and_of_what_they_are_forked_from() -> None:
    demand = Demand(workers=8, each=GB, available=3 * GB)
    assert demand.total == 8 * GB + SERVER
    assert demand.fitting == 2
    assert not demand.is_met
    assert demand.is_hopeless
    assert Demand(workers=2, each=GB, available=3 * GB).is_met


def test_what_does_not_fit_is_refused_with_the_sum_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "available_memory", lambda: 3 * GB)
    with pytest.raises(UsageError) as caught:
        check_memory(Hardware(workers=8), Large())
    assert str(caught.value) == (
        "8 workers need about 8 x 1.0 GB + 0.1 GB = 8.1 GB of memory, of which 3.0 GB are available: "
        "use --workers 2 or a batch smaller than 64, with --set evaluator.batch_size=B"
    )


def test_what_hardly_fits_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(capacity, "available_memory", lambda: 3 * GB)
    with caplog.at_level(logging.WARNING, "evo_nas"):
        check_memory(Hardware(workers=3), Large())
    assert "--workers 2" in caplog.text


def test_a_cluster_and_an_unknown_machine_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_demand(Hardware(workers=8, executor="ray"), Large()) is None
    monkeypatch.setattr(capacity, "available_memory", lambda: None)
    assert memory_demand(Hardware(workers=8), Large()) is None


def test_memory_and_processors_of_a_container_are_those_that_it_grants(tmp_path: Path) -> None:
    proc, group = tmp_path / "proc", tmp_path / "sys/fs/cgroup"
    (proc / "self").mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n")
    assert total_memory(tmp_path) == 16_000_000 * 1024
    assert available_memory(tmp_path) == 8_000_000 * 1024
    (proc / "self/cgroup").write_text("0::/\n")
    (group / "memory.max").write_text(f"{4 * GB}\n")
    (group / "memory.current").write_text(f"{2 * GB}\n")
    (group / "memory.stat").write_text(f"anon {GB}\ninactive_file {GB}\n")
    (group / "cpu.max").write_text("150000 100000\n")
    assert total_memory(tmp_path) == 4 * GB
    assert available_memory(tmp_path) == 3 * GB
    assert processor_quota(tmp_path) == 1.5


def test_a_lost_device_is_a_crash_in_a_worker_and_an_error_where_there_is_none() -> None:
    evaluation = evaluate_safely(Losing(), job(1), in_worker=True)
    assert evaluation.outcome is Outcome.CRASH
    assert (evaluation.error or "").endswith("the device was lost: CUDA error: unspecified launch failure")
    assert evaluate_safely(Losing(), job(1)).outcome is Outcome.ERROR


def test_the_worker_of_a_lost_device_is_replaced(tmp_path: Path) -> None:
    evaluator = Losing()
    evaluator.bind(build_space("bits(length=4)"))
    executor = SlotsExecutor(evaluator, 1, tmp_path / "alive.lock")
    try:
        outcomes = []
        for id in (2, 1, 3):
            executor.submit(job(id))
            ((_, evaluation),) = executor.next(60)
            outcomes.append(evaluation.outcome)
    finally:
        executor.close()
    assert outcomes == [Outcome.OK, Outcome.CRASH, Outcome.OK]


def test_memory_is_estimated_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    measure = memory._network_bytes

    def spy(*args: Any, **options: Any) -> int:
        used.append(torch.get_num_threads())
        return measure(*args, **options)

    monkeypatch.setattr(memory, "_network_bytes", spy)
    evaluator = ProxyEvaluator(dataset="digits")
    evaluator.bind(build_space("nasnet(blocks=1)"), Placement(device="cpu"))
    before = torch.get_num_threads()
    with use_threads(2):
        assert evaluator.memory()
        assert torch.get_num_threads() == 2
    assert set(used) == {1}
    assert torch.get_num_threads() == before
