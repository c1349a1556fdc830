"""A search that is resumed from Python is that of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo_nas
from evo_nas.errors import RunFolderError, UsageError

TOY: dict[str, Any] = {"strategy": "evolution", "evaluator": "toy", "population": 5, "sample": 2}
MY_STRATEGY = """
from strategies.random_search import RandomSearch


class Own(RandomSearch):
    name = "own-of-a-test"
"""


def test_it_ends_where_one_search_would_have(rows: Callable[[Path], Any], tmp_path: Path) -> None:
    whole = evo_nas.search(**TOY, trials=20, run_dir=tmp_path / "whole")
    half = evo_nas.search(**TOY, trials=9, run_dir=tmp_path / "half")
    ended = evo_nas.resume(half, trials=20)
    assert ended.path == half.path
    assert rows(ended.path) == rows(whole.path)
    assert (evo_nas.load_history(half)["outcome"] == "ok").sum() == 20


def test_another_search_is_refused_and_the_run_is_free_again(tmp_path: Path) -> None:
    run = evo_nas.search(**TOY, trials=5, run_dir=tmp_path / "run")
    with pytest.raises(UsageError, match="cannot change"):
        evo_nas.resume(run, seed=1)
    with pytest.raises(UsageError, match="there is no flag 'trails'"):
        evo_nas.resume(run, trails=10)
    assert len(evo_nas.load_history(evo_nas.resume(run, settings=["run.trials=6"]))) == 6


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds a training, no search; evo_nas\.train resumes it"):
        evo_nas.resume(tmp_path)
    with pytest.raises(RunFolderError):
        evo_nas.resume(tmp_path / "nothing")


def test_a_plug_in_is_named_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_of_a_test.py").write_text(MY_STRATEGY)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"strategy": "own_of_a_test:Own"}
    run = evo_nas.search(**own, evaluator="toy", trials=3, run_dir=tmp_path / "run")
    with pytest.raises(UsageError, match="name it on the command line too"):
        evo_nas.resume(run, trials=5)
    assert len(evo_nas.load_history(evo_nas.resume(run, trials=5, **own))) == 5


def test_hardware_comes_from_the_variables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = evo_nas.search(**TOY, trials=5, run_dir=tmp_path / "run")
    monkeypatch.setenv("EVO_NAS_WORKERS", "none")
    with pytest.raises(UsageError, match="workers"):
        evo_nas.resume(run, trials=6)
