"""Strategies over many tables: mean regret, average ranks with their critical difference, corrected tests per table.

A table is one problem; a strategy has a run per seed on each. Ranks and the critical difference follow Demšar (2006):
strategies are ranked by their mean regret on each table, and two of them are told apart by Nemenyi's test if their
average ranks differ by more than the critical difference. It asks what is to be expected of a further table. Whether
they differ on the tables at hand is another question, for which there are many more runs: Mann and Whitney's test for
each pair on each table, corrected by Holm over all pairs and all tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.comparison.compare import outcomes
from analysis.comparison.fairness import EARLY, ending
from analysis.comparison.significance import ALPHA, holm, rank_test
from analysis.frames import HistoryError, find_runs, load_history

_COLUMNS: Final = ("run", "id", "fitness", "test", "trained", "sample", "told")

REGRETS: Final[dict[str, str]] = {
    "table": "name of the table",
    "strategy": "label of the strategy",
    "run": "name of the run folder: a seed",
    "budget": "number of samples",
    "regret": "best possible fitness minus that of the best network so far, a fraction; by its mean where there is "
    "noise: what a user would get",
    "luckiest": "best possible fitness minus the highest that the search saw, a fraction: negative by luck",
}
"""Column of :func:`measure_regrets` -> what it holds."""


@dataclass(frozen=True, slots=True)
class TableRuns:
    """The runs of a table: its name, the best possible fitness without noise, label -> run folders, a seed each."""

    name: str
    optimum: float
    folders: Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Average ranks over tables at one budget, the best first: label -> rank, 1 is best.

    ``critical_difference`` is Nemenyi's at 5 %, ``p`` that of Friedman's test that all are equal; ``None`` for fewer
    than three strategies or two tables. ``left_out`` has no results at this budget.
    """

    budget: int
    ranks: Mapping[str, float]
    tables: int
    critical_difference: float | None
    p: float | None
    left_out: tuple[str, ...]

    def cliques(self) -> list[tuple[str, ...]]:
        """Return the largest sets of neighbours in rank of which no two are told apart; single ones are left out."""
        names = list(self.ranks)
        found: list[tuple[int, int]] = []
        width = self.critical_difference or 0.0
        for first, name in enumerate(names):
            last = max(i for i, other in enumerate(names) if self.ranks[other] - self.ranks[name] <= width)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return [tuple(names[first : last + 1]) for first, last in found]


@dataclass(frozen=True, slots=True)
class Duel:
    """Two strategies over the tables: on how many the first is better, on how many the second, by the corrected tests.

    On the rest of the ``tables`` they are not told apart.
    """

    first: str
    second: str
    wins: int
    losses: int
    tables: int


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The findings: ``regrets`` as :data:`REGRETS` has it, a ranking per budget, and duels at the largest budget."""

    regrets: pd.DataFrame
    rankings: tuple[Ranking, ...]
    duels: tuple[Duel, ...]
    costs: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def budgets(self) -> list[int]:
        """The budgets, ascending."""
        return [ranking.budget for ranking in self.rankings]

    @property
    def order(self) -> list[str]:
        """All labels: by rank at the largest budget that they have."""
        ranked = [name for ranking in reversed(self.rankings) for name in ranking.ranks]
        return list(dict.fromkeys(ranked))

    @property
    def noisy_tables(self) -> list[str]:
        """The tables whose trials see noise: what the search saw and what a user gets are two numbers."""
        differ = self.regrets[self.regrets["regret"] != self.regrets["luckiest"]]
        return list(dict.fromkeys(differ["table"]))

    def summary(self, column: str = "regret") -> pd.DataFrame:
        """Return mean and standard error over seeds: table, strategy, budget, runs, mean, error (missing for one)."""
        grouped = self.regrets.groupby(["table", "strategy", "budget"], sort=False)[column]
        frame = grouped.agg(runs="size", mean="mean", error=lambda x: x.std(ddof=1) / math.sqrt(len(x)))
        return frame.reset_index()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; regrets as means with their standard errors."""
        return {
            "rankings": [
                {
                    "budget": one.budget,
                    "tables": one.tables,
                    "ranks": dict(one.ranks),
                    "critical_difference": one.critical_difference,
                    "p": one.p,
                    "left_out": list(one.left_out),
                }
                for one in self.rankings
            ],
            "regrets": _records(self.summary()),
            "luckiest": _records(self.summary("luckiest")),
            "duels": [
                {"first": d.first, "second": d.second, "wins": d.wins, "losses": d.losses, "tables": d.tables}
                for d in self.duels
            ],
            "milliseconds_per_ask": dict(self.costs),
            "notes": list(self.notes),
        }


def measure_leaderboard(
    tables: Sequence[TableRuns], budgets: Sequence[int], costs: Mapping[str, float] | None = None
) -> Leaderboard:
    """Measure strategies over tables at some budgets.

    A run counts at a budget if it has so many samples, or ended because there was nothing more to try.

    Raises:
        HistoryError: if no run has as many samples as the smallest budget, or a history is damaged.
    """
    frames = [measure_regrets(table, budgets) for table in tables]
    regrets = pd.concat(frames, ignore_index=True)
    if regrets.empty:
        raise HistoryError(f"no run has {min(budgets):,} samples yet")
    labels = list(dict.fromkeys(label for table in tables for label in table.folders))
    rankings = tuple(rank(regrets, labels, budget) for budget in sorted(budgets) if (regrets["budget"] == budget).any())
    counts = regrets.groupby(["table", "strategy", "budget"], sort=False).size()
    notes = [
        f"{counts.min():,} to {counts.max():,} seeds" if counts.min() < counts.max() else f"{counts.max():,} seeds"
    ]
    return Leaderboard(regrets, rankings, tuple(fight(regrets, rankings[-1])), dict(costs or {}), tuple(notes))


def measure_regrets(table: TableRuns, budgets: Sequence[int]) -> pd.DataFrame:
    """Return the regrets of a table's runs; :data:`REGRETS` says what is in it."""
    labels = {folder / "history.db": label for label, folders in table.folders.items() for folder in folders}
    begun = [history for history in labels if history.is_file()]
    if not begun:
        return pd.DataFrame(columns=list(REGRETS))
    runs = find_runs(begun)
    frame = load_history(begun, columns=_COLUMNS)
    label_of = {run.name: labels[run.history] for run in runs}
    final = {run.name for run in runs if ending(run) in EARLY}
    parts = []
    for budget in sorted(budgets):
        found = outcomes(frame, budget)
        found = found[(found["samples"] >= budget) | found["run"].isin(final)]
        value = found["test"].fillna(found["best"])
        parts.append(
            pd.DataFrame(
                {
                    "table": table.name,
                    "strategy": found["run"].map(label_of),
                    "run": found["run"],
                    "budget": budget,
                    "regret": table.optimum - value,
                    "luckiest": table.optimum - found["best"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True).dropna(subset="regret")


def rank(regrets: pd.DataFrame, labels: Sequence[str], budget: int) -> Ranking:
    """Rank strategies by their mean regret on each table, ties sharing their mean rank, and average over the tables.

    A strategy that lacks a table at this budget is left out.
    """
    from scipy import stats

    means = regrets[regrets["budget"] == budget].pivot_table("regret", "table", "strategy", sort=False)
    whole = means.dropna(axis=1)
    kept = [label for label in labels if label in whole.columns]
    # Means of one number in another order may differ in their last bit: no reason for another rank.
    ranks = whole[kept].round(12).rank(axis=1)
    average = ranks.mean().sort_values(kind="stable")
    k, n = len(kept), len(ranks)
    difference = p = None
    if k > 2 and n > 1:
        # Demšar 2006, section 3.2.2: the studentized range over the square root of 2.
        q = float(stats.studentized_range.ppf(1 - ALPHA, k, np.inf)) / math.sqrt(2)
        difference = q * math.sqrt(k * (k + 1) / (6 * n))
        p = float(stats.friedmanchisquare(*(ranks[label] for label in kept)).pvalue)
    left_out = tuple(label for label in labels if label not in kept)
    return Ranking(budget, {str(k): float(v) for k, v in average.items()}, n, difference, p, left_out)


def fight(regrets: pd.DataFrame, ranking: Ranking) -> list[Duel]:
    """Test every pair on every table, two-sided by Mann and Whitney, and correct by Holm over all of them."""
    at = regrets[regrets["budget"] == ranking.budget]
    values = {key: -group["regret"].to_numpy(np.float64) for key, group in at.groupby(["table", "strategy"])}
    tables = list(dict.fromkeys(at["table"]))
    bouts = [(a, b, table) for a, b in combinations(ranking.ranks, 2) for table in tables]
    corrected = holm([rank_test(values[table, a], values[table, b]) for a, b, table in bouts])
    score: dict[tuple[str, str], list[int]] = {}
    for (a, b, table), p in zip(bouts, corrected, strict=True):
        won = score.setdefault((a, b), [0, 0])
        if p <= ALPHA:
            won[bool(np.mean(values[table, a]) < np.mean(values[table, b]))] += 1
    return [Duel(a, b, wins, losses, len(tables)) for (a, b), (wins, losses) in score.items()]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]
