"""The population manager: the sequence of events, what becomes of an ask, budgets, and resuming."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from evo_nas.errors import TooManyFailures
from evo_nas.evaluators.base import Cost, Evaluator, Job
from evo_nas.executors.serial import SerialExecutor
from evo_nas.history import History
from evo_nas.manager import PopulationManager, Reason
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.nasnet import NASNetSpace
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import Proposal, SearchStrategy

SPACE = NASNetSpace(blocks=1, ops=("identity", "conv_1x1"), combines=("add",))
GENOTYPES = [
    SPACE.genotype(choices) for choices in itertools.product(*[range(len(d.options)) for d in SPACE.decisions])
]
"""Every genotype of a space so small that all can be listed."""


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

    def __init__(self, evaluator: Evaluator, slots: int, order: Callable[[deque[Job]], Job]) -> None:
        self.evaluator, self.slots, self.order = evaluator, slots, order
        self.jobs: deque[Job] = deque()
        self.most = 0

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))
        assert len(self.jobs) <= self.slots

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        job = self.order(self.jobs)
        self.jobs.remove(job)
        return [(job.id, self.evaluator.evaluate(job))]

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
    assert history.trained() == 1


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
    distinct = list({SPACE.key(g): g for g in GENOTYPES}.values())
    table = Table(dict.fromkeys(map(SPACE.key, distinct)))
    with pytest.raises(TooManyFailures, match=r"4 trainings in a row failed.*nan.*the table says so"):
        manager(history, distinct, table, max_consecutive_failures=4).run()


def test_slots_are_kept_busy_and_twins_wait_without_one(history: History) -> None:
    distinct = list({SPACE.key(g): g for g in GENOTYPES}.values())
    table = Table()
    table.bind(SPACE)
    executor = Held(table, slots=3, order=lambda jobs: jobs[-1])  # the youngest ends first
    script = [distinct[0], distinct[0], distinct[1], distinct[0], *distinct[2:8]]
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
    distinct = list({SPACE.key(g): g for g in GENOTYPES}.values())

    def stop(jobs: deque[Job]) -> Job:
        raise Stopped

    with pytest.raises(Stopped):
        manager(history, distinct[:6], table, executor=Held(table, 4, stop)).run()
    assert [pending.id for pending in history.pending()] == [1, 2, 3, 4]
    search = manager(history, distinct[:6], table, executor=Held(table, 1, lambda jobs: jobs[0]))
    search.run()
    assert [id for id, *_ in heard(search)] == [1, 2, 3, 4, 5, 6]


def test_notes_and_curves_are_recorded(history: History) -> None:
    import sqlite3

    manager(history, GENOTYPES[:2], Table()).run()
    connection = sqlite3.connect(history.path)
    notes = connection.execute("SELECT trial, name, value FROM note").fetchall()
    curve = connection.execute("SELECT trial, epoch, accuracy FROM curve").fetchall()
    connection.close()
    assert [(trial, name) for trial, name, _ in notes] == [(1, "draw"), (2, "draw")]
    assert curve[:2] == [(1, 1, 0.1), (1, 2, 0.5)]
