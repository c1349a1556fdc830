"""Searches that use scores, as a screen or as a prior: wired, refused, killed and resumed as the same search."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evo_nas.cli import main
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator
from evo_nas.run.parts import build, load_config, read_stored_config
from evo_nas.run.search import resume
from evo_nas.storage.run_folder import RunFolder
from genotypes.genotype import Genotype
from genotypes.individual import Cost
from strategies.screen import Screened

ROOT = Path(__file__).parents[3]
SETTINGS = [
    *("evaluator.dataset=digits", "evaluator.image_size=8", "evaluator.cells_per_stack=1", "evaluator.filters=2"),
    *("evaluator.images=8", "evaluator.measures=naswot,depth", "evaluator.yardstick=20"),
]
ON = ["--space", "nasbench201", "--evaluator", "scores", "--executor", "serial", "--threads", "1"]
ON += [word for setting in SETTINGS for word in ("--set", setting)]
RUNS = {
    "screen": ["run", "--strategy", "evolution", "--population", "3", "--sample", "2", "--screen", "3", *ON],
    "prior": ["run", "--strategy", "guided", "--prior", "scores", "--set", "strategy.children=20", *ON],
}


def score(self: ScoresEvaluator, genotype: Genotype) -> tuple[Cost, dict[str, float]]:
    """Stand in for the passes through a network: what it scores costs nothing here, and the search is the same."""
    first, *_, last = genotype.choices
    return Cost(1, 1), {"naswot": float(sum(genotype.choices)), "depth": float(first - last)}


def genotypes(rows: Any, path: Path) -> list[tuple[str, float]]:
    return [(row["genotype"], row["fitness"]) for row in rows(path)]


@pytest.mark.slow
def test_a_killed_run_is_resumed_as_the_same_search(tmp_path: Path, rows: Any) -> None:
    whole, path = tmp_path / "whole", tmp_path / "run"
    arguments = [*RUNS["screen"], "--trials", "6", "--run-dir"]
    assert main([*arguments, str(whole)]) == 0
    command = [sys.executable, "-m", "evo_nas", *arguments, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if " trials  best " in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert len([row for row in rows(path) if row["told"]]) < 6, "it was killed before its end"
    config = read_stored_config(path)
    with RunFolder.open(path) as folder:
        resume(config, folder, build(config))
    assert genotypes(rows, path) == genotypes(rows, whole)


@pytest.mark.parametrize("way", RUNS)
def test_a_longer_budget_goes_on_as_if_it_had_been_there_from_the_start(
    way: str, tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScoresEvaluator, "_score", score)
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert main([*RUNS[way], "--trials", "12", "--run-dir", str(whole)]) == 0
    assert main([*RUNS[way], "--trials", "7", "--run-dir", str(path)]) == 0
    config = read_stored_config(path, {"run": {"trials": 12}})
    assert (config.run.screen, config.strategy.get("prior")) in ((3, None), (None, "scores"))
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
    assert other.strategy.proposals == 4
    assert parts(evaluator="proxy", dataset="digits", screen=None).scorer is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--screen", "1", "--evaluator", "toy"], "screen must be at least 2, not 1"),
        (
            ["--screen", "3", "--evaluator", "toy", "--space", "bits"],
            "--screen: scores are those of networks, and the space bits",
        ),
        (
            ["--strategy", "guided", "--prior", "scores", "--evaluator", "toy", "--space", "bits"],
            "the prior of guided: scores are those of networks, and the space bits",
        ),
        (["--strategy", "guided", "--prior", "guess"], "prior must be none or scores, not 'guess'"),
        (["--strategy", "random", "--prior", "scores"], "strategy 'random' has no option 'prior'"),
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
