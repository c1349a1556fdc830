"""The study of searches with scores: cells that share a network are scored once; good scores help, bad ones cost."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import screening
from benchmarks.screening import SPACES, list_cases, main
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator
from genotypes.catalogue import build_space
from genotypes.genotype import Genotype

SPACE = SPACES["fewer"]


def every_genotype() -> Iterator[Genotype]:
    for choices in itertools.product(range(3), repeat=6):
        yield Genotype(SPACE.spelling, choices)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of random accuracies in per cent, the same for cells that share a network."""
    keys = [SPACE.key(genotype) for genotype in every_genotype()]
    networks = pd.factorize(pd.Series([str(SPACE.decode(one).edges(live_only=True)) for one in every_genotype()]))[0]
    values = np.random.default_rng(0).random(len(keys))[networks] * 100
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

    def rate(self: ScoresEvaluator, genotype: Genotype) -> dict[str, float]:
        if len(scored) == 100:
            scored.append("the blow")
            raise KeyboardInterrupt
        scored.append(str(SPACE.decode(genotype).edges(live_only=True)))
        return dict.fromkeys(self.measures, accuracies[SPACE.key(genotype)])

    monkeypatch.setattr(ScoresEvaluator, "rate", rate)
    monkeypatch.setattr(screening, "LOOKS", (5, 10))
    command = ["--table", str(table), "--out", str(tmp_path / "out"), "--columns", "accuracy", "--dataset", "digits"]
    command += ["--strategies", "random", "--screens", "8", "--seeds", "12", "--image-size", "8"]
    with pytest.raises(KeyboardInterrupt):
        main(command)
    assert main(command) == 0
    assert len(set(scored)) == len(scored) < 3**6
    printed = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in printed[printed.rindex("| strategy") :].splitlines()[2:]]
    assert [(row[0], row[1], row[2]) for row in rows if row[3] == "5"] == [
        ("`random`", "-", "none"),
        *(("`random`", "screen 8", kind) for kind in ("true", "shuffled", "reversed")),
    ]
    regret = {(row[2], row[3]): float(row[4].split()[0]) for row in rows}
    assert regret["true", "10"] < regret["none", "10"]
    assert regret["true", "10"] < regret["shuffled", "10"]


def test_bad_scores_are_tried_where_they_are_listened_to_most() -> None:
    given = argparse.Namespace(strategies=["evolution", "guided"], screens=[10, 3])
    assert [(case.strategy, case.through, case.kind) for case in list_cases(given)] == [
        ("evolution", "-", "none"),
        ("evolution", "screen 3", "true"),
        *(("evolution", "screen 10", kind) for kind in ("true", "shuffled", "reversed")),
        ("guided", "-", "none"),
        ("guided", "screen 3", "true"),
        ("guided", "screen 10", "true"),
        *(("guided", "prior", kind) for kind in ("true", "shuffled", "reversed")),
    ]
