"""The pool: what becomes of jobs and workers, with workers that do what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from evo_nas.errors import TooManyFailures
from evo_nas.evaluators.base import Job
from evo_nas.executors.pool import STARTS, Pool, WorkerDied
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Outcome
from tests.waiting import wait_for

SPACE = build_space("nasnet(blocks=1)")
OK = Evaluation(Outcome.OK, fitness=0.5)


class Puppet:
    """A worker whose jobs begin and end when the test says so."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.jobs: list[int] = []
        self.is_dead = False

    def start(self, job: Job) -> tuple[Future[None], Future[Evaluation]]:
        if self.is_dead:
            raise WorkerDied("long ago")
        self.jobs.append(job.id)
        self.begun: Future[None] = Future()
        self.ended: Future[Evaluation] = Future()
        return self.begun, self.ended

    def kill(self) -> None:
        self.is_dead = True


class Theatre:
    """A pool, and every worker that it ever hired."""

    def __init__(self, slots: int, **options: float | None) -> None:
        self.hired: list[Puppet] = []
        self.pool = Pool(self.hire, slots, **options)  # type: ignore[arg-type]

    def hire(self, number: int) -> Puppet:
        self.hired.append(Puppet(number))
        return self.hired[-1]


@pytest.fixture
def theatre() -> Iterator[type[Theatre]]:
    opened = []

    class Closing(Theatre):
        def __init__(self, slots: int, **options: float | None) -> None:
            super().__init__(slots, **options)
            opened.append(self)

    yield Closing
    for one in opened:
        one.pool.close()
        assert all(worker.is_dead for worker in one.hired)


def job(id: int) -> Job:
    return Job(id, SPACE.sample(np.random.default_rng(id)), seed=0)


def test_a_worker_stays_for_the_next_job(theatre: type[Theatre]) -> None:
    stage = theatre(2)
    for id in (1, 2, 3):
        stage.pool.submit(job(id))
        stage.hired[0].ended.set_result(OK)
        assert stage.pool.next(None) == [(id, OK)]
    assert [worker.jobs for worker in stage.hired] == [[1, 2, 3]]


def test_a_worker_is_replaced_after_so_many_jobs(theatre: type[Theatre]) -> None:
    stage = theatre(1, recycle_after=2)
    for id in (1, 2, 3):
        stage.pool.submit(job(id))
        stage.hired[-1].ended.set_result(OK)
        stage.pool.next(None)
    assert [worker.jobs for worker in stage.hired] == [[1, 2], [3]]
    assert stage.hired[0].is_dead


def test_a_worker_that_ran_out_of_memory_is_replaced(theatre: type[Theatre]) -> None:
    stage = theatre(1)
    stage.pool.submit(job(1))
    stage.hired[0].ended.set_result(Evaluation.failed(Outcome.OOM, "no room"))
    assert stage.pool.next(None)[0][1].outcome is Outcome.OOM
    assert stage.hired[0].is_dead


def test_the_clock_of_a_trial_starts_when_its_worker_begins(theatre: type[Theatre]) -> None:
    stage = theatre(1, trial_timeout=0.1)
    stage.pool.submit(job(1))
    assert stage.pool.next(0.3) == [], "it has not begun"
    begun = time.monotonic()
    stage.hired[0].begun.set_result(None)
    ((id, evaluation),) = stage.pool.next(None)
    assert time.monotonic() - begun >= 0.1
    assert (id, evaluation.outcome, stage.hired[0].is_dead) == (1, Outcome.TIMEOUT, True)
    assert evaluation.error == "took longer than 0.1 seconds and was stopped"


def test_a_worker_that_died_while_idle_is_not_given_a_job(theatre: type[Theatre]) -> None:
    stage = theatre(1)
    stage.pool.submit(job(1))
    stage.hired[0].ended.set_result(OK)
    stage.pool.next(None)
    stage.hired[0].is_dead = True
    stage.pool.submit(job(2))
    assert [worker.jobs for worker in stage.hired] == [[1], [2]]


def test_a_second_try_gets_a_worker_that_has_run_nothing(theatre: type[Theatre]) -> None:
    stage = theatre(2)
    stage.pool.submit(job(1))
    stage.hired[0].ended.set_result(OK)
    stage.pool.next(None)
    stage.pool.submit(job(2), fresh=True)
    assert [worker.jobs for worker in stage.hired] == [[1], [2]]
    assert stage.hired[0].is_dead, "slots are limited"


def test_a_job_whose_worker_does_not_come_up_is_given_to_an_idle_one(theatre: type[Theatre]) -> None:
    stage = theatre(2)
    stage.pool.patience = 0.0  # type: ignore[misc]
    stage.pool.submit(job(1))
    stage.pool.submit(job(2))
    one, never = stage.hired
    one.begun.set_result(None)
    one.ended.set_result(OK)
    assert stage.pool.next(None) == [(1, OK)]
    assert (one.jobs, never.is_dead) == ([1, 2], True)
    one.ended.set_result(OK)
    assert stage.pool.next(None) == [(2, OK)]


def test_patience_with_a_worker_that_never_starts_ends_without_an_event(theatre: type[Theatre]) -> None:
    stage = theatre(2)
    stage.pool.submit(job(1))
    stage.pool.submit(job(2))
    one, never = stage.hired
    one.begun.set_result(None)
    one.ended.set_result(OK)
    assert stage.pool.next(None) == [(1, OK)]
    assert stage.pool.next(0.0) == [], "its time is not over"
    assert not never.is_dead
    stage.pool.patience = 0.2  # type: ignore[misc]
    start = one.start

    def start_and_end(job: Job) -> tuple[Future[None], Future[Evaluation]]:
        futures = start(job)
        one.ended.set_result(OK)
        return futures

    one.start = start_and_end  # type: ignore[method-assign]
    assert stage.pool.next(None) == [(2, OK)]
    assert (one.jobs, never.is_dead) == ([1, 2], True)


def test_a_job_sent_to_a_worker_that_was_dead_already_is_not_to_blame(theatre: type[Theatre]) -> None:
    stage = theatre(1)
    stage.pool.submit(job(1))
    first = stage.hired[0]
    first.begun.set_result(None)
    first.ended.set_result(OK)
    stage.pool.next(None)
    stage.pool.submit(job(2))  # nobody knows yet that the worker is dead
    first.begun.set_exception(WorkerDied("long ago"))
    first.ended.set_exception(WorkerDied("long ago"))
    assert stage.pool.next(0.0) == []
    second = stage.hired[1]
    assert second.jobs == [2]
    second.begun.set_result(None)
    second.ended.set_exception(WorkerDied("at work"))
    assert stage.pool.next(None)[0][1].outcome is Outcome.CRASH


def test_a_job_has_crashed_only_if_it_had_begun_whichever_future_hears_of_the_death_first(
    theatre: type[Theatre],
) -> None:
    stage = theatre(1)
    stage.pool.submit(job(1))
    stage.hired[0].ended.set_result(OK)
    stage.pool.next(None)
    stage.pool.submit(job(2))
    stage.hired[0].ended.set_exception(WorkerDied("while it was idle"))
    assert stage.pool.next(0.0) == []

    def tell_the_rest() -> None:
        stage.hired[0].begun.set_exception(WorkerDied("while it was idle"))
        wait_for(lambda: stage.hired[1:] and stage.hired[1].jobs)
        stage.hired[1].ended.set_result(OK)

    threading.Timer(0.05, tell_the_rest).start()
    assert stage.pool.next(None) == [(2, OK)]


def test_a_worker_that_does_not_start_says_nothing_against_its_job(theatre: type[Theatre]) -> None:
    stage = theatre(1)
    stage.pool.submit(job(1))
    for fault in (WorkerDied("at once"), ImportError("no module")):
        stage.hired[-1].begun.set_exception(fault)
        assert stage.pool.next(0.0) == []
    stage.hired[-1].begun.set_result(None)
    stage.hired[-1].ended.set_result(OK)
    assert stage.pool.next(None) == [(1, OK)]
    assert [worker.jobs for worker in stage.hired] == [[1], [1], [1]]


@pytest.mark.parametrize("slots", [1, 3])
def test_workers_that_never_start_end_the_run_with_the_reason(theatre: type[Theatre], slots: int) -> None:
    stage = theatre(slots)
    for id in range(1, slots + 1):
        stage.pool.submit(job(id))
    for number in range(STARTS - 1):
        stage.hired[number].begun.set_exception(ImportError("no torch"))
        assert stage.pool.next(0.0) == []
    stage.hired[STARTS - 1].begun.set_exception(ImportError("no torch"))
    with pytest.raises(TooManyFailures, match=r"cannot start workers: 3 in a row failed, .* ImportError: no torch"):
        stage.pool.next(0.0)


def test_the_start_of_a_worker_has_a_limit_of_its_own(theatre: type[Theatre]) -> None:
    stage = theatre(1, trial_timeout=3600.0)
    stage.pool.start_limit = 0.001  # type: ignore[misc]
    stage.pool.submit(job(1))
    with pytest.raises(TooManyFailures, match=r"it took longer than 0\.001 seconds"):
        stage.pool.next(None)
    assert len(stage.hired) == STARTS
    assert all(worker.is_dead for worker in stage.hired[:-1])


def test_what_a_worker_says_after_it_was_given_up_is_not_heard(theatre: type[Theatre]) -> None:
    stage = theatre(1, trial_timeout=0.01)
    stage.pool.submit(job(1))
    late = stage.hired[0]
    late.begun.set_result(None)
    assert stage.pool.next(None)[0][1].outcome is Outcome.TIMEOUT
    late.ended.set_result(OK)
    assert stage.pool.next(0.0) == []


def test_a_wait_can_be_ended_from_outside(theatre: type[Theatre]) -> None:
    stage = theatre(1)
    stage.pool.submit(job(1))
    threading.Timer(0.05, stage.pool.wake).start()
    assert stage.pool.next(None) == []
    stage.pool.wake()
    assert stage.pool.next(None) == [], "also one that begins later"
    assert stage.pool.next(0.0) == []
