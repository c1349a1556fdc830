"""The measurement of what scores are worth, end to end on the digits, with trainings of a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.frames import load_history, load_metrics
from benchmarks.scores import correlations, main
from evo_nas.api.searches import search
from evo_nas.errors import EvoNasError

TINY = ("space.blocks=1", "evaluator.epochs=1", "evaluator.filters=2", "evaluator.train_images=32")


def scored(folder: Path, *settings: str, **flags: Any) -> Path:
    common = {
        "strategy": "random",
        "dataset": "digits",
        "executor": "serial",
        "threads": 1,
        "device": "cpu",
        "trials": 4,
    }
    search(run_dir=folder, settings=[*TINY, *settings], **{**common, **flags})
    return folder


@pytest.mark.slow
def test_the_table_holds_scores_and_sizes_against_the_fitness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [scored(tmp_path / f"run-{seed}", "evaluator.scores=naswot,synflow", seed=seed) for seed in (0, 1)]
    assert main([str(tmp_path / "run-*"), "--resamples", "50"]) == 0
    head, rule, *rows, extent, seconds = capsys.readouterr().out.splitlines()
    assert rule.count("|") == head.count("|") == 5
    assert {row.count("|") for row in rows} == {5}
    assert [row.split(" | ")[0] for row in rows] == ["| parameters", "| mult-adds", "| synflow", "| naswot"]
    assert extent.startswith("n = 8 networks, 8 trainings; 0 ")
    assert "s for its scores" in seconds
    frame = load_history(runs).astype({"run": "string", "parameters": "float64"})
    metrics = load_metrics(runs).astype({"run": "string"}).query("name == 'naswot'")
    frame = frame.merge(metrics, left_on=["run", "id"], right_on=["run", "trial"])
    for row, name in ((rows[0], "parameters"), (rows[3], "value")):
        tau = stats.kendalltau(frame[name], frame["fitness"]).statistic
        assert row.split(" | ")[1].split(" (")[0] == f"{tau:.2f}"


def test_a_measure_that_ranks_as_the_fitness_does_gains_what_size_lacks() -> None:
    rng = np.random.default_rng(0)
    fitness = rng.random(30)
    networks = pd.DataFrame({"fitness": fitness, "parameters": rng.random(30), "naswot": np.exp(fitness)})
    table = correlations(networks, ["parameters", "naswot"], 200)
    assert table.loc["naswot", ["tau", "tau_low", "tau_high", "spearman"]].tolist() == pytest.approx([1, 1, 1, 1])
    assert table.loc["naswot", "gain"] == pytest.approx(1 - table.loc["parameters", "tau"])
    assert 0 < table.loc["naswot", "gain_low"] < table.loc["naswot", "gain"] < table.loc["naswot", "gain_high"]
    with pytest.raises(EvoNasError, match="only 2 networks"):
        correlations(networks[:2], ["parameters"], 10)


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = str(scored(tmp_path / "plain", trials=3))
    longer = str(scored(tmp_path / "longer", "evaluator.epochs=2", "evaluator.early_stopping=median", trials=1))
    for runs, said in (
        ([plain], "no trial has a score: train with --set evaluator.scores="),
        ([longer], "longer stops trainings early"),
        ([plain, str(scored(tmp_path / "wider", "evaluator.filters=4", trials=1))], "wider trains otherwise"),
        ([str(tmp_path / "nothing")], "there is no run at"),
    ):
        assert main(runs) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
