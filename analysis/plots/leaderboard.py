"""The pictures of a leaderboard: average ranks with their critical difference, and regret against the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from analysis.comparison.leaderboard import Leaderboard, Ranking
from analysis.palette import FAINT, GRID, INK, Style, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH: Final = 9.0  # inches
_LINE: Final = 0.19  # inches that a name of the ranking takes
_PANEL: Final = (2.7, 2.1)  # inches of a table's panel
_ABREAST: Final = 3
_LETTERS: Final = 8.0  # points
_FLOOR: Final = 1e-5  # regret, a fraction, that a logarithmic axis shows at least


def draw_ranking(board: Leaderboard) -> Figure:
    """Draw the critical-difference diagram (Demšar 2006, figure 1) of the largest budget.

    The best rank is on the left. A bar joins strategies that are not told apart; at the top stands the length of the
    critical difference. Names of strategies with a budget of their own stand at the foot.
    """
    ranking = board.rankings[-1]
    names, cliques = list(ranking.ranks), ranking.cliques()
    half = -(-len(names) // 2)
    height = _LINE * (half + len(cliques) * 0.6 + 4.5)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    ax = figure.add_subplot()
    low, high = 1.0, float(max(2, len(names)))
    ax.set_xlim(low - 0.42 * (high - low), high + 0.42 * (high - low))
    bottom = -(half + 0.6 * len(cliques) + 1.4)
    ax.set_ylim(bottom, 2.6)
    ax.axis("off")
    ax.plot([low, high], [0, 0], color=INK, linewidth=1.2)
    for tick in range(int(low), int(high) + 1):
        ax.plot([tick, tick], [0, 0.25], color=INK, linewidth=1.0)
        ax.text(tick, 0.4, str(tick), ha="center", va="bottom", fontsize=_LETTERS, color=INK)
    if ranking.critical_difference is not None:
        end = low + ranking.critical_difference
        ax.plot([low, end], [1.7, 1.7], color=INK, linewidth=1.6, marker="|", markersize=6)
        text = f"critical difference {ranking.critical_difference:.2f}"
        ax.text(low, 2.0, text, ha="left", va="bottom", fontsize=_LETTERS, color=INK)
    for number, clique in enumerate(cliques):
        y = -0.45 - 0.6 * number
        ends = [ranking.ranks[clique[0]] - 0.06, ranking.ranks[clique[-1]] + 0.06]
        ax.plot(ends, [y, y], color=INK, linewidth=3.2, solid_capstyle="round")
    styles = _styles(board)
    for number, name in enumerate(names):
        is_left = number < half
        row = number if is_left else len(names) - 1 - number
        y = -0.6 * len(cliques) - 0.9 - row
        edge = low - 0.03 * (high - low) if is_left else high + 0.03 * (high - low)
        x, colour = ranking.ranks[name], styles[name].colour
        ax.plot([x, x, edge], [0, y, y], color=colour, linewidth=1.2)
        words = f"{name}  {x:.1f}" if is_left else f"{x:.1f}  {name}"
        gap = -0.01 * (high - low) if is_left else 0.01 * (high - low)
        ax.text(edge + gap, y, words, ha="right" if is_left else "left", va="center", fontsize=_LETTERS, color=INK)
    ax.text((low + high) / 2, bottom, _foot(board, ranking), ha="center", va="bottom", fontsize=_LETTERS, color=FAINT)
    return figure


def draw_regrets(board: Leaderboard) -> Figure:
    """Draw the mean regret of each strategy against the budget, a panel per table, with standard errors over seeds."""
    summary, styles = board.summary(), _styles(board)
    tables = list(dict.fromkeys(summary["table"]))
    abreast = min(_ABREAST, len(tables))
    rows = -(-len(tables) // abreast)
    figure = Figure(figsize=(_PANEL[0] * max(2, abreast), _PANEL[1] * rows + 0.22 * (len(styles) // 3 + 1)))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(rows, abreast, squeeze=False).flat
    for ax, table in zip(axes, tables, strict=False):
        of_table = summary[summary["table"] == table]
        positive = of_table.loc[of_table["mean"] > 0, "mean"]
        floor = max(_FLOOR, 0.6 * float(positive.min())) if len(positive) else _FLOOR
        for name in board.order:
            curve = of_table[of_table["strategy"] == name]
            _draw_curve(ax, curve["budget"], curve["mean"], curve["error"].fillna(0.0), floor, styles[name])
        _dress(ax, str(table), board.budgets, floor)
    for ax in figure.axes[len(tables) :]:
        ax.set_visible(False)
    handles = [figure.axes[0].plot([], [], **_line(styles[name]), label=name)[0] for name in board.order]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=_LETTERS, frameon=False)
    return figure


def _draw_curve(
    ax: Axes, budgets: Sequence[int], means: Sequence[float], errors: Sequence[float], floor: float, style: Style
) -> None:
    """Draw one curve with error bars; what is zero stands at the foot of the logarithmic axis."""
    shown = [max(mean, floor) for mean in means]
    lower = [max(0.0, y - max(y - error, floor)) for y, error in zip(shown, errors, strict=True)]
    ax.errorbar(list(budgets), shown, yerr=[lower, list(errors)], elinewidth=0.8, **_line(style))


def _line(style: Style) -> dict[str, Any]:
    return {
        "color": style.colour,
        "linestyle": style.dashes,
        "marker": style.marker,
        "markersize": 3.5,
        "linewidth": 1.2,
    }


def _dress(ax: Axes, title: str, budgets: Sequence[int], floor: float) -> None:
    ax.set_title(title, fontsize=_LETTERS, color=INK)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(bottom=floor * 0.8)
    ax.xaxis.set_major_locator(FixedLocator(list(budgets)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.3g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(labelsize=_LETTERS - 1)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_ylabel("regret, points", fontsize=_LETTERS - 1, color=INK)


def _styles(board: Leaderboard) -> Mapping[str, Style]:
    return looks({name: name.partition("(")[0] for name in board.order})


def _foot(board: Leaderboard, ranking: Ranking) -> str:
    words = [f"average rank of the mean regret after {ranking.budget:,} trials on {ranking.tables} tables"]
    words += list(board.notes)
    if ranking.p is not None and not math.isnan(ranking.p):
        words.append(f"Friedman's p {'< 0.001' if ranking.p < 0.001 else f'= {ranking.p:.2g}'}")
    return "; ".join(words)
