"""The population manager: the sequence of events, what becomes of an ask, budgets, and resuming."""

from __future__ import annotations

import itertools
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from evo_nas import errors
from evo_nas.config import SearchConfig
from evo_nas.errors import TooManyFailures, UsageError
from evo_nas.evaluators.base import Evaluator, Job
from evo_nas.executors.serial import SerialExecutor
from evo_nas.manager import PopulationManager
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from genotypes.genotype import Genotype
from genotypes.individual import Cost, Evaluation, Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.space import SearchSpace
from genotypes.spaces.nasnet import NASNetSpace
from strategies.base import SearchStrategy

SPACE = NASNetSpace(blocks=1, ops=("identity", "conv_1x1"), combines=("add",))
GENOTYPES = [
    SPACE.genotype(choices) for choices in itertools.product(*[range(len(d.options)) for d in SPACE.decisions])
]
"""Every genotype of a space so small that all can be listed."""


DISTINCT = list({SPACE.key(g): g for g in GENOTYPES}.values())
"""One genotype for each network."""


@dataclass
class Scripted(SearchStrategy):
    """Proposes what the script says, by id; notes what it was told."""

    script: Sequence[Genotype | None] = ()
    heard: list[tuple[int, str, float | None]] = field(default_factory=list)

    name = "scripted"
    window = 100

    def ask(self, population: Population, pending: Sequence[Proposal], rng: Any) -> Proposal | None:
        position = len(population) + population.failed + len(pending)
        genotype = self.script[position] if position < len(self.script) else None
        return None if genotype is None else Proposal(genotype, memo=(float(position),))

    def tell(self, individual: Individual, rng: Any) -> dict[str, float]:
        self.heard.append((individual.id, str(individual.outcome), individual.fitness))
        return {"draw": float(rng.random())}


@dataclass
class Table(Evaluator):
    """Looks fitness up by key; None fails. Counts what it was asked."""

    fitness: dict[str, float | None] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)

    name = "table"

    def cost(self, genotype: Genotype) -> Cost:
        return Cost(parameters=100 * genotype.choices[2], mult_adds=7)

    def evaluate(self, job: Job) -> Evaluation:
        self.seen.append(job.id)
        value = self.fitness.get(self.space.key(job.genotype), 0.5)
        if value is None:
            return Evaluation.failed(Outcome.NAN, "the table says so")
        return Evaluation(Outcome.OK, fitness=value, seconds=1.0, curve=(0.1, value))


class Held:
    """An executor whose jobs end when the test says so: several slots, no processes, any order."""

    woken = 0

    def __init__(self, evaluator: Evaluator, slots: int, order: Callable[[deque[Job]], Job]) -> None:
        self.evaluator, self.slots, self.order = evaluator, slots, order
        self.jobs: deque[Job] = deque()
        self.most = 0

    def submit(self, job: Job, *, fresh: bool = False) -> None:
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))
        assert len(self.jobs) <= self.slots

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        job = self.order(self.jobs)
        self.jobs.remove(job)
        return [(job.id, self.evaluator.evaluate(job))]

    def wake(self) -> None:
        self.woken += 1

    def close(self) -> None:
        self.jobs.clear()


@pytest.fixture
def history(tmp_path: Path) -> Any:
    with History.create(tmp_path / "history.db") as opened:
        yield opened


def manager(history: History, script: Sequence[Genotype | None], evaluator: Table, **options: Any) -> PopulationManager:
    evaluator.bind(SPACE)
    executor = options.pop("executor", None) or SerialExecutor(evaluator)
    options.setdefault("trials", 100)
    return PopulationManager(SPACE, Scripted(script), evaluator, executor, history, **options)


def heard(search: PopulationManager) -> list[tuple[int, str, float | None]]:
    assert isinstance(search.strategy, Scripted)
    return search.strategy.heard


@dataclass
class Fitting(Scripted):
    """Looks back on as many as the space has decisions, and cannot search without any."""

    window: int = 0

    def suited(self, space: SearchSpace) -> Fitting:
        if not space.decisions:
            raise ValueError("there is nothing to decide")
        return replace(self, window=len(space.decisions))


def test_the_strategy_is_fitted_to_the_space_before_its_window_is_read(history: History) -> None:
    evaluator = Table()
    given = Fitting(GENOTYPES)
    search = PopulationManager(SPACE, given, evaluator, SerialExecutor(evaluator), history, trials=1)
    assert (search.population.window, given.window) == (len(SPACE.decisions), 0)


def test_a_strategy_with_nothing_left_ends_the_run_exhausted(history: History) -> None:
    search = manager(history, GENOTYPES[:3], Table())
    assert search.run() is Reason.EXHAUSTED
    assert [id for id, *_ in heard(search)] == [1, 2, 3]


def test_the_budget_counts_ended_trainings_failed_ones_too(history: History) -> None:
    table = Table({SPACE.key(GENOTYPES[0]): None})
    search = manager(history, GENOTYPES, table, trials=3)
    assert search.run() is Reason.TRIALS
    assert len(table.seen) == 3
    assert heard(search)[0] == (1, "nan", None)


def test_what_was_trained_before_is_reused_and_spends_nothing(history: History) -> None:
    a, b, c = (g for g in (GENOTYPES[0], GENOTYPES[1], GENOTYPES[-1]))
    table = Table({SPACE.key(a): 0.25})
    search = manager(history, [a, a, b, a, c], table, trials=3)
    assert search.run() is Reason.TRIALS
    assert heard(search) == [(1, "ok", 0.25), (2, "reused", 0.25), (3, "ok", 0.5), (4, "reused", 0.25), (5, "ok", 0.5)]
    assert table.seen == [1, 3, 5]


def test_an_isomorphic_network_is_the_same_network(history: History) -> None:
    twins = next((a, b) for a, b in itertools.combinations(GENOTYPES, 2) if a != b and SPACE.key(a) == SPACE.key(b))
    table = Table()
    assert manager(history, twins, table).run() is Reason.EXHAUSTED
    assert table.seen == [1]


def test_retrain_trains_again(history: History) -> None:
    table = Table()
    manager(history, [GENOTYPES[0]] * 4, table, repeats="retrain").run()
    assert table.seen == [1, 2, 3, 4]


def test_a_failed_network_is_answered_with_its_failure(history: History) -> None:
    table = Table({SPACE.key(GENOTYPES[0]): None})
    search = manager(history, [GENOTYPES[0]] * 3, table)
    search.run()
    assert heard(search) == [(1, "nan", None), (2, "nan", None), (3, "nan", None)]
    assert table.seen == [1]
    assert history.count_trainings() == 1


def test_only_what_was_evaluated_has_a_duration(history: History, rows: Any) -> None:
    large = next(g for g in GENOTYPES if g.choices[2] == 1)
    manager(history, [GENOTYPES[0], GENOTYPES[0], large], Table(), max_parameters=99).run()
    found = rows(history.path.parent)
    assert [(row["outcome"], row["seconds"]) for row in found] == [("ok", 1.0), ("reused", None), ("refused", None)]


def test_what_is_too_large_is_refused_without_training(history: History) -> None:
    small, large = (next(g for g in GENOTYPES if g.choices[2] == op) for op in (0, 1))
    table = Table()
    search = manager(history, [large, small], table, max_parameters=99)
    search.run()
    assert heard(search) == [(1, "refused", None), (2, "ok", 0.5)]
    assert table.seen == [2]


def test_a_proposal_that_the_space_does_not_contain_is_told_as_invalid(history: History, rows: Any) -> None:
    stranger = Genotype("elsewhere", (0, 1))
    search = manager(history, [stranger, GENOTYPES[0]], Table())
    assert search.run() is Reason.EXHAUSTED
    assert heard(search) == [(1, "invalid", None), (2, "ok", 0.5)]
    assert "is of space 'elsewhere'" in rows(history.path.parent)[0]["error"]
    assert manager(history, [stranger] * 50, Table(), max_repeats=5).run() is Reason.CONVERGED


def test_a_strategy_that_only_repeats_itself_converges(history: History) -> None:
    search = manager(history, [GENOTYPES[0]] * 50, Table(), max_repeats=7)
    assert search.run() is Reason.CONVERGED
    assert len(heard(search)) == 1 + 7


def test_trial_after_trial_failing_ends_the_run(history: History) -> None:
    table = Table(dict.fromkeys(map(SPACE.key, DISTINCT)))
    with pytest.raises(TooManyFailures, match=r"4 trainings in a row failed.*nan.*the table says so"):
        manager(history, DISTINCT, table, max_consecutive_failures=4).run()


def test_slots_are_kept_busy_and_twins_wait_without_one(history: History) -> None:
    table = Table()
    table.bind(SPACE)
    executor = Held(table, slots=3, order=lambda jobs: jobs[-1])  # the youngest ends first
    script = [DISTINCT[0], DISTINCT[0], DISTINCT[1], DISTINCT[0], *DISTINCT[2:8]]
    search = manager(history, script, table, executor=executor)
    assert search.run() is Reason.EXHAUSTED
    assert executor.most == 3
    told = heard(search)
    position = {id: i for i, (id, *_) in enumerate(told)}
    assert {id for id, outcome, _ in told if outcome == "reused"} == {2, 4}
    assert position[2] == position[1] + 1, "a twin is told right after the one that it waited for"
    assert len(told) == len(script)


def test_events_are_one_sequence_without_gaps(history: History, rows: Any) -> None:
    table = Table()
    table.bind(SPACE)
    executor = Held(table, slots=4, order=lambda jobs: jobs[len(jobs) // 2])
    manager(history, GENOTYPES[:12], table, executor=executor).run()
    found = rows(history.path.parent)
    events = sorted([row["asked"] for row in found] + [row["told"] for row in found])
    assert events == list(range(1, 2 * len(found) + 1))
    assert all(row["asked"] < row["told"] for row in found)


def test_every_ask_and_tell_is_on_disk_before_anything_acts_on_it(history: History, rows: Any) -> None:
    class Watchful(Table):
        def evaluate(self, job: Job) -> Evaluation:
            row = rows(history.path.parent)[-1]
            assert (row["id"], row["outcome"]) == (job.id, None)
            return super().evaluate(job)

    class Listening(Scripted):
        def tell(self, individual: Individual, rng: Any) -> dict[str, float]:
            row = rows(history.path.parent)[individual.id - 1]
            assert row["outcome"] == individual.outcome
            return super().tell(individual, rng)

    watchful = Watchful()
    watchful.bind(SPACE)
    strategy = Listening(GENOTYPES[:3])
    PopulationManager(SPACE, strategy, watchful, SerialExecutor(watchful), history, trials=10).run()
    assert len(strategy.heard) == 3


class Stopped(Exception):
    """The run is killed here."""


@pytest.mark.parametrize("stop", range(1, 9))
def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path, rows: Any, stop: int) -> None:
    script = [GENOTYPES[i] for i in (0, 5, 0, 9, 5, 3, 2, 8)]

    class Killed(Table):
        def evaluate(self, job: Job) -> Evaluation:
            if job.id == stop:
                raise Stopped
            return super().evaluate(job)

    class Direct(SerialExecutor):
        """Lets what an evaluator raises through, as a kill would."""

        def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
            job = self._jobs.popleft()
            return [(job.id, self._evaluator.evaluate(job))]

    def search(name: str, evaluator: Table, opened: History) -> PopulationManager:
        evaluator.bind(SPACE)
        return manager(opened, script, evaluator, executor=Direct(evaluator))

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    with History.create(tmp_path / "whole" / "history.db") as whole:
        uninterrupted = search("whole", Table(), whole)
        uninterrupted.run()
    path = tmp_path / "parts" / "history.db"
    with History.create(path) as first:
        broken = search("parts", Killed(), first)
        if stop in (3, 5):  # reused, so never evaluated: nothing stops
            broken.run()
        else:
            with pytest.raises(Stopped):
                broken.run()
    with History.open(path) as second:
        resumed = search("parts", Table(), second)
        resumed.run()
        assert heard(resumed) == heard(uninterrupted)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_a_resumed_run_with_fewer_slots_trains_the_interrupted_first(history: History) -> None:
    table = Table()
    table.bind(SPACE)

    def stop(jobs: deque[Job]) -> Job:
        raise Stopped

    with pytest.raises(Stopped):
        manager(history, DISTINCT[:6], table, executor=Held(table, 4, stop)).run()
    assert [pending.id for pending in history.pending()] == [1, 2, 3, 4]
    search = manager(history, DISTINCT[:6], table, executor=Held(table, 1, lambda jobs: jobs[0]))
    search.run()
    assert [id for id, *_ in heard(search)] == [1, 2, 3, 4, 5, 6]


class Crashing(Table):
    """Takes its worker down whenever it is given one of these ids, so often."""

    def __init__(self, crashes: dict[int, int]) -> None:
        super().__init__()
        self.crashes = crashes

    def evaluate(self, job: Job) -> Evaluation:
        if self.crashes.get(job.id, 0) > 0:
            self.crashes[job.id] -= 1
            self.seen.append(job.id)
            return Evaluation.failed(Outcome.CRASH, "the worker process died")
        return super().evaluate(job)


def attempts(history: History) -> list[tuple[int, int, str | None]]:
    connection = sqlite3.connect(history.path)
    found = connection.execute("SELECT trial, number, outcome FROM attempt ORDER BY trial, number").fetchall()
    connection.close()
    return found


def test_a_crashed_training_is_tried_once_more(history: History) -> None:
    table = Crashing({2: 1})
    search = manager(history, DISTINCT[:3], table)
    assert search.run() is Reason.EXHAUSTED
    assert heard(search) == [(1, "ok", 0.5), (2, "ok", 0.5), (3, "ok", 0.5)]
    assert attempts(history) == [(1, 1, "ok"), (2, 1, "crash"), (2, 2, "ok"), (3, 1, "ok")]
    assert history.count_trainings() == 3, "a retry is counted once"


@pytest.mark.parametrize("repeats", ["reuse", "retrain"])
def test_a_network_that_crashed_twice_is_left_alone(history: History, repeats: str) -> None:
    table = Crashing({1: 99, 3: 99})
    search = manager(history, [DISTINCT[0], DISTINCT[1], DISTINCT[0]], table, repeats=repeats)
    search.run()
    assert table.seen == [1, 1, 2]
    assert heard(search) == [(1, "crash", None), (2, "ok", 0.5), (3, "crash", None)]
    assert history.count_trainings() == 2


def test_a_crash_of_main_does_not_reset_how_often_a_training_crashed(history: History) -> None:
    class Killed(Table):
        def evaluate(self, job: Job) -> Evaluation:
            if self.seen:
                raise errors.Stopped
            self.seen.append(job.id)
            return Evaluation.failed(Outcome.CRASH, "the worker process died")

    with pytest.raises(errors.Stopped):
        manager(history, DISTINCT[:1], Killed()).run()
    table = Crashing({1: 99})
    search = manager(history, DISTINCT[:1], table)
    search.run()
    assert table.seen == [1], "it had one try left"
    assert heard(search) == [(1, "crash", None)]
    assert attempts(history) == [(1, 1, "crash"), (1, 2, None), (1, 3, "crash")]


def test_a_crash_while_the_run_stops_is_tried_again_by_whoever_resumes_it(history: History) -> None:
    table = Crashing({2: 1})
    table.bind(SPACE)

    def stop_then_first(jobs: deque[Job]) -> Job:
        if jobs[0].id == 2:
            search.stop(Reason.INTERRUPTED)
        return jobs[0]

    search = manager(history, DISTINCT[:4], table, executor=Held(table, 1, stop_then_first), grace=9.0)
    assert search.run() is Reason.INTERRUPTED
    assert [pending.id for pending in history.pending()] == [2]
    resumed = manager(history, DISTINCT[:4], table)
    assert resumed.run() is Reason.EXHAUSTED
    assert heard(resumed) == [(id, "ok", 0.5) for id in (1, 2, 3, 4)]


def test_a_fitness_as_high_as_the_target_ends_the_run(history: History) -> None:
    table = Table({SPACE.key(DISTINCT[2]): 0.9, SPACE.key(DISTINCT[4]): 1.0})
    assert manager(history, DISTINCT, table, target=0.9).run() is Reason.TARGET
    assert table.seen == [1, 2, 3]
    assert manager(history, DISTINCT, table, target=0.9).run() is Reason.TARGET, "it is reached already"
    assert manager(history, DISTINCT, table, target=0.95).run() is Reason.TARGET
    assert table.seen == [1, 2, 3, 4, 5]


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Slow(Held):
    """Each wait lasts as long as it may, at most ``seconds``; the oldest job ends only if it got so much."""

    def __init__(self, evaluator: Evaluator, slots: int, clock: Clock, seconds: float) -> None:
        super().__init__(evaluator, slots, lambda jobs: jobs[0])
        self.clock, self.seconds = clock, seconds
        self.waits: list[float | None] = []

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        self.waits.append(timeout)
        if timeout is not None and timeout < self.seconds:
            self.clock.now += timeout
            return []
        self.clock.now += self.seconds
        return super().next(timeout)


@pytest.mark.parametrize(("grace", "trained"), [(0.0, 2), (5.0, 2), (10.0, 3)])
def test_the_time_limit_leaves_what_runs_its_grace(history: History, grace: float, trained: int) -> None:
    table, clock = Table(), Clock()
    table.bind(SPACE)
    executor = Slow(table, 1, clock, seconds=10.0)
    search = manager(history, DISTINCT, table, executor=executor, time_limit=25.0, grace=grace, clock=clock)
    assert search.run() is Reason.TIME
    assert len(table.seen) == trained
    assert clock.now == 1000.0 + 25.0 + (10.0 - 5.0 if trained == 2 else 10.0) * (grace > 0)
    assert len(history.pending()) == 3 - trained


def test_what_is_in_flight_when_a_run_stops_is_told_to_its_listeners(history: History) -> None:
    from evo_nas.loop.listener import Listener

    class Ear(Listener):
        heard: tuple[Reason, int] | None = None

        def stopping(self, reason: Reason, running: int) -> None:
            assert self.heard is None
            self.heard = reason, running

    table, ear = Table(), Ear()
    table.bind(SPACE)

    def stop_at_once(jobs: deque[Job]) -> Job:
        search.stop(Reason.TERMINATED)
        search.stop(Reason.INTERRUPTED)
        return jobs[0]

    executor = Held(table, 3, stop_at_once)
    search = manager(history, DISTINCT[:8], table, executor=executor, grace=60.0, listeners=[ear])
    assert search.run() is Reason.TERMINATED, "the first reason counts"
    assert ear.heard == (Reason.TERMINATED, 2)
    assert executor.woken == 1
    assert [id for id, *_ in heard(search)] == [1, 2, 3]


def test_notes_and_curves_are_recorded(history: History) -> None:
    manager(history, GENOTYPES[:2], Table()).run()
    connection = sqlite3.connect(history.path)
    notes = connection.execute("SELECT trial, name, value FROM note").fetchall()
    curve = connection.execute("SELECT trial, epoch, accuracy FROM curve").fetchall()
    connection.close()
    assert [(trial, name) for trial, name, _ in notes] == [(1, "draw"), (2, "draw")]
    assert curve[:2] == [(1, 1, 0.1), (1, 2, 0.5)]


# --- metrics that a strategy needs ------------------------------------------------------------------------------


@dataclass
class Weighing(Scripted):
    """Needs one metric, and remembers what it was told."""

    metrics: list[dict[str, float]] = field(default_factory=list)

    name = "weighing"
    needs = ("energy",)

    def tell(self, individual: Individual, rng: Any) -> dict[str, float]:
        self.metrics.append(dict(individual.metrics))
        return super().tell(individual, rng)


@dataclass
class Measured(Table):
    """Gives metrics of the network and of its training."""

    network_metrics: ClassVar[tuple[str, ...]] = ("parameters", "latency", "latency_spread", "latency_noisy")

    def evaluate(self, job: Job) -> Evaluation:
        network = {"parameters": 5.0, "latency": 0.25, "latency_spread": 0.01, "latency_noisy": 1.0, "energy": 3.0}
        return replace(super().evaluate(job), metrics={**network, "train_seconds": 9.0})


def test_a_reused_trial_has_what_belongs_to_its_network_and_what_is_needed(history: History) -> None:
    evaluator = Measured()
    evaluator.bind(SPACE)
    strategy = Weighing([DISTINCT[0], DISTINCT[0]])
    PopulationManager(SPACE, strategy, evaluator, SerialExecutor(evaluator), history, trials=10).run()
    first, again = strategy.metrics
    assert first.pop("train_seconds") == 9.0
    assert again == first
    assert evaluator.seen == [1]
    again_told = Weighing([DISTINCT[0], DISTINCT[0]])
    PopulationManager(SPACE, again_told, evaluator, SerialExecutor(evaluator), history, trials=10).run()
    assert again_told.metrics == [{**first, "train_seconds": 9.0}, again], "told again it hears the same"


def test_a_metric_that_is_needed_and_missing_ends_the_run(history: History) -> None:
    table = Table(fitness={SPACE.key(DISTINCT[0]): None})
    table.bind(SPACE)
    search = PopulationManager(SPACE, Weighing(DISTINCT), table, SerialExecutor(table), history, trials=10)
    with pytest.raises(UsageError, match="needs the metric 'energy', and trial 2 has no metrics: start a new run"):
        search.run()
    assert history.count_trainings() == 2, "a failure lacks nothing"


def test_settings_come_whole_and_keywords_go_before_them(history: History) -> None:
    table, config = Table(), SearchConfig(seed=5, trials=2, max_parameters=10**6)
    table.bind(SPACE)
    parts = (SPACE, Scripted(DISTINCT), table, SerialExecutor(table), history)
    assert PopulationManager(*parts, config).run() is Reason.TRIALS
    assert table.seen == [1, 2]
    search = PopulationManager(*parts, config, trials=4)
    assert (search.config.seed, search.config.trials) == (5, 4)
    assert search.run() is Reason.TRIALS
    assert table.seen == [1, 2, 3, 4]
    with pytest.raises(TypeError, match="nosuch"):
        PopulationManager(*parts, config, nosuch=1)
