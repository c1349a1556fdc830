"""Trackers beside a search: shown all by its end, and no danger to it, whatever becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evo_nas.api.searches import search
from evo_nas.cli import main
from evo_nas.listeners.followers import Followers
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import TRACKERS

pytest.importorskip("optuna", reason="needs the extra optuna")
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

TOY = ("run", "--strategy", "random", "--evaluator", "toy", "--trials")


@pytest.mark.slow
def test_a_tracker_is_shown_the_whole_search_by_a_process_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evo_nas.listeners.followers.PATIENCE", 300.0)
    run = tmp_path / "run"
    assert main([*TOY, "7", "--tracker", "optuna", "--run-dir", str(run)]) == 0
    storage = JournalStorage(JournalFileBackend(str(run / "optuna" / "journal.log")))
    (study,) = storage.get_all_studies()
    assert len(storage.get_all_trials(study._study_id)) == 7
    assert study.user_attrs["reason"] == "trials"
    assert "warning" not in capfd.readouterr().err
    assert (run / "history.sum").exists(), "nobody stood in the way when the history was closed"


@pytest.mark.slow
def test_a_tracker_that_cannot_be_reached_is_one_line_and_not_the_end_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evo_nas.listeners.followers.PATIENCE", 300.0)
    run = tmp_path / "run"
    assert main([*TOY, "3", "--run-dir", str(run)]) == 0
    (run / "optuna").write_text("a file where the folder should be")
    assert main(["resume", str(run), "--trials", "6", "--tracker", "optuna"]) == 0
    error = capfd.readouterr().err
    assert error.count("evo_nas: warning: the tracker optuna") == 1
    assert f"python -m evo_nas track {run} --tracker optuna" in error
    assert "Traceback" not in error
    with History.read(run / "history.db") as history:
        assert history.count_trainings() == 6


def test_a_tracker_that_takes_too_long_is_ended_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evo_nas.listeners.followers.PATIENCE", 0.0)
    with Followers(tmp_path / "run", ["optuna"]) as followers:
        (process,) = followers._processes.values()
    assert process.returncode is not None
    assert f"what it lacks is sent by: python -m evo_nas track {tmp_path / 'run'}" in capfd.readouterr().err


@pytest.mark.parametrize("name", TRACKERS)
def test_without_its_library_a_tracker_is_refused_before_anything_begins(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo_nas.listeners.followers.find_spec", lambda name: None)
    run = tmp_path / "run"
    assert main([*TOY, "3", "--tracker", name, "--run-dir", str(run)]) == 2
    assert f"pip install 'evo_nas[{name}]'" in capsys.readouterr().err
    assert not run.exists()


def test_an_unknown_tracker_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TOY, "3", "--tracker", "mlflow,visdom", "--run-dir", str(tmp_path / "run")]) == 2
    assert "tensorboard, mlflow, wandb, optuna, or none, not 'visdom'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_old_flag_says_its_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*TOY, "3", "--tensorboard"])
    assert "--tensorboard is now --tracker tensorboard" in capsys.readouterr().err


def test_a_run_that_had_the_old_option_keeps_its_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo_nas.listeners.followers.PATIENCE", 300.0)
    run = tmp_path / "run"
    search(strategy="random", evaluator="toy", trials=2, run_dir=run)
    config = run / "run.toml"
    config.write_text(config.read_text("utf-8").replace("tracker = []", "tensorboard = true"), "utf-8")
    search_again = main(["resume", str(run), "--trials", "3"])
    assert search_again == 0
    assert 'tracker = ["tensorboard"]' in config.read_text("utf-8")
    assert (run / "tensorboard").is_dir()
