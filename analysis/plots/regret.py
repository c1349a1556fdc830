"""The picture of a study: regret against trials, a curve per strategy, with a band of its standard error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.comparison.regret import Floats, StudyCurves, standard_error
from analysis.plots.axes import abscissa, dress, legend, letters, marker_places, new_figure, note
from analysis.plots.palette import looks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOOR: Final = 5e-4  # percentage points: half of the last digit of the table
_FIRST: Final = 10  # trials; before, one is far from everything, and the axis does not make room for that
_WIDE: Final = 10  # times that regret must shrink to need a logarithmic axis


def study_figure(study: StudyCurves) -> Figure:
    """Draw a study in a figure of its own."""
    figure = new_figure()
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
    styles = looks({label: label.partition("(")[0] for label in values})
    x = np.arange(1, study.trials + 1)
    # The legend stands in the order of the curves' right ends, from above.
    order = sorted(values, key=lambda label: -np.nan_to_num(means[label][-1], nan=-1.0))
    for number, label in enumerate(order):
        mean, error, look = means[label], standard_error(values[label]), styles[label]
        # What is zero leaves the logarithmic axis, as a line that can be seen to do so.
        low, high, line = (np.maximum(v, floor / 100) for v in (mean - error, mean + error, mean))
        ax.fill_between(x, low, high, step="post", color=look.colour, alpha=0.16, linewidth=0, zorder=2)
        ax.plot(
            x,
            line,
            drawstyle="steps-post",
            color=look.colour,
            linestyle=look.dashes,
            linewidth=1.6,
            label=label,
            zorder=3,
            marker=look.marker,
            markevery=marker_places(x, number / len(order)),
            markersize=0.6 * letters(ax),
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    if logarithmic:
        _logarithmic(ax, floor, float(early.max()))
    elif every.size and np.isfinite(early).all():
        ends = np.concatenate([early, [mean[-1] for mean in means.values()]])
        room = max(float(ends.max() - ends.min()), 0.1)
        ax.set_ylim(float(ends.min()) - 0.1 * room, float(ends.max()) + 0.1 * room)
    said = [_seeds([len(value) for value in values.values()])]
    if logarithmic and any((mean == 0).any() for mean in means.values()):
        said.append("a curve that leaves at the bottom: every run has found the best there is")
    dress(ax, "regret, percentage points" if known else "best fitness so far, per cent")
    abscissa(ax, "sample", study.trials)
    legend(ax)
    note(ax, "\n".join(said), above=known)
    return ax


def _seeds(counts: Sequence[int]) -> str:
    """Return what a curve and its band are."""
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
