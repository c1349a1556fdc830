"""Nothing grows with the history but the history, and workers do not wait. How fast it is, the benchmarks measure."""

from __future__ import annotations

import itertools
import select
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from benchmarks.fleet import ideal_seconds, simulate
from benchmarks.memory import weigh
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.slots import SlotsExecutor
from evo_nas.manager import PopulationManager
from evo_nas.storage.history import History
from genotypes.catalogue import build_space
from genotypes.individual import Evaluation, Individual
from strategies.catalogue import STRATEGIES
from tests.waiting import wait_for


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_thousand_trials_leave_main_and_worker_as_they_were(tmp_path: Path) -> None:
    scales = weigh("toy", 1000, tmp_path)
    (main, main_later), (worker, worker_later) = scales.main, scales.worker
    assert main_later.megabytes < main.megabytes + 10
    assert worker_later.megabytes < worker.megabytes + 50
    assert (main_later.files, worker_later.files) == (main.files, worker.files)
    assert len(scales.pids) == 1, "it was one worker all the time"


def test_450_workers_are_kept_busy(tmp_path: Path) -> None:
    clock = itertools.count(0.0, 0.0001).__next__  # the manager takes a few tenths of a millisecond a trial
    share = simulate(tmp_path, workers=450, trials=2000, mean=30.0, sigma=0.5, durable=False, clock=clock)
    assert share > 0.99


@dataclass
class Turnstile(ToyEvaluator):
    """The toy landscape, where a trial says in a folder that it has begun and lasts until it is let go."""

    folder: str = ""

    def evaluate(self, job: Job) -> Evaluation:
        Path(self.folder, f"begun-{job.id}").touch()
        wait_for(Path(self.folder, f"go-{job.id}").exists)
        return super().evaluate(job)


def test_slots_are_kept_busy(tmp_path: Path) -> None:
    slots, trials = 4, 12
    space, turnstile = build_space("nasnet"), Turnstile(folder=str(tmp_path))
    turnstile.bind(space)

    def let_go() -> None:
        for id in range(1, trials + 1):
            # As many as there are slots have begun, and none but those that were let go has ended.
            in_work = range(id, min(id + slots, trials + 1))
            wait_for(lambda ids=in_work: all((tmp_path / f"begun-{one}").exists() for one in ids))
            (tmp_path / f"go-{id}").touch()

    Thread(target=let_go, daemon=True).start()
    with (
        closing(SlotsExecutor(turnstile, slots, tmp_path / "alive.lock")) as executor,
        History.create(tmp_path / "history.db") as history,
    ):
        PopulationManager(space, STRATEGIES.build("random", {}), turnstile, executor, history, trials=trials).run()
        assert history.outcomes() == {"ok": trials}


def test_a_slot_is_not_looked_at_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, toy = build_space("nasnet"), ToyEvaluator()
    toy.bind(space)
    jobs = [Job(id, space.sample(np.random.default_rng(id)), seed=0) for id in range(1, 31)]
    waits: list[float | None] = []
    original = select.select

    def counted(*given: Any) -> Any:
        waits.append(given[3])
        return original(*given)

    with closing(SlotsExecutor(toy, 1, tmp_path / "alive.lock")) as executor:
        monkeypatch.setattr(select, "select", counted)
        for job in jobs:
            executor.submit(job)
            assert [id for id, _ in executor.next(None)] == [job.id]
    # A worker that is being started has a limit; the rest has none.
    assert all(wait is None or wait > SlotsExecutor.start_limit / 2 for wait in waits), (
        "it waits for what happens, however long"
    )
    assert len(waits) <= 2 * len(jobs), "a job begins and ends"


def test_the_ideal_hands_the_next_to_whoever_is_free() -> None:
    assert ideal_seconds([3.0, 1.0, 1.0, 1.0, 2.0], 2) == 5.0


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_resuming_tells_no_more_than_the_strategy_remembers(
    toy_run: Any, rows: Any, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    from evo_nas.run.parts import build, read_stored_config
    from evo_nas.run.search import resume
    from evo_nas.storage.run_folder import RunFolder

    options = {"evolution": {"population": 6, "sample": 3}}.get(strategy, {})
    whole = toy_run("whole", strategy=strategy, trials=120, repeats="retrain", **options)
    parts = toy_run("parts", strategy=strategy, trials=60, repeats="retrain", **options)
    told: list[int] = []
    original = History._individuals

    def counted(self: History, which: str, *values: object) -> Any:
        for individual in original(self, which, *values):
            if which.startswith("told >"):
                told.append(individual.id)
            yield individual

    monkeypatch.setattr(History, "_individuals", counted)
    config = read_stored_config(parts.path, {"run": {"trials": 120}})
    parts_again = build(config)
    populations: list[list[Individual]] = []

    from evo_nas.loop.listener import Listener

    class Ear(Listener):
        def restored(self, population: Any, trained: int) -> None:
            populations.append(population.best(20))

    with RunFolder.open(parts.path) as folder:
        resume(config, folder, parts_again, listeners=[Ear()])
    # One more than it remembers: the last ask is asked again, in the state that it was asked in.
    assert told == list(range(60 - {"evolution": 6, "random": 1}[strategy], 61))
    assert rows(parts.path) == rows(whole.path)
    first = sorted(rows(whole.path)[:60], key=lambda row: (-row["fitness"], row["told"]))
    assert [individual.id for individual in populations[0]] == [row["id"] for row in first[:20]]
