"""The picture of what seeds do: the mean best so far of each group of runs, or its regret, with its bootstrap band."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.curves import add_groups, band_over_runs, best_so_far
from analysis.frames import HistoryError
from analysis.plots.axes import abscissa, column_of, dress, dress_fractions, fitness_of, legend, new_axes, note, settle
from analysis.plots.curves import Groups, draw_line, looks_of, nothing, runs_of, so_many
from genotypes.genotype import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARED: Final = {"sample": "sample", "elapsed": "time"}
_ENOUGH: Final = 5
"""Runs below which the band is much too narrow: that of three, their range, holds the mean three times in four."""
_FLOOR: Final = 5e-6  # regret that two digits of a percentage point show as nothing
_FIRST: Final = 10  # samples; before, one is far from everything, and the axis of regret does not make room for that
_WIDE: Final = 10  # times that regret must shrink to need a logarithmic axis


def plot_seeds(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    x: str = "trials",
    groups: Groups = None,
    optimum: float | None = None,
    until: int | None = None,
) -> Axes:
    """Draw the mean best so far over the runs of each group, with the 95 % bootstrap band over them.

    A group of one run has no band. Curves end with the shortest run of their group, or at the sample ``until``: a run
    that ended before keeps what it had. With the ``optimum``, the best possible fitness, the regret is drawn, which is
    what is missing to it: on a logarithmic axis if it shrinks to a tenth or less and is never negative for noise.
    Without ``ax`` a new figure is made.

    Raises:
        HistoryError: if no trial has a fitness, or in no group all runs had one at the same ``x``.
        ValueError: if ``x`` is none of :data:`analysis.plots.axes.ABSCISSAE`.
    """
    at, measure = column_of(x), fitness_of(frame)
    curves = best_so_far(frame, at)
    if curves.empty:
        raise HistoryError(nothing(frame))
    if until is not None:
        curves = curves[curves[at] <= until]
        ends = curves.drop_duplicates("run", keep="last").assign(**{at: until})
        curves = pd.concat([curves, ends]).drop_duplicates(["run", at]).sort_values(["run", at], kind="stable")
    curves = add_groups(curves, groups)
    bands = band_over_runs(curves, at, ["group"])
    if bands.empty:
        raise HistoryError("no group has runs that were going at the same time: draw them one by one with --kind best")
    floor = 0.0
    if optimum is not None:
        bands = bands.assign(mean=optimum - bands["mean"], low=optimum - bands["high"], high=optimum - bands["low"])
        floor = _floor(bands, at)
        # What is zero leaves the logarithmic axis, as a line that can be seen to do so.
        bands[["mean", "low", "high"]] = bands[["mean", "low", "high"]].clip(lower=floor / 100 if floor else -math.inf)
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
    if optimum is None:
        edges = [
            (band[at].to_numpy(), band[edge].fillna(band["mean"]).to_numpy())
            for _, band in bands.groupby("group", sort=False)
            for edge in ("low", "high")
        ]
        settle(ax, edges, last)
        dress_fractions(ax, f"{measure.title}, best so far", at, last)
    else:
        _dress_regret(ax, bands, at, floor)
        abscissa(ax, at, last)
    legend(ax)
    words = []
    several = bands.loc[bands["runs"] > 1, "runs"]
    if len(several):
        words.append("mean, bootstrap 95 % band")
        words += ["(too narrow: few seeds)"] if several.min() < _ENOUGH else []
    if floor and (bands["mean"] < floor).any():
        words.append("a curve that leaves at the bottom: every run has found the best there is")
    missing = [str(label) for label in curves["group"].unique() if label not in set(bands["group"])]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        words.append(f"without {shorten(missing[0], 24)}{more}: no {_SHARED[at]} that all of its runs share")
    if words:
        note(ax, "\n".join(words), above=optimum is not None)
    return ax


def _early(bands: pd.DataFrame, at: str) -> list[float]:
    """Return the mean of each group after the first few samples, or at the end if there are no more."""
    return list(bands[bands[at] >= min(_FIRST, bands[at].max())].groupby("group")["mean"].first())


def _floor(bands: pd.DataFrame, at: str) -> float:
    """Return the lowest regret that a logarithmic axis shows; 0 where a linear one is better."""
    means, early = bands["mean"], max(_early(bands, at))
    is_wide = (means >= 0).all() and (means > 0).any() and early >= _WIDE * means.min()
    return max(_FLOOR, 0.7 * float(means[means > 0].min())) if is_wide else 0.0


def _dress_regret(ax: Axes, bands: pd.DataFrame, at: str, floor: float) -> None:
    """Set scale, limits and ticks of regret, a fraction that is written in percentage points."""
    early = _early(bands, at)
    if floor:
        top = max(early)
        ax.set_yscale("log")
        ax.set_ylim(floor, max(top * 1.25, floor * 10))
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if top / floor < 3e3 else (1.0,)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ends = np.concatenate([early, bands.groupby("group")["mean"].last()])
        room = max(float(np.ptp(ends)), 0.001)
        ax.set_ylim(float(ends.min()) - 0.1 * room, float(ends.max()) + 0.1 * room)
    ax.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.6g}")
    dress(ax, "regret, percentage points")
