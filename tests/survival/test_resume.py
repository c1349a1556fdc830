"""What may have changed when a run is resumed: its place, the hardware, versions; not its data."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills import Search
from evo_nas.cli import main
from evo_nas.run.search import Run
from evo_nas.storage.history import History
from strategies.catalogue import STRATEGIES
from tests.soaked import HEAVY_STRATEGIES, soak

Rows = Callable[[Path], list[dict[str, Any]]]
WITHOUT_TIMES = ("asked_sum", "told_sum")
"""Columns that differ because they cover the times of day."""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def events(rows: Rows) -> Rows:
    """Read every trial, but for what depends on the time of day."""
    return lambda run: [{k: v for k, v in row.items() if k not in WITHOUT_TIMES} for row in rows(run)]


@pytest.fixture
def table() -> Path:
    path = Path("table.csv")
    lines = [f"bits(length=6):{'.'.join(format(i, '06b'))},{format(i, '06b').count('1') / 6:.4f}" for i in range(64)]
    path.write_text("\n".join(["genotype,accuracy", *lines]) + "\n")
    return path


def searched(trials: int, *words: str) -> int:
    flags = ["--strategy", "random", "--space", "bits", "--set", "space.length=6", "--evaluator", "tabular"]
    flags += ["--table", "table.csv", "--column", "accuracy", "--run-dir", "run", "--trials", str(trials)]
    return main(["run", *flags, *words])


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_run_goes_on_wherever_its_folder_is(how: str, toy_run: Callable[..., Run], events: Rows) -> None:
    whole = toy_run("whole", strategy="evolution", population=10, sample=3, trials=40).path
    half = toy_run("half", strategy="evolution", population=10, sample=3, trials=20).path
    place = Path("somewhere") / "else"
    place.parent.mkdir()
    if how == "moved":
        half.rename(place)
    else:
        shutil.copytree(half, place)
    assert main(["resume", str(place), "--trials", "40"]) == 0
    assert events(place) == events(whole)


@pytest.mark.parametrize("words", [("--executor", "slots"), ("--executor", "slots", "--recycle-after", "3")])
def test_another_executor_makes_no_difference(
    words: tuple[str, ...], toy_run: Callable[..., Run], events: Rows
) -> None:
    whole = toy_run("whole", strategy="evolution", population=10, sample=3, trials=30).path
    parts = toy_run("parts", strategy="evolution", population=10, sample=3, trials=10).path
    assert main(["resume", str(parts), "--trials", "20", *words]) == 0
    assert main(["resume", str(parts), "--trials", "30", "--executor", "serial", "--recycle-after", "0"]) == 0
    assert events(parts) == events(whole)


@pytest.mark.parametrize("strategy", soak(STRATEGIES, HEAVY_STRATEGIES))
def test_another_hash_seed_makes_no_difference(
    strategy: str,
    toy_run: Callable[..., Run],
    started: Callable[..., subprocess.Popen[str]],
    events: Rows,
) -> None:
    search = Search(strategy, trials=12)
    flags = {name: search.flags[name] for name in ("strategy", "space", "evaluator")}
    whole = toy_run("whole", trials=12, **flags).path
    parts = toy_run("parts", trials=5, **flags).path
    # Sets are in the order of hashes, and those of texts differ from process to process.
    for trials, seed in ((8, "1"), (12, "777")):
        words = ("parts", "--evaluator", str(flags["evaluator"]), "--trials", str(trials))
        resumed = started("resume", *words, variables={"PYTHONHASHSEED": seed})
        assert resumed.wait() == 0
    assert events(parts) == events(whole)


def test_data_that_has_changed_is_refused_and_nothing_is_written(
    table: Path, events: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    assert searched(20) == 0
    before, config = events(Path("run")), Path("run/run.toml").read_text()
    whole = table.read_text()
    table.write_text(whole.replace("0.5000", "0.5001"))
    capsys.readouterr()
    assert main(["resume", "run", "--trials", "25"]) == 2
    error = capsys.readouterr().err
    assert "its data is not the same: data.table.csv from '" in error
    assert error.count("\n") == 1
    assert (events(Path("run")), Path("run/run.toml").read_text()) == (before, config)
    table.write_text(whole)
    assert main(["resume", "run", "--trials", "25"]) == 0


def test_data_that_has_gone_is_missed(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert searched(20) == 0
    table.unlink()
    capsys.readouterr()
    assert main(["resume", "run", "--trials", "25"]) == 4
    assert "there is no table" in capsys.readouterr().err


def test_the_same_results_in_another_order_are_the_same_data(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert searched(20) == 0
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert main(["resume", "run", "--trials", "25"]) == 0, "the digest is that of the results"


def test_another_version_of_a_library_is_noted(toy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = toy_run(trials=10).path
    environment = json.loads((run / "env.json").read_text())
    environment["versions"]["torch"] = "1.0"
    (run / "env.json").write_text(json.dumps(environment))
    capsys.readouterr()
    assert main(["resume", str(run), "--trials", "12"]) == 0
    assert "note: since the run began, version.torch from '1.0' to '" in capsys.readouterr().err
    warnings = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert ["version.torch" in one["message"] for one in warnings if one["event"] == "warning"] == [True]
    with History.read(run / "history.db") as history:
        assert history.count_trainings() == 12


def test_the_difference_of_another_search_is_named(
    toy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(strategy="evolution", population=10, sample=3, trials=10).path
    capsys.readouterr()
    assert main(["resume", str(run), "--seed", "3", "--set", "strategy.sample=5"]) == 2
    assert capsys.readouterr().err == (
        "evo_nas: resume continues the same search, it cannot change strategy.sample from 3 to 5; "
        "run.seed from 0 to 3\n"
    )


def test_the_command_that_goes_on_names_the_plug_ins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("failing.py").write_text(
        "from evo_nas.evaluators.toy import ToyEvaluator\n\n\n"
        "class Failing(ToyEvaluator):\n"
        "    def evaluate(self, job):\n"
        "        raise RuntimeError('it broke')\n"
    )
    monkeypatch.syspath_prepend(Path.cwd())
    words = ["--evaluator", "failing:Failing", "--executor", "serial", "--max-consecutive-failures", "2"]
    assert main(["run", "--strategy", "random", "--run-dir", "run", *words]) == 5
    assert "resume with: python -m evo_nas resume run --evaluator failing:Failing\n" in capsys.readouterr().err
    assert main(["resume", "run", "--evaluator", "failing:Failing"]) == 5
