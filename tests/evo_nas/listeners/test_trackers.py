"""Records of a run in other people's programs: complete, sent once, also after a resume; read with their libraries."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evo_nas.api.searches import search
from evo_nas.cli import main
from evo_nas.listeners.numbers import Entry
from evo_nas.listeners.trackers.base import Sent, TrackedRun, Tracker
from evo_nas.listeners.trackers.follower import Follower
from evo_nas.storage.history import History
from evo_nas.storage.reader import HistoryReader
from evo_nas.storage.replay import Told
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome, Proposal
from genotypes.measure import ACCURACY

EVOLUTION = {"strategy": "evolution", "evaluator": "toy", "population": 8, "sample": 3}


def told_of(run: Path) -> list[Told]:
    with History.read(run / "history.db") as history:
        return [*history.follow()]


def records_of(told: Sequence[Told]) -> list[Told]:
    """Return the trials that were better than all before."""
    best, found = -1.0, []
    for one in told:
        if one.fitness is not None and one.fitness > best:
            best, found = one.fitness, [*found, one]
    return found


def track(run: Path, name: str) -> None:
    assert main(["track", str(run), "--tracker", name]) == 0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run to be resumed; each test tracks it under a name of its own."""
    run = tmp_path_factory.mktemp("parts") / "run"
    search(**EVOLUTION, trials=12, run_dir=run)
    return run


@pytest.mark.slow
def test_mlflow_holds_every_trial_once_also_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tmp_path / "run"
    search(**EVOLUTION, trials=10, run_dir=run)
    track(run, "mlflow")
    assert main(["resume", str(run), "--trials", "25"]) == 0
    track(run, "mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'evo_nas'")
    (found,) = client.search_runs([experiment.experiment_id])
    seen = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    track(run, "mlflow")
    assert seen == {name: client.get_metric_history(found.info.run_id, name) for name in seen}, "sent once"
    told = told_of(run)
    trained = [one for one in told if one.seconds is not None]
    assert [metric.value for metric in sorted(seen["accuracy/trial"], key=lambda metric: metric.step)] == [
        one.fitness for one in trained
    ]
    assert [metric.step for metric in seen["accuracy/trial"]] == [*range(1, 26)]
    assert max(metric.value for metric in seen["accuracy/best_so_far"]) == max(one.fitness or 0 for one in told)
    assert found.data.params["run.strategy"] == "evolution"
    assert found.data.params["strategy.population"] == "8"
    assert (found.info.status, found.data.tags["evo_nas.reason"]) == ("FINISHED", "trials")
    files = {Path(file.path).name for file in client.list_artifacts(found.info.run_id, "incumbents")}
    assert files == {f"trial-{one.id:06}.{kind}" for one in records_of(told) for kind in ("png", "json")}


@pytest.mark.slow
def test_a_server_that_refuses_is_one_line(
    parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert main(["track", str(parts), "--tracker", "mlflow"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("evo_nas: the tracker mlflow was not sent all: ")
    assert error.count("\n") == 1


def test_a_storage_of_optuna_holds_every_trial_once_also_after_a_resume(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="needs the extra optuna")
    run = tmp_path / "run"
    search(**EVOLUTION, trials=10, run_dir=run)
    track(run, "optuna")
    assert main(["resume", str(run), "--trials", "25"]) == 0
    track(run, "optuna")
    track(run, "optuna")
    backend = optuna.storages.journal.JournalFileBackend(str(run / "optuna" / "journal.log"))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name="run", storage=storage)
    told, records = told_of(run), records_of(told_of(run))
    assert [trial.user_attrs["trial"] for trial in study.trials] == [one.id for one in told]
    assert [trial.value for trial in study.trials] == [one.fitness for one in told]
    assert len(study.best_trial.params) == len(Genotype.parse(told[0].genotype).choices)
    for trial, one in zip(study.trials, told, strict=True):
        files = {meta.filename for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage)}
        assert files == ({f"trial-{one.id:06}.png", f"trial-{one.id:06}.json"} if one in records else set())


def test_a_journal_of_optuna_is_written_in_batches_and_goes_on_where_it_ends(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="needs the extra optuna")
    from evo_nas.listeners.trackers.optuna_journal import BatchedJournal

    def count_trials() -> int:
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        storage = optuna.storages.JournalStorage(backend)
        return sum(len(storage.get_all_trials(study._study_id)) for study in storage.get_all_studies())

    path = tmp_path / "journal.log"
    for shown in (0, 3):  # the second journal reads what the first has written
        journal = BatchedJournal(path)
        storage = optuna.storages.JournalStorage(journal)
        study = optuna.create_study(storage=storage, study_name="search", load_if_exists=True)
        for number in range(shown, shown + 3):
            study.add_trial(optuna.trial.create_trial(value=float(number)))
        assert count_trials() == shown, "nothing is written yet"
        journal.flush()
        assert count_trials() == shown + 3
        assert [trial.value for trial in study.trials] == [float(number) for number in range(shown + 3)]


def read_wandb(file: Path) -> Iterator[Any]:
    """Yield the records of an offline run: LevelDB's log format, after a header of 7 bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


@pytest.mark.slow
def test_weights_and_biases_offline_holds_every_trial_once_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the extra wandb")
    for name in ("WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    run = tmp_path / "run"
    search(**EVOLUTION, trials=10, run_dir=run)
    track(run, "wandb")
    assert main(["resume", str(run), "--trials", "25"]) == 0
    track(run, "wandb")
    (file,) = (run / "wandb").glob("offline-run-*/*.wandb")
    rows = [
        {item.nested_key[0] if item.nested_key else item.key: item.value_json for item in record.history.item}
        for record in read_wandb(file)
        if record.WhichOneof("record_type") == "history"
    ]
    told = told_of(run)
    trials = [float(row["accuracy/trial"]) for row in rows if "accuracy/trial" in row]
    assert trials == [one.fitness for one in told if one.seconds is not None]
    assert len(rows) == len(told)
    assert sum("incumbent" in row for row in rows) == len(records_of(told))
    assert len([*(file.parent / "files" / "media" / "images").glob("*.png")]) == len(records_of(told))


class Fake(Tracker):
    """A tracker in memory; it cannot be reached while ``fault`` is set."""

    name = "fake"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.sent: list[Entry] = []
        self.fault: Exception | None = None
        self.known: Sent | None = None
        self.ended: list[tuple[bool, str | None]] = []
        self.forgotten = 0

    def open(self) -> Sent | None:
        if self.fault is not None:
            raise self.fault
        return self.known

    def send(self, entries: Sequence[Entry]) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent += [entry for entry in entries if self.known is None or entry.told.event > self.known.event]
        self.known = Sent(entries[-1].told.event, entries[-1].told.at)

    def close(self, *, has_ended: bool, reason: str | None) -> None:
        self.ended.append((has_ended, reason))

    def forget(self) -> None:
        self.known, self.sent = None, []
        self.forgotten += 1


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History.create(tmp_path / "history.db") as history:
        yield history


def ask(history: History, id: int) -> None:
    history.ask(id, Proposal(Genotype("toy", (id,))), str(id), {}, 0, (), attempt=True)


def follow(tmp_path: Path, reader: HistoryReader) -> tuple[Fake, Follower, list[str]]:
    warnings: list[str] = []
    run = TrackedRun(tmp_path, {}, {}, ACCURACY, reader, lambda cell: None, lambda space: ())
    fake = Fake(run)
    return fake, Follower(run, fake, 100, warnings.append), warnings


def test_a_trial_is_sent_when_its_notes_are_there_and_the_last_at_the_end(tmp_path: Path, history: History) -> None:
    with HistoryReader.read(history.path, checked=False) as reader:
        fake, follower, _ = follow(tmp_path, reader)
        ask(history, 1)
        history.tell(1, Evaluation(Outcome.OK, fitness=0.5, seconds=1.0))
        follower.catch_up(is_over=False)
        assert not fake.sent
        history.note(1, {"entropy": 2.0})
        ask(history, 2)
        follower.catch_up(is_over=False)
        assert [entry.numbers["strategy/entropy"] for entry in fake.sent] == [2.0]
        history.tell(2, Evaluation.failed(Outcome.NAN, "as told", seconds=1.0))
        follower.catch_up(is_over=True, has_ended=True, reason="trials")
        assert [entry.told.id for entry in fake.sent] == [1, 2]
        assert [entry.trained for entry in fake.sent] == [1, 2]
        assert fake.ended == [(True, "trials")]


def test_a_tracker_that_fails_is_warned_of_once_and_sent_all_later(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo_nas.listeners.trackers.follower.AGAIN", 0.0)
    with HistoryReader.read(history.path, checked=False) as reader:
        fake, follower, warnings = follow(tmp_path, reader)
        for id in (1, 2, 3):
            ask(history, id)
            history.tell(id, Evaluation(Outcome.OK, fitness=id / 10, seconds=1.0))
        follower.catch_up(is_over=False)
        fake.fault = ConnectionError("refused\nat once")
        for id in (4, 5):
            ask(history, id)
            history.tell(id, Evaluation(Outcome.OK, fitness=id / 10, seconds=1.0))
            follower.catch_up(is_over=False)
        assert warnings == ["ConnectionError: refused at once"]
        assert follower.fault is not None
        fake.fault = None
        follower.catch_up(is_over=True)
        assert [entry.told.id for entry in fake.sent] == [1, 2, 3, 4, 5]
        assert follower.fault is None
        assert len(warnings) == 1


def test_a_record_of_another_history_is_begun_anew(tmp_path: Path, history: History) -> None:
    ask(history, 1)
    history.tell(1, Evaluation(Outcome.OK, fitness=0.5, seconds=1.0))
    with HistoryReader.read(history.path, checked=False) as reader:
        fake, follower, _ = follow(tmp_path, reader)
        fake.known = Sent(2, at=1.0)
        follower.catch_up(is_over=True)
    assert (fake.forgotten, len(fake.sent)) == (1, 1)
