"""A comparison as text: rows of its tables, and the lines of the pairs that were tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from analysis.comparison.significance import Pair, effect
from analysis.comparison.wording import columns_of, fold, probability
from genotypes.genotype import shorten

_PAIRS: Final = 12  # lines of the table of pairs


def list_findings(table: pd.DataFrame, budget: int, target: float | None) -> list[list[str]]:
    """Return what the groups found, headings first."""
    head = ["runs", "best %", "lowest", "highest", "area %"]
    regrets, tests = (bool(table[name].notna().any()) for name in ("regret", "test"))
    regrets = regrets and target is None  # for both there is no room in 80 columns
    head += ["regret"] * regrets + ["test %"] * tests
    head += [] if target is None else [f"to {100 * target:g} %"]
    rows = [head]
    for row in _rows(table):
        said = [str(row["runs"]), _spread(row["best"], row["best_sd"])]
        said += [_percent(row["best_low"]), _percent(row["best_high"]), _spread(row["auc"], row["auc_sd"])]
        said += [_percent(row["regret"])] * regrets + [_spread(row["test"], row["test_sd"])] * tests
        if target is not None:
            median = f">{budget:,}" if pd.isna(row["to_target"]) else f"{row['to_target']:,g}"
            said.append(f"{median} ({row['reached']}/{row['runs']})")
        rows.append(said)
    return rows


def effort_rows(table: pd.DataFrame, top: int) -> list[list[str]]:
    """Return what it took, and which trial was the best, headings first."""
    rows = [["", "trained", "failed", "networks", f"top {top} %", "mean %", "hours", "best trial"]]
    for number, row in enumerate(_rows(table), start=1):
        trial = "-" if pd.isna(row["best_id"]) else f"{shorten(row['best_run'], 24)}:{row['best_id']}"
        counts = [f"{row[name]:,}" for name in ("trials", "failed", "networks")]
        shares = [_percent(row[name]) for name in ("top", "mean")]
        rows.append([str(number), *counts, *shares, f"{row['total_seconds'] / 3600:.2f}", trial])
    return rows


def pair_lines(pairs: Sequence[Pair], groups: Sequence[str], measure: str) -> list[str]:
    """List the pairs that were tested, if seeds were repeated at all; of many those with the smallest p."""
    numbers = {group: number for number, group in enumerate(groups, start=1)}
    tested = [pair for pair in pairs if pair.p is not None and max(pair.seeds) > 1]
    if not tested:
        return []
    rows = [["pair", "mean, points", "p", "p corrected", "ahead", "effect"]]
    for pair in sorted(tested, key=lambda pair: pair.p or 0.0)[:_PAIRS]:
        assert pair.p is not None
        assert pair.p_holm is not None
        assert pair.superiority is not None
        names = f"{numbers[pair.first]} against {numbers[pair.second]}"
        mean = "-" if pair.difference is None else f"{100 * pair.difference:+.2f}"
        ahead = f"{100 * pair.superiority:.0f} %"
        rows.append([names, mean, _p(pair.p), _p(pair.p_holm), ahead, effect(pair.superiority)])
    lines = fold(
        f"Pairs by {measure} (two-sided Mann-Whitney; corrected by Holm for all pairs; ahead: how often a run "
        "of the first ends better than one of the second, ties half):"
    )
    left = len(tested) - _PAIRS
    return [*lines, *columns_of(rows), *([f"and {left:,} more pairs: --json lists all"] if left > 0 else [])]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict(orient="records")]


def _percent(share: float) -> str:
    """Write a fraction in per cent; ``-`` if it is missing."""
    return "-" if pd.isna(share) else f"{100 * share:.2f}"


def _spread(mean: float, sd: float) -> str:
    """Write a mean in per cent and its standard deviation, as far as they are known."""
    return _percent(mean) + ("" if pd.isna(sd) else f" ± {100 * sd:.2f}")


def _p(p: float) -> str:
    return probability(p).removeprefix("p ").removeprefix("= ").replace("< ", "<")
