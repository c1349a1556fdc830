"""Pictures of a population: how old the living are, and how much they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.lines import Line2D

from analysis.curves import add_groups
from analysis.palette import INK
from analysis.plots.axes import abscissa, dress, dress_fractions, legend, new_axes
from analysis.plots.curves import Groups, draw_runs, looks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_age(lives: pd.DataFrame, ax: Axes | None = None, *, groups: Groups = None) -> Axes:
    """Draw the mean age of the living against samples, a line per run, and the oldest's dotted.

    ``lives`` comes from :func:`analysis.diversity.living`. Several runs of a group also get their mean. Without ``ax``
    a new figure is made.
    """
    ax = new_axes() if ax is None else ax
    numbers = add_groups(lives.rename(columns={"age": "fitness"}), groups)
    styles = looks_of(numbers)
    draw_runs(numbers, "sample", numbers, ax, steps=False)
    for _, run in numbers.groupby("run", sort=False):
        colour = styles[str(run["group"].iloc[0])].colour
        ax.plot(run["sample"], run["oldest"], color=colour, linestyle=(0, (1, 1.5)), linewidth=0.9, alpha=0.8, zorder=2)
    handles = [*ax.get_legend_handles_labels()[0], Line2D([], [], color=INK, linestyle=(0, (1, 1.5)), label="oldest")]
    ax.set_ylim(0, 1.08 * max(float(lives["oldest"].max()), 1.0))
    dress(ax, "age in samples, mean")
    abscissa(ax, "sample", float(lives["sample"].max()))
    legend(ax, handles)
    return ax


def plot_diversity(lives: pd.DataFrame, ax: Axes | None = None, *, groups: Groups = None) -> Axes:
    """Draw the mean share of choices in which two of the living differ as :func:`plot_age` draws ages."""
    ax = new_axes() if ax is None else ax
    numbers = add_groups(lives.rename(columns={"diversity": "fitness"}).dropna(subset=["fitness"]), groups)
    draw_runs(numbers, "sample", add_groups(lives, groups), ax, steps=False)
    ax.set_ylim(0, 1.08 * max([0.05, *numbers["fitness"]]))
    dress_fractions(ax, "choices that two differ in", "sample", float(lives["sample"].max()))
    legend(ax)
    return ax
