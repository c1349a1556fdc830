"""Strategies over many tables: ranks, the critical difference, and the corrected tests per table."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.leaderboard import Leaderboard, Ranking, fight, rank


def frame_of(means: dict[str, list[float]], seeds: int = 12, budget: int = 100) -> pd.DataFrame:
    """Return regrets of strategies whose means on the tables are given; seeds differ by a little."""
    rows = [
        {
            "table": f"table{table}",
            "strategy": name,
            "run": f"{name}-seed{seed}",
            "budget": budget,
            "regret": mean + 1e-4 * seed,
            "luckiest": mean,
        }
        for (name, values), seed in product(means.items(), range(seeds))
        for table, mean in enumerate(values)
    ]
    return pd.DataFrame(rows)


MEANS = {"good": [0.01, 0.02, 0.03], "fair": [0.02, 0.03, 0.03], "poor": [0.05, 0.01, 0.09]}


def test_ranks_are_averages_over_tables_and_ties_share_theirs() -> None:
    found = rank(frame_of(MEANS), list(MEANS), 100)
    assert dict(found.ranks) == pytest.approx({"good": (1 + 2 + 1.5) / 3, "fair": (2 + 3 + 1.5) / 3, "poor": 7 / 3})
    assert next(iter(found.ranks)) == "good"
    assert found.tables == 3


def test_the_critical_difference_is_that_of_demsar() -> None:
    """Section 3.2.2: four classifiers on 14 data sets, 1.25 at 5 %."""
    means = {name: list(np.random.default_rng(n).random(14)) for n, name in enumerate("abcd")}
    found = rank(frame_of(means, seeds=2), list("abcd"), 100)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.p is not None
    assert 0 < found.p < 1


def test_a_strategy_without_results_on_a_table_is_left_out() -> None:
    frame = frame_of(MEANS)
    frame = frame[~((frame["strategy"] == "poor") & (frame["table"] == "table1"))]
    found = rank(frame, list(MEANS), 100)
    assert found.left_out == ("poor",)
    assert set(found.ranks) == {"good", "fair"}
    assert found.critical_difference is None, "two are no field"


def test_cliques_are_the_largest_groups_that_are_not_told_apart() -> None:
    ranks = {"a": 1.0, "b": 1.5, "c": 2.4, "d": 4.0}
    assert Ranking(100, ranks, 9, 1.0, 0.01, ()).cliques() == [("a", "b"), ("b", "c")]
    assert Ranking(100, ranks, 9, 5.0, 0.9, ()).cliques() == [("a", "b", "c", "d")]
    assert Ranking(100, ranks, 9, 0.1, 0.0, ()).cliques() == []


def test_duels_count_tables_after_the_correction() -> None:
    frame = frame_of(MEANS)
    duels = {(one.first, one.second): (one.wins, one.losses) for one in fight(frame, rank(frame, list(MEANS), 100))}
    assert duels == {("good", "fair"): (2, 0), ("good", "poor"): (2, 1), ("fair", "poor"): (2, 1)}
    few = frame_of(MEANS, seeds=3)
    assert {(one.wins, one.losses) for one in fight(few, rank(few, list(MEANS), 100))} == {(0, 0)}, "too few seeds"


def test_the_summary_has_standard_errors_and_noise_is_told_by_its_two_numbers() -> None:
    frame = frame_of({"good": [0.5], "fair": [0.6]}, seeds=4)
    board = Leaderboard(frame, (rank(frame, ["good", "fair"], 100),), (), {}, ())
    row = board.summary().set_index("strategy").loc["good"]
    assert row["mean"] == pytest.approx(0.5 + 1.5e-4)
    assert row["error"] == pytest.approx(np.std([0, 1e-4, 2e-4, 3e-4], ddof=1) / 2)
    assert board.noisy_tables == ["table0"]
    assert board.order == ["good", "fair"]
