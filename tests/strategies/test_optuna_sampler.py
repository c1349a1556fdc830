"""Optuna's samplers as a strategy: each learns, is pure, and is restored by telling. The contract has its own suite.

There is no permanence trace: what a sampler proposes may change with each release of the library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from genotypes.catalogue import build_space
from genotypes.individual import Individual, Proposal
from strategies.models import libraries
from strategies.optuna_sampler import MEMORY, OptunaSampler

SPACE = build_space("nasbench201")


@pytest.mark.parametrize("sampler", [pytest.param(name, marks=[pytest.mark.slow] * (name == "gp")) for name in MEMORY])
def test_each_sampler_asks_twice_alike_and_goes_on_alike_after_a_resume(sampler: str, drive: Any) -> None:
    trials = 24 if sampler != "gp" else 13
    original = drive(OptunaSampler(sampler), SPACE, seed=2, fails=lambda id: id % 6 == 0).run(trials)
    restored = drive(OptunaSampler(sampler), SPACE, seed=2, fails=lambda id: id % 6 == 0)
    for individual in original.individuals:
        restored.tell(individual)
    for _ in range(2):
        assert original.ask() == original.ask() == restored.ask()
        original.step()
        restored.step()
    assert original.individuals == restored.individuals


@pytest.mark.parametrize(("sampler", "trials", "gain"), [("tpe", 60, 0.1), ("cmaes", 60, 0.1), ("nsgaii", 150, 0.1)])
def test_each_sampler_learns(sampler: str, trials: int, gain: float, drive: Any) -> None:
    """Uniform samples of the toy have 0.5 in the mean; a generation of NSGA-II is 50 trials."""
    search = drive(OptunaSampler(sampler, ordered=True), SPACE, seed=0).run(trials)
    assert search.mean_truth_of_last(20) > 0.5 + gain


def test_a_generation_is_the_memo(drive: Any) -> None:
    search = drive(OptunaSampler("cmaes"), SPACE).run(30)
    generations = [individual.memo for individual in search.individuals]
    assert generations[0] == ()
    assert generations[-1][0] >= 2
    assert drive(OptunaSampler("tpe"), SPACE).run(12).individuals[-1].memo == ()


@pytest.mark.slow
def test_pending_candidates_send_a_worker_elsewhere(drive: Any) -> None:
    search = drive(OptunaSampler("gp", ordered=True), SPACE, noise=0.0).run(14)
    first = search.ask()
    assert search.ask(pending=(Proposal(first.genotype),)).genotype != first.genotype


def test_the_memory_keeps_the_better_half_and_the_latest(drive: Any) -> None:
    search = drive(OptunaSampler(memory=6), SPACE).run(30)
    kept = {one.id for one in search.strategy._examples}
    best: list[Individual] = sorted(search.individuals, key=lambda one: -one.score)
    assert len(kept) == 6
    assert {one.id for one in best[:3]} | {30} <= kept
    assert set(search.strategy._trials) == kept


def test_a_decision_without_a_choice_and_a_space_without_any(drive: Any) -> None:
    space = build_space("nasnet(blocks=1,ops=identity,combines=add)")
    space.check(drive(OptunaSampler(), space).run(12).ask().genotype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "grid"}, "sampler must be one of tpe, gp, cmaes, nsgaii, not 'grid'"),
        ({"memory": 0}, "memory must be at least 1, not 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptunaSampler(**options)


@pytest.mark.parametrize(("sampler", "package"), [("tpe", "optuna"), ("cmaes", "cmaes")])
def test_without_the_extra_the_line_names_it(
    sampler: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == package else object())
    run = ["run", "--strategy", "optuna", "--set", f"strategy.sampler={sampler}", "--evaluator", "toy"]
    assert main([*run, "--trials", "1", "--run-dir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert f"the strategy optuna needs the package {package}: python -m pip install 'evo_nas[optuna]'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_strategy_is_listed_without_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "strategies"]) == 0
    assert "optuna " in capsys.readouterr().out
    assert np.isfinite(list(MEMORY.values())).all()
