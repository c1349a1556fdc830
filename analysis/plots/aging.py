"""A population that ages: who lives at four moments of one search, beside all who have lived before."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.frames import HistoryError
from analysis.palette import FAINT, INK, STRATEGY_COLOURS
from analysis.plots.axes import dress_fractions, fence, fitness_of
from analysis.plots.curves import nothing

MOMENTS: Final = 4
"""Panels: the search is cut into as many parts of the same length, and each shows the end of one."""

AGING_COLUMNS: Final = ("id", "parent")


def draw_aging(frame: pd.DataFrame, size: int, figure: Figure) -> None:
    """Draw one search at four moments into a figure, two panels beside two.

    ``frame`` comes from :func:`~analysis.frames.load_history`, of one run, ``size`` is the P of its population. The P
    that were told last are coloured, with a line from each to its parent if that lives too; who has died is grey. The
    title of a panel says when it is, and the mean of the living.

    Raises:
        HistoryError: if nothing has a fitness.
        ValueError: if there is more than one run.
    """
    if frame["run"].nunique() > 1:
        raise ValueError("a picture of the kind aging shows one run: name one")
    told = frame[frame["fitness"].notna() & frame["sample"].notna()]
    if told.empty:
        raise HistoryError(nothing(frame))
    last = float(told["sample"].max())
    panels = figure.subplots(2, 2, sharex=True, sharey=True).flat
    for number, ax in enumerate(panels, start=1):
        now = round(last * number / MOMENTS)
        _draw_moment(ax, told[told["sample"] <= now], size)
        dress_fractions(ax, fitness_of(frame).title, "sample", last)
        ax.label_outer()
        living = told[told["sample"] <= now].tail(size)
        title = f"after {now:,} samples" + (f": {100 * living['fitness'].mean():.1f} %" if len(living) else "")
        ax.set_title(title, fontsize="small", loc="left", color=INK)
    fence(ax, told["fitness"].to_numpy(np.float64))  # the limits of all


def _draw_moment(ax: Axes, told: pd.DataFrame, size: int) -> None:
    """Draw the individuals told so far."""
    dead, living = told.iloc[:-size], told.tail(size)
    ax.scatter(dead["sample"], dead["fitness"], s=5, color=FAINT, alpha=0.3, linewidths=0)
    places = living.set_index("id")[["sample", "fitness"]].astype(np.float64)
    children = living[living["parent"].isin(places.index)]
    ends = places.loc[children["id"]].to_numpy(), places.loc[children["parent"]].to_numpy()
    colour = STRATEGY_COLOURS.get(str(told["strategy"].iloc[0]) if len(told) else "", INK)
    ax.add_collection(LineCollection(list(np.stack(ends, 1)), colors=colour, linewidths=0.5, alpha=0.4))
    ax.scatter(living["sample"], living["fitness"], s=11, color=colour, linewidths=0)
