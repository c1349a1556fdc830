"""Pictures of a controller that learns: its rewards, and the entropy of its policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis.curves import add_groups
from analysis.plots.axes import abscissa, dress, legend, new_axes, percents
from analysis.plots.curves import Groups, draw_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_reward(learned: pd.DataFrame, ax: Axes | None = None, *, groups: Groups = None) -> Axes:
    """Draw the mean reward of each batch against samples, a line per run; several runs of a group also get their mean.

    ``learned`` comes from :func:`analysis.learning.learning`. Without ``ax`` a new figure is made.
    """
    ax = _plot(learned, "reward", ax, groups)
    dress(ax, "mean reward of a batch")
    percents(ax)
    return ax


def plot_entropy(learned: pd.DataFrame, ax: Axes | None = None, *, groups: Groups = None) -> Axes:
    """Draw the entropy of the policy as :func:`plot_reward` draws rewards: from the most there can be down to 0."""
    ax = _plot(learned, "entropy", ax, groups)
    ax.set_ylim(0, 1.08 * max(float(learned["entropy"].max()), 0.01))
    dress(ax, "entropy, nats per decision")
    return ax


def _plot(learned: pd.DataFrame, name: str, ax: Axes | None, groups: Groups) -> Axes:
    ax = new_axes() if ax is None else ax
    # A batch of networks that were known already is told at the same sample as the one before.
    numbers = learned.dropna(subset=[name]).drop_duplicates(["run", "sample"], keep="last")
    numbers = add_groups(numbers.rename(columns={name: "fitness"}), groups)
    draw_runs(numbers, "sample", numbers, ax, steps=False)
    abscissa(ax, "sample", float(numbers["sample"].max()))
    legend(ax)
    return ax
