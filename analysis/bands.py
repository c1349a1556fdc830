"""The picture of a study: regret against trials, a curve a strategy, with a band of its standard error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from analysis.plots import strategy_colours
from analysis.study import Floats, StudyCurves, standard_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_INK: Final = "#22272e"
_SIZE: Final = (7.2, 4.6)  # inches
_SETTINGS: Final = (
    ("-", _INK, 0.0),
    ((0, (5, 1.6)), _INK, 0.5),
    ((0, (1.4, 1.3)), "#ffffff", 0.4),
    ((0, (6, 1.5, 1.4, 1.5)), _INK, 0.75),
)
"""Style of line, and what the colour of the strategy is mixed with, how much: for its settings in the order listed."""
_FLOOR: Final = 5e-4  # percentage points: half of the last digit of the table
_FIRST: Final = 10  # trials; before, one is far from everything, and the axis does not make room for that
_WIDE: Final = 10  # times that regret must shrink to need a logarithmic axis


def study_figure(study: StudyCurves) -> Figure:
    """Draw a study in a figure of its own."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    plot_study(study, figure.add_subplot())
    return figure


def plot_study(study: StudyCurves, ax: Axes) -> Axes:
    """Draw mean regret against trials, or the mean best so far where the best possible is not known.

    Bands are the mean plus and minus its standard error over seeds; for one seed there are none. Regret that shrinks to
    a tenth or less, and is never negative for noise, stands on a logarithmic axis: a curve that leaves it at the bottom
    has reached the best possible.
    """
    known = study.optimum is not None
    values = {c.label: study.regret(c) if known else 100 * c.best for c in study.strategies if c.seeds}
    means: dict[str, Floats] = {label: value.mean(axis=0) for label, value in values.items()}
    every = np.concatenate(list(means.values()))
    every = every[~np.isnan(every)]
    early = np.array([mean[min(_FIRST, len(mean)) - 1] for mean in means.values()])
    logarithmic = known and bool((every >= 0).all() and (every > 0).any() and early.max() >= _WIDE * every.min())
    floor = max(_FLOOR, 0.7 * float(every[every > 0].min())) if logarithmic else -math.inf
    looks = _looks(list(values))
    x = np.arange(1, study.trials + 1)
    # The legend stands in the order of the curves' right ends, from above.
    for label in sorted(values, key=lambda label: -np.nan_to_num(means[label][-1], nan=-1.0)):
        mean, error = means[label], standard_error(values[label])
        colour, style = looks[label]
        # What is zero leaves the logarithmic axis, as a line that can be seen to do so.
        low, high, line = (np.maximum(v, floor / 100) for v in (mean - error, mean + error, mean))
        ax.fill_between(x, low, high, step="post", color=colour, alpha=0.16, linewidth=0, zorder=2)
        ax.plot(x, line, drawstyle="steps-post", color=colour, linestyle=style, linewidth=1.8, label=label, zorder=3)
    if logarithmic:
        _logarithmic(ax, floor, float(early.max()))
    elif every.size and np.isfinite(early).all():
        ends = np.concatenate([early, [mean[-1] for mean in means.values()]])
        room = max(float(ends.max() - ends.min()), 0.1)
        ax.set_ylim(float(ends.min()) - 0.1 * room, float(ends.max()) + 0.1 * room)
    said = [_seeds([len(value) for value in values.values()])]
    if logarithmic and any((mean == 0).any() for mean in means.values()):
        said.append("a curve that leaves at the bottom: every run has found the best there is")
    _dress(ax, "regret, percentage points" if known else "best fitness so far, per cent", study.trials, list(values))
    _annotate(ax, said, above=known)
    return ax


def _looks(labels: Sequence[str]) -> Mapping[str, tuple[str, Any]]:
    """Give each strategy its colour, and each of its settings a shade and a style of line."""
    names = {label: label.partition("(")[0] for label in labels}
    colours = strategy_colours(names.values())
    met: dict[str, int] = {}
    looks: dict[str, tuple[str, Any]] = {}
    for label, name in names.items():
        style, other, share = _SETTINGS[met.get(name, 0) % len(_SETTINGS)]
        met[name] = met.get(name, 0) + 1
        mixed = np.add((1 - share) * np.array(to_rgb(colours[name])), share * np.array(to_rgb(other)))
        looks[label] = (to_hex(tuple(mixed.tolist())), style)
    return looks


def _seeds(counts: Sequence[int]) -> str:
    """Say what a curve and its band are."""
    if max(counts) == 1:
        return "one seed"
    said = str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"mean of {said} seeds ± standard error"


def _logarithmic(ax: Axes, floor: float, top: float) -> None:
    """Scale the axis of regret; its ticks are written as plain numbers."""
    ax.set_yscale("log")
    ax.set_ylim(floor, max(top * 1.25, floor * 10))
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if top / floor < 3e3 else (1.0,)))
    ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def _dress(ax: Axes, what: str, trials: int, labels: Sequence[str]) -> None:
    """Set labels, grid and legend."""
    ax.set_xlabel("trials (trainings that ended)", color=_INK)
    ax.set_ylabel(what, color=_INK)
    ax.set_xlim(0, max(trials, 2))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    # Above the picture, where it hides no curve.
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
        ncols=5 if max(map(len, labels)) <= 12 else 2,
        frameon=False,
        fontsize=9,
        columnspacing=1.4,
    )


def _annotate(ax: Axes, lines: Sequence[str], *, above: bool) -> None:
    """Write into the right corner that curves leave free: above falling ones, below rising ones."""
    ax.annotate(
        "\n".join(lines),
        (1.0, float(above)),
        (-2, -3 if above else 3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top" if above else "bottom",
        linespacing=1.5,
        fontsize=7.5,
        color="#6b737d",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        zorder=1.5,
    )
