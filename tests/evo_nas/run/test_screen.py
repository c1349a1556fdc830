"""A search whose proposals are screened by scores: wired, refused, killed and resumed as the same search."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evo_nas.cli import main
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume
from evo_nas.storage.run_folder import RunFolder
from strategies.screen import Screened

ROOT = Path(__file__).parents[3]
SETTINGS = [
    *("evaluator.dataset=digits", "evaluator.image_size=8", "evaluator.cells_per_stack=1", "evaluator.filters=2"),
    *("evaluator.images=8", "evaluator.measures=naswot,depth", "evaluator.yardstick=20"),
]
RUN = [
    *("run", "--strategy", "evolution", "--population", "3", "--sample", "2", "--space", "nasbench201"),
    *("--evaluator", "scores", "--screen", "3", "--executor", "serial", "--threads", "1"),
    *[word for setting in SETTINGS for word in ("--set", setting)],
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A screened search that nothing interrupts."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, "--trials", "9", "--run-dir", str(path)]) == 0
    return path


def genotypes(rows: Any, path: Path) -> list[tuple[str, float]]:
    return [(row["genotype"], row["fitness"]) for row in rows(path)]


@pytest.mark.slow
def test_a_killed_run_is_resumed_as_the_same_search(tmp_path: Path, rows: Any, whole: Path) -> None:
    path = tmp_path / "run"
    command = [sys.executable, "-m", "evo_nas", *RUN, "--trials", "9", "--run-dir", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert len([row for row in rows(path) if row["told"]]) < 9, "it was killed before its end"
    config = read_stored_config(path)
    with RunFolder.open(path) as folder:
        resume(config, folder, build(config))
    assert genotypes(rows, path) == genotypes(rows, whole)


def test_a_longer_budget_goes_on_as_if_it_had_been_there_from_the_start(tmp_path: Path, rows: Any, whole: Path) -> None:
    path = tmp_path / "run"
    assert main([*RUN, "--trials", "5", "--run-dir", str(path)]) == 0
    config = read_stored_config(path, {"run": {"trials": 9}})
    assert config.run.screen == 3
    with RunFolder.open(path) as folder:
        resume(config, folder, build(config))
    assert genotypes(rows, path) == genotypes(rows, whole)


def test_an_evaluator_that_scores_rates_and_for_another_one_is_made(tmp_path: Path) -> None:
    def parts(**given: Any) -> Any:
        return build(load_config({"strategy": "random", "space": "nasbench201", "screen": 4, **given}, environ={}))

    scores = parts(evaluator="scores", dataset="digits")
    assert scores.scorer is scores.evaluator
    other = parts(evaluator="proxy", dataset="digits", seed=7)
    assert (other.scorer.dataset, other.scorer.seed, other.scorer.placement.device) == ("digits", 7, "cpu")
    assert other.scorer.placement.threads == 1, "the cores belong to the workers"
    assert isinstance(other.strategy, Screened)
    assert other.strategy.rate == other.scorer.rate
    assert other.strategy.proposals == 4
    assert parts(evaluator="proxy", dataset="digits", screen=None).scorer is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--screen", "1", "--evaluator", "toy"], "screen must be at least 2, not 1"),
        (
            ["--screen", "3", "--evaluator", "toy", "--space", "bits"],
            "scores are those of networks, and the space bits",
        ),
    ],
)
def test_what_cannot_be_screened_is_said_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--strategy", "random", *arguments, "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
