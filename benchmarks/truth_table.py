"""What a measure of networks is worth against published results: rank correlations, and what the best by it lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.curves import Floats, bootstrap_counts
from analysis.palette import FAINT, GRID, INK, STRATEGY_COLOURS
from benchmarks.fidelity_table import kendall_tau, percentile_interval, spearman_correlation
from evo_nas.evaluators.scores.catalogue import place_among
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRUTH_TABLE: Final[dict[str, str]] = {
    "measure": "what ranks the networks",
    "truth": "the column of the table that counts as true",
    "networks": "how many there are",
    "undefined": "those for which the measure has no value: they share the worst place",
    "tau": "Kendall's tau-b with the truth",
    "spearman": "Spearman's rank correlation with the truth",
    "better_tau": "tau-b over the networks in the better half by the truth",
    "regret_1": "the best network less the best of the top 1 % by the measure, in the truth's unit",
    "regret_5": "the same of the top 5 %",
    "regret_10": "the same of the top 10 %",
    "cpu_seconds": "processor time per network, mean, seconds; missing for what is looked up",
}
"""Column of :func:`truth_table` -> its meaning. ``tau``, ``spearman`` and ``better_tau`` have intervals beside them."""

SHARES: Final = {"regret_1": 0.01, "regret_5": 0.05, "regret_10": 0.1}
_INTERVALS: Final = ("tau", "spearman", "better_tau")
_ORDERS: Final = 200  # random orders of ties
_ACROSS: Final = ("axes fraction", "data")
_NEAR: Final = 0.15  # decades of seconds within which names could cover each other
_LINE: Final = 0.016  # of tau, from one name to the next


def truth_table(
    measures: Mapping[str, Floats],
    truths: Mapping[str, Floats],
    seconds: Mapping[str, float],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Hold measures of n networks, each (n,), against truths, each (n,): a row per pair, of :data:`TRUTH_TABLE`.

    Intervals are the 95 % of the bootstrap over networks, the same draws for all measures. ``seconds`` is the processor
    time per network of those measures that took any.
    """
    rows = []
    for name, truth in truths.items():
        counts = bootstrap_counts(len(truth), resamples, np.random.default_rng(seed))
        better = truth >= np.median(truth)
        halves = bootstrap_counts(int(better.sum()), resamples, np.random.default_rng(seed))
        for measure, raw in measures.items():
            values = worst_if_undefined(raw)
            row: dict[str, object] = {
                "measure": measure,
                "truth": name,
                "networks": len(truth),
                "undefined": int((~np.isfinite(raw)).sum()),
                "cpu_seconds": seconds.get(measure, np.nan),
            }
            columns = {
                "tau": kendall_tau(values, truth, counts),
                "spearman": spearman_correlation(values, truth, counts),
                "better_tau": kendall_tau(values[better], truth[better], halves),
            }
            for column, drawn in columns.items():
                low, high = percentile_interval(drawn)
                row |= {column: drawn[0], f"{column}_low": low, f"{column}_high": high}
            row |= {column: top_regret(values, truth, share) for column, share in SHARES.items()}
            rows.append(row)
    names = [
        name
        for column in TRUTH_TABLE
        for name in ([column, f"{column}_low", f"{column}_high"] if column in _INTERVALS else [column])
    ]
    return pd.DataFrame(rows, columns=names)


def worst_if_undefined(values: Floats) -> Floats:
    """Return the values with those that are no finite number below all others, equal to each other."""
    known = values[np.isfinite(values)]
    lowest = known.min() - 1 if known.size else 0.0
    return np.where(np.isfinite(values), values, lowest)


def top_regret(values: Floats, truth: Floats, share: float) -> float:
    """Return how far the best of the top share by a measure stays behind the best of all, at least one network.

    Where values are equal it is the mean over random orders.
    """
    top = max(1, round(share * len(values)))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_ORDERS if len(np.unique(values)) < len(values) else 1):
        order = rng.permutation(len(values))
        chosen = order[np.argsort(-values[order], kind="stable")[:top]]
        found.append(truth[chosen].max())
    return max(0.0, float(truth.max() - np.mean(found)))


def aggregate_places(columns: Sequence[Floats]) -> Floats:
    """Return the sum of the logarithms of the places of measures, each (n,), among the networks (Lee and Ham 2024)."""
    total: Floats = np.sum([np.log(place_among(column, column)) for column in columns], axis=0)
    return total


def write_markdown(table: pd.DataFrame) -> list[str]:
    """Return the lines of a table in Markdown, intervals in brackets."""
    head = ["measure", "truth", "tau", "Spearman", "tau in the better half", *("regret of the top 1 %", "5 %", "10 %")]
    lines = [f"| {' | '.join([*head, 'processor s'])} |", "|" + " --- |" * (len(head) + 1)]
    for row in table.to_dict("records"):
        cells = [f"{row['measure']}", f"{row['truth']}", *(_spell_interval(row, name) for name in _INTERVALS)]
        cells += [f"{row[name]:.2f}" for name in SHARES]
        cells.append("" if np.isnan(row["cpu_seconds"]) else f"{row['cpu_seconds']:.2g}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spell_interval(row: dict[Any, Any], name: str) -> str:
    return f"{row[name]:.3f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def truth_figure(table: pd.DataFrame) -> Figure:
    """Draw tau with its interval against the processor seconds per network, a panel per truth.

    What is looked up has no seconds, and is a line across.
    """
    truths = list(table["truth"].unique())
    figure = Figure(figsize=(4.6 * len(truths), 4.4), layout="constrained")
    panels = figure.subplots(1, len(truths), squeeze=False, sharey=True)[0]
    names = list(table["measure"].unique())
    colours = {name: list(STRATEGY_COLOURS.values())[i % len(STRATEGY_COLOURS)] for i, name in enumerate(names)}
    for ax, truth in zip(panels, truths, strict=True):
        for row in table[table["truth"] == truth].to_dict("records"):
            name, at, tau = shorten(row["measure"], 36), row["cpu_seconds"], row["tau"]
            if np.isnan(at):
                ax.axhline(tau, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
                ax.annotate(name, (0.99, tau), xycoords=_ACROSS, fontsize=7, color=FAINT, va="bottom", ha="right")
                continue
            ax.plot(
                [at, at], [row["tau_low"], row["tau_high"]], color=colours[row["measure"]], linewidth=1.2, alpha=0.4
            )
            ax.plot(at, tau, "o", color=colours[row["measure"]], markersize=5)
        _name_points(ax, table[table["truth"] == truth], colours)
        ax.set_xscale("log")
        ax.margins(x=0.3)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("processor seconds per network", color=INK)
        ax.set_title(f"{truth}, {table['networks'].iloc[0]} networks", loc="left", fontsize=9, color=INK)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    panels[0].set_ylabel("Kendall's tau with the truth", color=INK)
    return figure


def _name_points(ax: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    """Name each point beside it, the dearest on its left; names of points nearby stand one below the other."""
    drawn = rows[rows["cpu_seconds"].notna()].sort_values("tau", ascending=False)
    taken: list[tuple[float, float, bool]] = []
    for row in drawn.to_dict("records"):
        name, at, tau = shorten(row["measure"], 36), float(row["cpu_seconds"]), float(row["tau"])
        is_dear = at > 0.75 * drawn["cpu_seconds"].max()
        near = [y for x, y, side in taken if side == is_dear and abs(np.log10(x / at)) < _NEAR]
        height = min([tau, *(y - _LINE for y in near)])
        taken.append((at, height, is_dear))
        ax.annotate(
            name,
            (at, height),
            (-5 if is_dear else 5, 0),
            textcoords="offset points",
            ha="right" if is_dear else "left",
            va="center",
            fontsize=7,
            color=colours[row["measure"]],
        )
