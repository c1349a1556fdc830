"""The picture of what seeds do: the mean best so far of each group of runs, with its bootstrap band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from analysis.curves import add_groups, band_over_runs, best_so_far
from analysis.frames import HistoryError
from analysis.plots.axes import column_of, dress_fractions, fitness_of, legend, new_axes, note, settle
from analysis.plots.curves import Groups, draw_line, looks_of, nothing, runs_of, so_many
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARED: Final = {"sample": "sample", "elapsed": "time"}
_ENOUGH: Final = 5
"""Runs below which the band is much too narrow: that of three, their range, holds the mean three times in four."""


def plot_seeds(frame: pd.DataFrame, ax: Axes | None = None, *, x: str = "trials", groups: Groups = None) -> Axes:
    """Draw the mean best so far over the runs of each group, with the 95 % bootstrap band over them.

    A group of one run has no band. Curves end with the shortest run of their group. Without ``ax`` a new figure is
    made.

    Raises:
        HistoryError: if no trial has a fitness, or in no group all runs had one at the same ``x``.
        ValueError: if ``x`` is none of :data:`analysis.plots.axes.ABSCISSAE`.
    """
    at, measure = column_of(x), fitness_of(frame)
    curves = add_groups(best_so_far(frame, at), groups)
    if curves.empty:
        raise HistoryError(nothing(frame))
    bands = band_over_runs(curves, at, ["group"])
    if bands.empty:
        raise HistoryError("no group has runs that were going at the same time: draw them one by one with --kind best")
    ax = new_axes() if ax is None else ax
    frame = add_groups(frame, groups)
    styles, every = looks_of(frame), runs_of(frame)
    drawn = sorted(bands.groupby("group", sort=False), key=lambda pair: -pair[1]["mean"].iloc[-1])
    for number, (label, band) in enumerate(drawn):
        look, runs = styles[str(label)], int(band["runs"].iloc[0])
        if runs > 1:
            ax.fill_between(
                band[at], band["low"], band["high"], step="post", color=look.colour, alpha=0.18, linewidth=0, zorder=2
            )
        said = f"{label} ({so_many(runs, every[str(label)])} seed{'s' * (every[str(label)] > 1)})"
        draw_line(band[at], band["mean"], ax, look, said, bold=True, shift=number / len(drawn))
    last = float(bands[at].max())
    edges = [
        (band[at].to_numpy(), band[edge].fillna(band["mean"]).to_numpy())
        for _, band in bands.groupby("group", sort=False)
        for edge in ("low", "high")
    ]
    settle(ax, edges, last)
    dress_fractions(ax, f"{measure.title}, best so far", at, last)
    legend(ax)
    words = []
    several = bands.loc[bands["runs"] > 1, "runs"]
    if len(several):
        words.append("mean, bootstrap 95 % band")
        words += ["(too narrow: few seeds)"] if several.min() < _ENOUGH else []
    missing = [str(label) for label in curves["group"].unique() if label not in set(bands["group"])]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        words.append(f"without {shorten(missing[0], 24)}{more}: no {_SHARED[at]} that all of its runs share")
    if words:
        note(ax, "\n".join(words))
    return ax
