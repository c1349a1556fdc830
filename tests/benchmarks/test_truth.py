"""Measures held against published results: the statistics by hand, and the command end to end on the digits."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.truth import PASSES, main
from benchmarks.truth_table import aggregate_places, top_regret, truth_table, worst_if_undefined
from evo_nas.evaluators.scores.catalogue import SCORES
from genotypes.edge_cell import EDGE_OPS, EdgeCell

SMALL = [
    *("--dataset", "digits", "--image-size", "8", "--cells-per-stack", "1", "--filters", "2", "--images", "16"),
    *("--resamples", "20"),
]


def write_table(path: Path, networks: int) -> Path:
    """Write a table of random accuracies in per cent."""
    cells = [str(EdgeCell(ops)) for ops, _ in zip(product(EDGE_OPS, repeat=6), range(networks), strict=False)]
    values = np.random.default_rng(0).random((networks, 2)) * 100
    pd.DataFrame({"architecture": cells, "short": values[:, 0], "cifar10_test_200": values[:, 1]}).to_csv(
        path, index=False
    )
    return path


def test_rows_are_correlations_and_regrets() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(40)
    noisy = truth + rng.normal(0, 0.2, 40)
    noisy[3] = np.nan
    table = truth_table({"noisy": noisy, "itself": truth}, {"x": truth}, {"noisy": 2.0}, resamples=50)
    row, best = table.to_dict("records")
    ranked = np.where(np.isnan(noisy), -np.inf, noisy)
    assert row["tau"] == pytest.approx(stats.kendalltau(ranked, truth).statistic)
    assert row["spearman"] == pytest.approx(stats.spearmanr(ranked, truth).statistic)
    better = truth >= np.median(truth)
    assert row["better_tau"] == pytest.approx(stats.kendalltau(ranked[better], truth[better]).statistic)
    assert row["tau_low"] < row["tau"] < row["tau_high"]
    assert row["regret_10"] == pytest.approx(truth.max() - truth[np.argsort(-ranked)[:4]].max())
    assert (row["undefined"], row["cpu_seconds"], row["networks"]) == (1, 2.0, 40)
    assert best["tau"] == best["better_tau"] == 1
    assert best["regret_1"] == 0
    assert np.isnan(best["cpu_seconds"])


def test_ties_are_broken_at_random_and_what_is_undefined_comes_last() -> None:
    truth = np.array([1.0, 0.0])
    assert top_regret(np.zeros(2), truth, 0.01) == pytest.approx(0.5, abs=0.15)
    assert worst_if_undefined(np.array([2.0, np.nan, np.inf])).tolist() == [2.0, 1.0, 1.0]


def test_an_aggregate_is_the_sum_of_log_places() -> None:
    # Each value also stands in the yardstick: (0 + 1) / 2 below, of 3 places.
    (worst, best) = aggregate_places([np.array([1.0, 2.0])])
    assert worst == pytest.approx(np.log(1.5 / 3))
    assert best == pytest.approx(np.log(2.5 / 3))


def test_every_score_belongs_to_a_pass() -> None:
    assert {name for names in PASSES.values() for name in names} == set(SCORES)


@pytest.mark.slow
def test_a_measurement_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = write_table(tmp_path / "table.csv", 30), tmp_path / "out"
    command = ["--table", str(table), "--out", str(out), "--cells", "20", "--measure", "scores", *SMALL]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert first.count("\n") == 2 + len(SCORES) + 2
    (lines,) = out.glob("*-scores.csv")
    whole = lines.read_bytes()
    lines.write_bytes(whole[: len(whole) * 2 // 3])
    more = ["--measure", "column:short", "--measure", "toy", "--picture", str(tmp_path / "x.svg")]
    assert main([*command, *more]) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1:7] for line in first.splitlines()[2:]] == [
        line.split("|")[1:7] for line in again if any(line.startswith(f"| {row} |") for row in _names(first))
    ]
    assert any(line.startswith("| AZ-NAS + naswot + depth + toy |") for line in again)
    assert (tmp_path / "x.svg").is_file()
    assert main([*command, "--filters", "4"]) == 2
    assert "another filters" in capsys.readouterr().err


def _names(text: str) -> list[str]:
    return [line.split("|")[1].strip() for line in text.splitlines()[2:]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cells", "19"], "19 networks are too few to rank: 20 at least"),
        (["--truth", "nothing"], "has no column of numbers 'nothing'"),
        (["--measure", "column:architecture"], "has no column of numbers 'architecture'"),
        (["--space", "nasnet"], "is no table of the space nasnet"),
        (["--measure", "nothing"], "there is no evaluator 'nothing'"),
        (["--measure", "proxy:epoch=1"], "has no option 'epoch'"),
        (["--picture", "x.txt"], "x.txt"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "table.csv", 30)
    assert main(["--table", str(table), "--out", str(tmp_path / "out"), *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
