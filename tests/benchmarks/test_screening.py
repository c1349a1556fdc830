"""The study of screened searches: cells that share a network are scored once; good scores help, bad ones cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import screening
from benchmarks.screening import SPACE, every_genotype, main
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of random accuracies in per cent."""
    keys = [SPACE.key(genotype) for genotype in every_genotype()]
    values = np.random.default_rng(0).random(len(keys)) * 100
    pd.DataFrame({"architecture": keys, "accuracy": values}).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_the_cells_are_those_of_the_benchmark() -> None:
    keys = [SPACE.key(genotype) for genotype in every_genotype()]
    assert len(set(keys)) == SPACE.size == 3**6
    whole = build_space("nasbench201")
    assert all(whole.key(whole.parse(key)) == key for key in keys)


def test_networks_are_scored_once_and_a_study_goes_on(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracies = pd.read_csv(table).set_index("architecture")["accuracy"]
    scored: list[str] = []

    def score(self: ScoresEvaluator, genotype: Genotype) -> dict[str, float]:
        if len(scored) == 100:
            scored.append("the blow")
            raise KeyboardInterrupt
        scored.append(str(SPACE.decode(genotype).edges(live_only=True)))
        return dict.fromkeys(self.measures, accuracies[SPACE.key(genotype)])

    monkeypatch.setattr(ScoresEvaluator, "score", score)
    # Scores of the cell whose network was scored first are those of all its twins: here accuracies are random.
    monkeypatch.setattr(screening, "LOOKS", (5, 10))
    command = ["--table", str(table), "--out", str(tmp_path / "out"), "--columns", "accuracy", "--dataset", "digits"]
    command += ["--strategies", "random", "--screens", "8", "--seeds", "12", "--image-size", "8"]
    with pytest.raises(KeyboardInterrupt):
        main(command)
    assert main(command) == 0
    assert len(set(scored)) == len(scored) < 3**6
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1:4] for row in rows] == [
        [proposals, kind, trials]
        for proposals, kind in (("1", "none"), ("8", "true"), ("8", "shuffled"), ("8", "reversed"))
        for trials in ("5", "10")
    ]
    regret = {(row[2], row[3]): float(row[4].split()[0]) for row in rows}
    assert regret["true", "10"] < regret["none", "10"] < regret["reversed", "10"]
