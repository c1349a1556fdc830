"""TensorBoard's events are a view of the history: live, complete after a resume, and no danger to the search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from evo_nas.api.searches import search
from evo_nas.cli import main
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.serial import SerialExecutor
from evo_nas.listeners.tensorboard import TensorBoard
from evo_nas.loop.listener import Listener
from evo_nas.manager import MEAN_OF, PopulationManager
from evo_nas.storage.history import History
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.population import Population
from genotypes.spaces.nasnet import NASNetSpace
from strategies.catalogue import STRATEGIES

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

Series = Mapping[str, list[tuple[int, float]]]
"""Tag -> (step, value), as TensorBoard reads it."""

EVOLUTION = {"strategy": "evolution", "evaluator": "toy", "population": 8, "sample": 3, "tracker": "tensorboard"}


def reload(run: Path) -> EventAccumulator:
    """Read the events as TensorBoard does."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def series(run: Path) -> Series:
    """Return the steps and values of each tag; a text counts as 1."""
    events = reload(run)
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    texts = {tag: [(event.step, 1.0) for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    return scalars | texts


def individuals(run: Path) -> Iterator[Individual]:
    with History.read(run / "history.db") as history:
        yield from history.read_tells()


def test_the_events_say_what_the_history_says(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search(**EVOLUTION, trials=30, run_dir=run)
    seen, told = series(run), list(individuals(run))
    trained = [i for i in told if i.ok and i.outcome != "reused"]
    assert [step for step, _ in seen["accuracy/trial"]] == list(range(1, 31))
    assert [value for _, value in seen["accuracy/trial"]] == pytest.approx([i.score for i in trained])
    assert seen["accuracy/best_so_far"][-1][1] == pytest.approx(max(i.score for i in told if i.ok))
    youngest = [i.score for i in told if i.ok][-8:]
    assert seen["accuracy/mean_of_last_8"][-1] == (30, pytest.approx(sum(youngest) / 8))
    assert seen["trials/ok"][-1] == (30, 30.0)
    best, records = -1.0, 0
    for individual in told:
        if individual.ok and individual.score > best:
            best, records = individual.score, records + 1
    assert len(seen["incumbent/text_summary"]) == records


class Failing(ToyEvaluator):
    """Every third trial fails."""

    def evaluate(self, job: Job) -> Evaluation:
        return super().evaluate(job) if job.id % 3 else Evaluation.failed(Outcome.NAN, "as told", seconds=1.0)


def test_failures_and_notes_of_the_strategy_are_shown_too(tmp_path: Path) -> None:
    space, evaluator = NASNetSpace(blocks=1), Failing()
    evaluator.bind(space)
    strategy = STRATEGIES.build("rl", {"batch": 4})
    with History.create(tmp_path / "history.db") as history, TensorBoard(tmp_path, history, MEAN_OF) as view:
        executor = SerialExecutor(evaluator)
        PopulationManager(space, strategy, evaluator, executor, history, trials=24, listeners=[view]).run()
    seen = series(tmp_path)
    assert seen["trials/nan"][-1][1] == 8
    assert len(seen["accuracy/trial"]) == 16
    assert [step for step, _ in seen["strategy/entropy"]] == [4, 8, 12, 16, 20, 24]
    assert seen["accuracy/mean_of_last_100"], "a strategy without a population has a mean too"
    assert seen["trial/parameters"]


class Steady(ToyEvaluator):
    """Every network is as good as every other, and learns alike."""

    def evaluate(self, job: Job) -> Evaluation:
        return Evaluation(Outcome.OK, fitness=0.5, curve=(0.25, 0.5))


def test_the_incumbent_is_the_first_of_the_best_with_its_epochs_and_times_are_the_historys(tmp_path: Path) -> None:
    space, evaluator = NASNetSpace(blocks=1), Steady()
    evaluator.bind(space)
    with History.create(tmp_path / "history.db") as history, TensorBoard(tmp_path, history, MEAN_OF) as view:
        executor, strategy = SerialExecutor(evaluator), STRATEGIES.build("random", {})
        PopulationManager(space, strategy, evaluator, executor, history, trials=6, listeners=[view]).run()
        times = [told.at for told in history.follow(0)]
    seen = series(tmp_path)
    assert seen["incumbent/text_summary"] == [(1, 1.0)]
    assert seen["incumbents_learning_curve/trial_1"] == [(1, 0.25), (2, 0.5)]
    assert [event.wall_time for event in reload(tmp_path).Scalars("accuracy/trial")] == times


def test_the_events_are_there_while_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo_nas.listeners.tensorboard.SECONDS_BETWEEN_WRITES", 0.0)
    run, seen = tmp_path / "run", []

    class Looking(Listener):
        def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
            if trained in (5, 10):
                seen.append(len(series(run)["accuracy/trial"]))

    search(**EVOLUTION, trials=12, run_dir=run, listeners=[Looking()])
    assert seen == [5, 10]


def test_a_resumed_run_shows_its_first_part_too_and_once(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    search(**EVOLUTION, trials=30, run_dir=whole)
    search(**{**EVOLUTION, "tracker": "none"}, trials=10, run_dir=parts)
    assert not (parts / "tensorboard").exists()
    assert main(["resume", str(parts), "--trials", "20", "--tracker", "tensorboard"]) == 0
    assert main(["resume", str(parts), "--trials", "30"]) == 0, "the run remembers the option"
    assert series(parts)["accuracy/best_so_far"] == series(whole)["accuracy/best_so_far"]
    assert len(list((parts / "tensorboard").iterdir())) == 1


def test_events_that_cannot_be_written_do_not_end_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    search(**{**EVOLUTION, "tracker": "none"}, trials=5, run_dir=run)
    (run / "tensorboard").write_text("a file where the folder should be")
    assert main(["resume", str(run), "--trials", "12", "--tracker", "tensorboard"]) == 0
    assert capsys.readouterr().err.count("no more events for TensorBoard") == 1
    assert len(list(individuals(run))) >= 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_a_warning_and_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(RecordWriter):  # type: ignore[misc]
        def __init__(self, file: IO[bytes]) -> None:
            file.close()
            super().__init__(Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115  # its writer closes it

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter", Full)
    flags = ["--strategy", "random", "--evaluator", "toy", "--trials", "5", "--tracker", "tensorboard"]
    assert main(["run", *flags, "--run-dir", str(tmp_path / "run")]) == 0
    error = capfd.readouterr().err
    assert error.count("No space left on device") == error.count("no more events for TensorBoard") == 1
    assert "Traceback" not in error
