"""The age and the diversity of a population, against a population that is kept step by step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.diversity import LIVING_COLUMNS, living, population_of
from analysis.frames import HistoryError, find_runs, load_history

MakeRun = Callable[..., Path]


def aging(size: int, more: str = "") -> str:
    return f'[run]\nstrategy = "evolution"\n[strategy]\npopulation = {size}\n{more}'


def difference(texts: list[str]) -> float:
    lists = [text.rpartition(":")[2].split(".") for text in texts]
    return float(np.mean([np.mean([a != b for a, b in zip(x, y, strict=True)]) for x, y in combinations(lists, 2)]))


def test_the_living_are_the_last_with_a_fitness_and_age_by_samples(make_run: MakeRun) -> None:
    trials = [
        *({"fitness": 0.5, "sample_seed": 1}, {"fitness": 0.6}, {"outcome": "oom"}),
        {"outcome": "reused", "fitness": 0.5, "sample_seed": 1},
        *({"fitness": 0.1}, {"outcome": "refused"}, {"fitness": 0.7}),
    ]
    run = make_run(trials=trials, config=aging(3))
    frame = load_history(run)
    lives = living(frame, {"run": 3})
    assert list(lives.columns) == list(LIVING_COLUMNS)
    assert lives["sample"].tolist() == [1, 2, 3, 4, 5]
    # At sample 3 the failure is told and then the reused one, which is 0 samples old.
    assert lives["living"].tolist() == [1, 2, 3, 3, 3]
    assert lives["age"].tolist() == pytest.approx([0, 1 / 2, (2 + 1 + 0) / 3, (2 + 1 + 0) / 3, (2 + 1 + 0) / 3])
    assert lives["oldest"].tolist() == [0, 1, 2, 2, 2]
    assert lives["distinct"].tolist() == pytest.approx([1, 1, 2 / 3, 1, 1])
    texts = frame.set_index("id")["genotype"]
    expected = [difference([texts[i] for i in ids]) for ids in ((1, 2), (1, 2, 4), (2, 4, 5), (4, 5, 7))]
    assert np.isnan(lives["diversity"].iloc[0])
    assert lives["diversity"].tolist()[1:] == pytest.approx(expected)


def test_identical_genotypes_do_not_differ_and_shorter_ones_lack_choices() -> None:
    frame = pd.DataFrame({"run": "r", "strategy": "s", "space": "b", "fitness": 0.5, "key": ["a", "a", "b"]})
    frame["genotype"], frame["sample"] = ["b:0.1", "b:0.1", "b(blocks=1):0"], [1, 2, 3]
    assert living(frame, {"r": 2})["diversity"].tolist()[1:] == pytest.approx([0.0, 0.5])


def test_a_long_run_is_followed_at_as_many_points_as_asked(make_run: MakeRun) -> None:
    frame = load_history(make_run(trials=[{"fitness": 0.5}] * 50))
    lives = living(frame, {"run": 10}, points=5)
    assert lives["sample"].tolist() == [1, 13, 26, 38, 50]
    assert lives["living"].tolist() == [1, 10, 10, 10, 10]


def test_runs_without_a_size_or_without_a_fitness_are_left_out(make_run: MakeRun) -> None:
    frame = load_history([make_run("a", [{"fitness": 0.5}]), make_run("b", [{"outcome": "oom"}])])
    assert living(frame, {"b": 3}).empty
    assert living(frame, {"a": 3, "b": 3})["run"].unique().tolist() == ["a"]
    with pytest.raises(ValueError, match="at least 1 individual, not 0"):
        living(frame, {"a": 0})


def test_the_size_is_that_of_the_configuration(make_run: MakeRun) -> None:
    runs = find_runs([make_run("a", config=aging(7)), make_run("b"), make_run("c", config=aging(7, "aging = false\n"))])
    assert [population_of(run) for run in runs[:2]] == [7, None]
    with pytest.raises(HistoryError, match="the population of c cannot be followed: without aging"):
        population_of(runs[2])


def test_the_diversity_of_widths_is_the_share_of_groups_that_differ(make_run: MakeRun) -> None:
    texts = ["widths(network=cell:nasnet-a@1x8):1.2.3.4", "widths(network=cell:nasnet-a@1x8):1.2.3.5"]
    run = make_run("w", [{"fitness": 0.5, "genotype": text, "key": text} for text in texts])
    assert living(load_history(run), {"w": 2})["diversity"].iloc[-1] == 0.25
