"""The picture of the best few: top-1, top-5 and top-25 means, as in figure 6 of the NASNet paper (Zoph et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd
from matplotlib.lines import Line2D

from analysis.curves import add_groups, band_over_runs, top_mean
from analysis.frames import HistoryError
from analysis.palette import INK, Style
from analysis.plots.axes import column_of, dress_fractions, fitness_of, legend, letters, new_axes, settle
from analysis.plots.curves import Groups, draw_line, looks_of, nothing, runs_of, so_many

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEST: Final = (1, 5, 25)
"""Number of networks that are averaged, as in the paper."""

_NAMED: Final = 4  # groups that the legend has room for
_START: Final = 0.15  # of the samples before which a curve may be below: the mean of 25 begins low
_DASHES: Final = ("-", (0, (5, 1.6)), (0, (1.4, 1.3)), (0, (6, 1.5, 1.4, 1.5)))


def plot_top(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    best: Sequence[int] = BEST,
    x: str = "trials",
    groups: Groups = None,
) -> Axes:
    """Draw the mean fitness of the best 1, 5 and 25 networks so far, a network once; over seeds their mean.

    ``frame`` has the column ``key``. The colour and the marker are those of the group, the dashes say of how many. What
    not every run of a group has trained enough networks for is left out. Without ``ax`` a new figure is made.

    Raises:
        HistoryError: if no trial has a fitness, or fewer networks have one than the smallest of ``best``.
        ValueError: if ``x`` is none of :data:`analysis.plots.axes.ABSCISSAE`, or a number is less than 1 or too many.
    """
    at, measure = column_of(x), fitness_of(frame)
    if not 0 < len(best) <= len(_DASHES):
        raise ValueError(f"a picture of the best has room for 1 to {len(_DASHES)} numbers, not {len(best)}")
    frame = add_groups(frame, groups)
    styles, every, able = looks_of(frame), runs_of(frame), runs_of(frame[frame["fitness"].notna()])
    lines: list[tuple[int, str, pd.DataFrame]] = []
    for position, number in enumerate(best):
        bands = band_over_runs(add_groups(top_mean(frame, number, at), groups), at, ["group"], resamples=0)
        lines += [
            (position, str(label), band)
            for label, band in bands.groupby("group")
            if band["runs"].iloc[0] == able[str(label)]
        ]
    if not lines:
        enough = f"no group has runs that all had {min(best)} networks at one time"
        raise HistoryError(nothing(frame) if frame["fitness"].isna().all() else enough)
    ax = new_axes() if ax is None else ax
    there = sorted({label for _, label, _ in lines}, key=list(styles).index)
    for position, label, band in lines:
        look = styles[label]
        shift = (there.index(label) + position / len(best)) / len(there)
        draw_line(
            band[at], band["mean"], ax, Style(look.colour, _DASHES[position], look.marker), None, bold=True, shift=shift
        )
    last = max(float(band[at].max()) for *_, band in lines)
    settle(ax, [(band[at].to_numpy(), band["mean"].to_numpy()) for *_, band in lines], last, _START)
    dress_fractions(ax, measure.title, at, last)
    size = 0.6 * letters(ax)
    handles = [
        Line2D([], [], color=styles[label].colour, marker=styles[label].marker, markersize=size,
               label=label if every[label] == 1 else f"{label} (mean of {so_many(able[label], every[label])})")
        for label in there
    ]  # fmt: skip
    drawn = sorted({position for position, *_ in lines})
    dashed = [Line2D([], [], color=INK, linestyle=_DASHES[i], label=f"top {best[i]}") for i in drawn]
    # Groups stand in the first column, numbers in the second.
    blanks = [Line2D([], [], linestyle="none", label=" ")] * max(0, len(dashed) - len(handles))
    if (rest := len(handles) - _NAMED) > 0:
        handles = [*handles[: _NAMED - 1], Line2D([], [], linestyle="none", label=f"and {rest + 1} more")]
    legend(ax, [*handles, *blanks, *dashed], columns=2, rows=len(handles) + len(blanks) + len(dashed))
    return ax
