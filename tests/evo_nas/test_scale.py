"""Nothing grows with the history but the history, and workers do not wait. The long versions are in tests/bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evo_nas.history import History
from genotypes.individual import Individual
from tests.bench.fleet import ideal_seconds, overhead_milliseconds, real, simulate
from tests.bench.memory import weigh


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_thousand_trials_leave_main_and_worker_as_they_were(tmp_path: Path) -> None:
    scales = weigh("toy", 1000, tmp_path)
    (main, main_later), (worker, worker_later) = scales.main, scales.worker
    assert main_later.megabytes < main.megabytes + 10
    assert worker_later.megabytes < worker.megabytes + 50
    assert (main_later.files, worker_later.files) == (main.files, worker.files)
    assert len(scales.pids) == 1, "it was one worker all the time"


def test_450_workers_are_kept_busy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(tmp_path, workers=450, trials=2000, mean=30.0, sigma=0.5, durable=False)
    share = float(capsys.readouterr().out.partition(": ")[2].partition("%")[0])
    assert share > 97.0


def test_slots_are_kept_busy(tmp_path: Path) -> None:
    assert real(tmp_path, slots=4, trials=60, mean=0.2, sigma=0.5) > 0.75, "97 % and more on a quiet machine"


def test_a_slot_costs_little(tmp_path: Path) -> None:
    assert overhead_milliseconds(tmp_path) < 15, "below 1 on a quiet machine"


def test_the_ideal_hands_the_next_to_whoever_is_free() -> None:
    assert ideal_seconds([3.0, 1.0, 1.0, 1.0, 2.0], 2) == 5.0


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_resuming_tells_no_more_than_the_strategy_remembers(
    toy_run: Any, rows: Any, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    from evo_nas.run import build, resume, stored

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
    config = stored(parts.path, {"run": {"trials": 120}})
    parts_again = build(config)
    populations: list[list[Individual]] = []

    from evo_nas.manager import Listener

    class Ear(Listener):
        def restored(self, population: Any, trained: int) -> None:
            populations.append(population.best(20))

    resume(config, parts.path, parts_again, listeners=[Ear()])
    assert told == list(range(61 - {"evolution": 6, "random": 1}[strategy], 61))
    assert rows(parts.path) == rows(whole.path)
    first = sorted(rows(whole.path)[:60], key=lambda row: (-row["fitness"], row["told"]))
    assert [individual.id for individual in populations[0]] == [row["id"] for row in first[:20]]
