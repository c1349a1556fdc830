"""TensorBoard's events are a view of the history: live, complete after a resume, read as TensorBoard does."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from evo_nas.api.searches import search
from evo_nas.cli import main
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.executors.serial import SerialExecutor
from evo_nas.listeners.trackers.base import TrackedRun
from evo_nas.listeners.trackers.follower import Follower
from evo_nas.listeners.trackers.tensorboard import TensorBoard
from evo_nas.manager import PopulationManager
from evo_nas.storage.history import History
from evo_nas.storage.reader import HistoryReader
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.measure import ACCURACY
from genotypes.spaces.nasnet import NASNetSpace
from strategies.base import SearchStrategy
from strategies.catalogue import STRATEGIES

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

Series = Mapping[str, list[tuple[int, float]]]
"""Tag -> (step, value), as TensorBoard reads it."""

EVOLUTION = {"strategy": "evolution", "evaluator": "toy", "population": 8, "sample": 3}


def reload(run: Path) -> EventAccumulator:
    """Read the events as TensorBoard does."""
    sizes = {"scalars": 0, "tensors": 0, "images": 0}
    events = EventAccumulator(str(run / "tensorboard"), size_guidance=sizes)
    events.Reload()
    return events


def series(run: Path) -> Series:
    """Return the steps and values of each tag; a text counts as 1."""
    events = reload(run)
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    texts = {tag: [(event.step, 1.0) for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    return scalars | texts


def individuals(run: Path) -> list[Individual]:
    with History.read(run / "history.db") as history:
        return [*history.read_tells()]


def track(run: Path) -> int:
    return main(["track", str(run), "--tracker", "tensorboard"])


@contextmanager
def follow(folder: Path, warnings: list[str] | None = None) -> Iterator[Follower]:
    with HistoryReader.read(folder / "history.db", checked=False) as reader:
        run = TrackedRun(folder, {}, {}, ACCURACY, reader, lambda cell: None, lambda space: ())
        yield Follower(run, TensorBoard(run), 100, ([] if warnings is None else warnings).append)


def search_with(evaluator: ToyEvaluator, strategy: SearchStrategy, trials: int, history: History) -> None:
    space = NASNetSpace(blocks=1)
    evaluator.bind(space)
    PopulationManager(space, strategy, evaluator, SerialExecutor(evaluator), history, trials=trials).run()


def test_the_events_say_what_the_history_says(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search(**EVOLUTION, trials=30, run_dir=run)
    assert track(run) == 0
    seen, told = series(run), individuals(run)
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
    pictures = reload(run).Images("incumbent")
    assert len(pictures) == records
    for one in pictures:
        assert one.encoded_image_string.startswith(b"\x89PNG")
        assert (one.width, one.height) == struct.unpack(">II", one.encoded_image_string[16:24])


class Failing(ToyEvaluator):
    """Every third trial fails."""

    def evaluate(self, job: Job) -> Evaluation:
        return super().evaluate(job) if job.id % 3 else Evaluation.failed(Outcome.NAN, "as told", seconds=1.0)


def test_failures_and_notes_of_the_strategy_are_shown_too(tmp_path: Path) -> None:
    with History.create(tmp_path / "history.db") as history:
        search_with(Failing(), STRATEGIES.build("rl", {"batch": 4}), 24, history)
        with follow(tmp_path) as follower:
            follower.catch_up(is_over=True)
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
    with History.create(tmp_path / "history.db") as history:
        search_with(Steady(), STRATEGIES.build("random", {}), 6, history)
        times = [told.at for told in history.follow(0)]
        with follow(tmp_path) as follower:
            follower.catch_up(is_over=True)
    seen = series(tmp_path)
    assert seen["incumbent/text_summary"] == [(1, 1.0)]
    assert seen["incumbents_learning_curve/trial_1"] == [(1, 0.25), (2, 0.5)]
    assert [event.wall_time for event in reload(tmp_path).Scalars("accuracy/trial")] == times


def test_the_events_are_there_while_the_search_goes_on(tmp_path: Path) -> None:
    with History.create(tmp_path / "history.db") as history, follow(tmp_path) as follower:
        for trials, shown in ((5, 4), (10, 9)):  # the last one's notes may be on their way
            search_with(ToyEvaluator(), STRATEGIES.build("random", {}), trials, history)
            follower.catch_up(is_over=False)
            assert len(series(tmp_path)["accuracy/trial"]) == shown
        follower.catch_up(is_over=True)
    assert len(series(tmp_path)["accuracy/trial"]) == 10


def test_a_resumed_run_shows_its_first_part_too_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evo_nas.listeners.followers.PATIENCE", 300.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    search(**EVOLUTION, trials=30, run_dir=whole)
    assert track(whole) == 0
    search(**EVOLUTION, trials=10, run_dir=parts)
    assert track(parts) == 0
    assert main(["resume", str(parts), "--trials", "30", "--tracker", "tensorboard"]) == 0
    assert series(parts)["accuracy/best_so_far"] == series(whole)["accuracy/best_so_far"]
    assert len(list((parts / "tensorboard").iterdir())) == 1
    assert "warning" not in capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_one_line_and_all_is_sent_when_there_is_room(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(RecordWriter):  # type: ignore[misc]
        def __init__(self, file: IO[bytes]) -> None:
            file.close()
            super().__init__(Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115  # its writer closes it

    run = tmp_path / "run"
    search(**EVOLUTION, trials=5, run_dir=run)
    with monkeypatch.context() as patch:
        patch.setattr("tensorboard.summary.writer.record_writer.RecordWriter", Full)
        assert track(run) == 1
    error = capfd.readouterr().err
    assert error.startswith("evo_nas: the tracker tensorboard was not sent all: OSError: [Errno 28] No space left")
    assert error.count("\n") == 1
    assert track(run) == 0
    assert len(series(run)["accuracy/trial"]) == 5
