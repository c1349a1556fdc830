"""A search in a loop of one's own is the search that a run would be, and a saved one goes on as if never stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import evo_nas
from evo_nas.api.ask_tell import AskTell, Candidate
from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.catalogue import build_space
from strategies.catalogue import STRATEGIES

SPACE = "nasbench201"
WITHOUT_METRICS = sorted(set(STRATEGIES) - {"optuna", "nevergrad", "hyperopt", "morphnet", "multiplier", "pnas"})
"""Strategies that take any space and any evaluator, and need no library that may be missing."""


def judge(seed: int = 3) -> Any:
    evaluator = ToyEvaluator()
    evaluator.bind(build_space(SPACE), Placement())
    return lambda candidate: evaluator.evaluate(Job(candidate.id, candidate.genotype, seed)).fitness


def go_on(search: AskTell, trials: int) -> list[str]:
    """Ask two at a time and tell the younger first, so that the order told is not that of the asks."""
    fitness, asked = judge(), []
    for _ in range(trials // 2):
        pair = [candidate for candidate in (search.ask(), search.ask()) if candidate is not None]
        asked += [str(candidate.genotype) for candidate in pair]
        for candidate in reversed(pair):
            if candidate.id % 7 == 0:
                search.tell_failure(candidate.id)
            else:
                search.tell(candidate.id, fitness(candidate), metrics={"parameters": 10.0, "mult_adds": 20.0})
    return asked


def test_it_is_the_search_that_a_run_is(tmp_path: Path) -> None:
    options: dict[str, Any] = {"strategy": "evolution", "population": 5, "sample": 2, "seed": 3}
    run = evo_nas.search(
        space=SPACE, evaluator="toy", trials=30, repeats="retrain", run_dir=tmp_path / "run", **options
    )
    search, fitness = AskTell(SPACE, **options), judge()
    for _ in range(30):
        candidate = search.ask()
        assert candidate is not None
        search.tell(candidate.id, fitness(candidate))
    assert search.trials["genotype"].tolist() == run.trials["genotype"].tolist()
    assert search.trials["fitness"].tolist() == run.trials["fitness"].tolist()
    assert search.best is not None
    assert search.best.fitness == run.trials["fitness"].max()


@pytest.mark.parametrize("strategy", WITHOUT_METRICS)
def test_a_saved_search_goes_on_as_if_it_had_never_stopped(strategy: str, tmp_path: Path) -> None:
    whole, parts = AskTell(SPACE, strategy, seed=1), AskTell(SPACE, strategy, seed=1)
    go_on(whole, 12)
    go_on(parts, 12)
    left = parts.ask()
    parts.save(tmp_path / "search.json")
    parts = AskTell.load(tmp_path / "search.json")
    assert parts.pending == ([left] if left else [])
    assert whole.ask() == left
    assert parts.trials.equals(whole.trials)
    assert go_on(parts, 6) == go_on(whole, 6)


def test_what_is_told_wrongly_is_one_line_and_changes_nothing() -> None:
    search = AskTell(SPACE, "random")
    candidate = search.ask()
    assert isinstance(candidate, Candidate)
    for id, fitness, message in (
        (1, 2.0, r"candidate 1: fitness is a fraction in \[0, 1\], got 2.0"),
        (1, float("nan"), "candidate 1: the fitness is no number"),
        (2, 0.5, "no candidate 2 is pending"),
    ):
        with pytest.raises(UsageError, match=message):
            search.tell(id, fitness)
    search.tell(1, 0.5)
    with pytest.raises(UsageError, match="no candidate 1 is pending; told or never asked"):
        search.tell(1, 0.5)
    assert len(search.trials) == 1


def test_a_strategy_that_needs_a_metric_says_so() -> None:
    search = AskTell(SPACE, "evolution", objective="pareto")
    assert search.ask() is not None
    with pytest.raises(UsageError, match="the strategy evolution needs the metric 'mult_adds'"):
        search.tell(1, 0.5)


def test_wrong_parts_are_refused() -> None:
    wrong: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
        (("nowhere", "random"), {}, "nowhere"),
        ((SPACE, "nothing"), {}, "nothing"),
        ((SPACE, "evolution"), {"population": 0}, "population"),
        ((SPACE, "random"), {"seed": -1}, "the seed is a whole number"),
        ((SPACE, "guided"), {"prior": "scores"}, "wants scores, and there is no evaluator to compute them"),
    ]
    for arguments, options, message in wrong:
        with pytest.raises(UsageError, match=message):
            AskTell(*arguments, **options)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', "[" * 10_000])
def test_a_damaged_file_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    with pytest.raises(DataError, match="there is no saved search"):
        AskTell.load(file)
    file.write_text(text)
    with pytest.raises(DataError, match="is no saved search, or damaged"):
        AskTell.load(file)


def test_a_file_imports_no_code_and_another_part_is_refused(tmp_path: Path) -> None:
    search = AskTell(SPACE, STRATEGIES.build("random", {}))
    search.save(tmp_path / "a.json")
    with pytest.raises(UsageError, match="was made with the strategy random, not evolution"):
        AskTell.load(tmp_path / "a.json", strategy=STRATEGIES.build("evolution", {}))
    record = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "b.json").write_text(json.dumps(record | {"strategy": "antigravity:Search"}))
    with pytest.raises(DataError, match="a file alone imports no code, and it names antigravity:Search"):
        AskTell.load(tmp_path / "b.json")
