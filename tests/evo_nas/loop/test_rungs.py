"""Searches whose trainings pause: what is told when, what is left behind, and that a pause changes no result."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import load_rungs
from analysis.report.contents import report_of
from benchmarks.kills import PLUG_INS, Climbing, Record, Search, recorded
from evo_nas.cli import main
from evo_nas.config import SearchConfig
from evo_nas.evaluators.base import Job, Placement, weights_file
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.states import state_file
from evo_nas.loop.listener import Listener
from evo_nas.loop.rungs import Rungs
from evo_nas.phenotypes.blueprint import load_network
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume, start
from evo_nas.storage.endings import Reason
from evo_nas.storage.history import History
from evo_nas.storage.repair import repair
from evo_nas.storage.run_folder import RunFolder
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Outcome, Proposal
from genotypes.population import Population
from strategies.catalogue import STRATEGIES

CLIMB = Search("random", trials=20, seconds=0.0, pauses=True)


def searched(search: Search, path: Path, **flags: Any) -> Record:
    """Search to the end in this process."""
    config = load_config({**search.flags, **flags}, settings=search.settings, environ={})
    with RunFolder.create(path) as folder:
        assert start(config, folder, build(config)).reason is Reason.TRIALS
    record = recorded(path)
    assert record is not None
    return record


def test_the_best_are_trained_to_the_end_and_the_others_keep_their_last_score(tmp_path: Path) -> None:
    record = searched(CLIMB, tmp_path / "run")
    curves: dict[int, list[float]] = {}
    for row in record.curve:
        curves.setdefault(row["trial"], []).append(row["accuracy"])
    assert [row["fitness"] for row in record.trial] == [curve[-1] for _, curve in sorted(curves.items())]
    assert {len(curve) for curve in curves.values()} == {1, 3, 9}
    # Of 20 at the first rung at least 6 go on, and at least one of these to the end.
    reached = [sum(row["epoch"] == epoch for row in record.rung) for epoch in (1, 3)]
    assert reached[0] == 20
    assert 6 <= reached[1] < 14
    assert len(record.curve) < 0.5 * 9 * 20
    assert not (tmp_path / "run" / "states").exists()
    best = max(record.trial, key=lambda row: row["fitness"])
    assert json.loads(best["metrics"])["epochs"] == 9


def test_no_more_states_are_kept_than_patience_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    pause = Rungs.pause

    def count(self: Rungs, id: int, evaluation: Evaluation) -> None:
        pause(self, id, evaluation)
        files = {file.name for file in (tmp_path / "run" / "states").iterdir()}
        assert files == {state_file(Path(), *one).name for one in self.paused.items()}
        seen.append(len(files))

    monkeypatch.setattr(Rungs, "pause", count)
    searched(replace(CLIMB, trials=40), tmp_path / "run")
    assert 4 < max(seen) <= 2 * (4 + 1)  # the patience is 4, on two rungs; one more comes before another leaves


def test_states_of_trainings_in_progress_are_left_alone(tmp_path: Path) -> None:
    evaluator = Climbing()
    evaluator.prepare(tmp_path)
    with History.create(tmp_path / "history.db") as history:
        rungs = Rungs(SearchConfig(fidelity="epochs"), evaluator, history)
        for id in (1, 2):
            history.ask(id, Proposal(Genotype("any", (id,))), str(id), {}, 0, (), attempt=True)
            assert rungs.plan(id) == (1, None)
        mine, other = (state_file(tmp_path, id, 1) for id in (1, 2))
        partial = other.with_name(f"{other.name}.partial")
        mine.parent.mkdir()
        for file in (mine, other, partial, state_file(tmp_path, 3, 1)):
            file.touch()
        rungs.pause(1, Evaluation(Outcome.OK, 0.5, curve=(0.5,)))
        assert set(mine.parent.iterdir()) == {mine, other, partial}
        rungs.forget(2)
        assert set(mine.parent.iterdir()) == {mine}


def test_weights_of_what_pauses_survive_a_resume(tmp_path: Path) -> None:
    class Looks(Listener):
        found: frozenset[str] = frozenset()

        def restored(self, population: Population, trained: int) -> None:
            self.found = frozenset(file.name for file in (tmp_path / "run" / "weights").iterdir())

    config = load_config({**CLIMB.flags, "target_accuracy": 0.3}, settings=CLIMB.settings, environ={})
    with RunFolder.create(tmp_path / "run") as folder:
        start(config, folder, build(config))
    record, looks = recorded(tmp_path / "run"), Looks()
    assert record is not None
    paused = [weights_file(tmp_path / "run", row["id"]) for row in record.trial if row["told"] is None]
    for file in (*paused, weights_file(tmp_path / "run", 99)):
        file.touch()
    config = read_stored_config(tmp_path / "run", {}, PLUG_INS)
    with RunFolder.open(tmp_path / "run") as folder:
        resume(config, folder, build(config), listeners=[looks])
    assert looks.found == {file.name for file in paused} != set()


def test_evolution_learns_from_trials_that_left_the_race(tmp_path: Path) -> None:
    record = searched(replace(CLIMB, strategy="evolution", space="bits(length=20)", trials=120), tmp_path / "run")
    truth = [row["test"] for row in record.trial if row["outcome"] == "ok"]
    assert np.mean(truth[-20:]) > np.mean(truth[:20]) + 0.1


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in ("morphnet", "multiplier")])
def test_every_strategy_that_proposes_gets_its_results(tmp_path: Path, strategy: str) -> None:
    if library := {"optuna": "optuna", "nevergrad": "nevergrad", "hyperopt": "hyperopt"}.get(strategy):
        pytest.importorskip(library)
    record = searched(replace(CLIMB, strategy=strategy, trials=24), tmp_path / "run")
    assert record.trained == 24
    assert all(row["told"] is not None for row in record.trial)
    assert len({row["trial"] for row in record.rung}) == 24


def test_a_search_that_is_prolonged_takes_the_race_up_again(tmp_path: Path) -> None:
    searched(CLIMB, tmp_path / "run")
    config = read_stored_config(tmp_path / "run", {"run": {"trials": 30}}, PLUG_INS)
    with RunFolder.open(tmp_path / "run") as folder:
        assert resume(config, folder, build(config)).reason is Reason.TRIALS
    record = recorded(tmp_path / "run")
    assert record is not None
    assert record.trained == 30
    assert len({row["trial"] for row in record.rung}) == 30


def test_pauses_are_a_frame_and_survive_a_repair(tmp_path: Path) -> None:
    record = searched(CLIMB, tmp_path / "run")
    frame = load_rungs(tmp_path / "run")
    assert list(frame.columns) == ["run", "trial", "epoch", "event", "score", "test", "seconds", "paused_at"]
    assert list(frame["score"]) == [row["score"] for row in record.rung]
    history = tmp_path / "run" / "history.db"
    with history.open("r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 8)  # in the header, which leads to the tables
    assert repair(tmp_path / "run").saved == 20
    assert recorded(tmp_path / "run").rung == record.rung  # type: ignore[union-attr]


def test_a_trial_whose_tell_is_lost_is_trained_again_and_one_that_pauses_goes_on_pausing(tmp_path: Path) -> None:
    config = load_config({**CLIMB.flags, "target_accuracy": 0.3}, settings=CLIMB.settings, environ={})
    with RunFolder.create(tmp_path / "run") as folder:
        start(config, folder, build(config))
    record = recorded(tmp_path / "run")
    assert record is not None
    told, *_ = record.told
    with closing(sqlite3.connect(tmp_path / "run" / "history.db")) as connection:
        connection.execute("UPDATE trial SET fitness = 0.75 WHERE id = ?", (told,))
        connection.commit()
    (tmp_path / "run" / "history.sum").unlink()
    assert repair(tmp_path / "run").again == (told,)
    with History.read(tmp_path / "run" / "history.db") as history:
        paused = {row["id"] for row in record.trial if row["told"] is None}
        assert set(history.find_pauses()) == paused
        assert told in {pending.id for pending in history.pending()}


def test_status_and_report_count_epochs_and_what_pauses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config({**CLIMB.flags, "target_accuracy": 0.3}, settings=CLIMB.settings, environ={})
    with RunFolder.create(tmp_path / "run") as folder:
        assert start(config, folder, build(config)).reason is Reason.TARGET
    assert main(["status", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    record = recorded(tmp_path / "run")
    assert record is not None
    assert told["paused"] == told["pending"] == [row["id"] for row in record.trial if row["told"] is None] != []
    last = {row["trial"]: row["epoch"] for row in record.rung if row["trial"] in told["pending"]}
    assert told["epochs"] == len(record.curve) + sum(last.values())
    assert main(["status", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert f"{told['epochs']} epochs trained" in text
    assert f"{len(last)} paused at a rung" in text
    assert [run["epochs"] for run in report_of(tmp_path / "run")["runs"]] == [told["epochs"]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--evaluator", "toy"], "the evaluator toy has no trainings that could pause"),
        (["--dataset", "digits", "--early-stopping", "halving"], "leave early_stopping out"),
        (["--dataset", "digits", "--set", "evaluator.trainings=2"], "leave trainings out"),
        (["--dataset", "digits", "--inherit"], "leave inherit out"),
        (["--dataset", "digits", "--fidelity-epochs", "4"], "must be before the last epoch"),
        (["--dataset", "digits", "--fidelity-patience", "1"], "must be at least eta - 1"),
        (["--dataset", "digits", "--executor", "ray"], "use --executor slots"),
    ],
)
def test_what_cannot_pause_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], found: str
) -> None:
    flags = ["--strategy", "evolution", "--fidelity", "epochs", *words, "--run-dir", str(tmp_path / "run")]
    assert main(["run", *flags]) == 2
    err = capsys.readouterr().err
    assert found in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


# Trainings ---------------------------------------------------------------------------------------------------------


Trainer = Callable[[str], ProxyEvaluator]


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    """Make a proxy trainer with three epochs on a few digits, in a folder of its own."""

    def make(name: str) -> ProxyEvaluator:
        size = {"epochs": 3, "train_images": 64, "validation_images": 40, "filters": 2}
        evaluator = ProxyEvaluator(dataset="digits", drop_path_keep=0.9, latency=True, **size)  # type: ignore[arg-type]
        evaluator.bind(build_space("nasnet(blocks=1)"), Placement(device="cpu", keep_weights=True))
        (tmp_path / name).mkdir()
        evaluator.prepare(tmp_path / name)
        return evaluator

    return make


def job(evaluator: ProxyEvaluator, until: int | None = None, so_far: Evaluation | None = None) -> Job:
    genotype = evaluator.space.sample(np.random.default_rng(3))
    return Job(7, genotype, 0, until=until, so_far=so_far)


def science(evaluator: ProxyEvaluator, evaluation: Evaluation) -> tuple[Any, ...]:
    """Return what must not depend on pauses."""
    metrics = {name: evaluation.metrics[name] for name in ("train_loss", "validation_loss", "parameters", "mult_adds")}
    _, weights = load_network(weights_file(evaluator.directory, 7))
    return evaluation.curve, metrics, {name: tensor.tolist() for name, tensor in weights.items()}


@pytest.mark.parametrize("fault", ["none", "flipped"])
def test_a_training_in_parts_is_the_same_training(trainer: Trainer, fault: str) -> None:
    whole = trainer("whole")
    expected = science(whole, whole.evaluate(job(whole)))
    parts = trainer("parts")
    first = parts.evaluate(job(parts, 1))
    state = state_file(parts.directory, 7, 1)
    assert (len(first.curve), first.metrics["epochs"], first.metrics["stopped"]) == (1, 1, 1)
    if fault == "flipped":
        data = bytearray(state.read_bytes())
        data[-100] ^= 1
        state.write_bytes(data)
    second = parts.evaluate(job(parts, 2, first))
    last = parts.evaluate(job(parts, 3, second))
    assert science(parts, last) == expected
    assert (last.metrics["latency"] == first.metrics["latency"]) == (fault == "none"), "it is measured once a training"
    assert (last.metrics["epochs"], last.metrics["stopped"]) == (3, 0)
    assert last.metrics.get("restarts", 0) == (fault != "none")
    assert last.seconds is not None
    assert second.seconds is not None
    assert first.seconds is not None
    assert last.seconds > second.seconds > first.seconds
    assert not state_file(parts.directory, 7, 3).exists(), "a training that has ended leaves no state"
    parts.keep_states({})
    assert not state.parent.exists()


def test_a_proxy_search_that_pauses_tells_what_complete_trainings_tell(tmp_path: Path) -> None:
    words = ["run", "--strategy", "random", "--space", "nasnet(blocks=1)", "--dataset", "digits", "--trials", "5"]
    words += ["--executor", "serial", "--keep-weights", "2", "--set", "evaluator.train_images=64"]
    words += ["--set", "evaluator.filters=2", "--set", "evaluator.epochs=3"]
    assert main([*words, "--run-dir", str(tmp_path / "whole")]) == 0
    climb = ["--fidelity", "epochs", "--fidelity-eta", "2"]
    assert main([*words, *climb, "--run-dir", str(tmp_path / "climb")]) == 0
    whole, parts = (recorded(tmp_path / name) for name in ("whole", "climb"))
    assert whole is not None
    assert parts is not None
    accuracies = {(row["trial"], row["epoch"]): row["accuracy"] for row in whole.curve}
    assert {(row["trial"], row["epoch"]): row["accuracy"] for row in parts.curve}.items() <= accuracies.items()
    assert len(parts.curve) < len(whole.curve)
    assert len(list((tmp_path / "climb" / "weights").iterdir())) == 2
    assert not (tmp_path / "climb" / "states").exists()
