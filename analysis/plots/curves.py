"""Pictures of runs: fitness against samples or time, and how any picture is saved.

Drawn with matplotlib's figures alone, never with pyplot: no global state, and no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.comparison.wording import join_words
from analysis.curves import add_groups, band_over_runs, best_so_far, moving_mean
from analysis.frames import HistoryError, RunRecord
from analysis.palette import INK, Style, looks
from analysis.plots.axes import (
    column_of,
    dress_fractions,
    fence,
    fitness_of,
    legend,
    legible,
    letters,
    marker_places,
    new_axes,
    settle,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Groups: TypeAlias = Mapping[str, str] | None
"""Name of a run -> label of its group; ``None`` groups runs by strategy and space."""


def plot_accuracy(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    trials: bool = True,
    x: str = "trials",
    groups: Groups = None,
) -> Axes:
    """Draw the best fitness so far against samples, a line per run; several runs of a group also get their mean.

    With ``x="seconds"`` it is drawn against the time that each run had been going for, its sessions added up.
    ``trials`` adds every trial as a faint dot, without which the curves fill the picture. Without ``ax`` a new figure
    is made: ``plot_accuracy(frame).figure``.

    Raises:
        HistoryError: if no trial has a fitness.
        ValueError: if ``x`` is neither.
    """
    at, measure = column_of(x), fitness_of(frame)
    frame = add_groups(frame, groups)
    curves = add_groups(best_so_far(frame, at), groups)
    if curves.empty:
        raise HistoryError(nothing(frame))
    ax = new_axes() if ax is None else ax
    styles = looks_of(frame)
    draw_runs(curves, at, frame, ax)
    if trials:
        _dots(frame, at, styles, ax)
        ax.plot([], [], "o", markersize=3, markeredgewidth=0, color=INK, alpha=0.4, label="one training")
    last = float(curves[at].max())
    if trials:
        bests = curves.groupby("run", observed=True)["fitness"].max()
        fence(ax, _trainings(frame)["fitness"].to_numpy(np.float64), bests)
    else:
        settle(ax, _lines(curves, at), last)
    dress_fractions(ax, f"{measure.title}, best so far", at, last)
    legend(ax)
    return ax


def plot_mean(
    frame: pd.DataFrame, ax: Axes | None = None, *, window: int = 100, x: str = "trials", groups: Groups = None
) -> Axes:
    """Draw the mean fitness of the last ``window`` individuals told, a line per run; a group also gets its mean.

    Raises:
        HistoryError: if no trial has a fitness.
        ValueError: if ``x`` is none of :data:`analysis.plots.axes.ABSCISSAE`, or the window is less than 1.
    """
    at, measure = column_of(x), fitness_of(frame)
    curves = add_groups(moving_mean(frame, window, at), groups)
    if curves.empty:
        raise HistoryError(nothing(frame))
    ax = new_axes() if ax is None else ax
    draw_runs(curves, at, add_groups(frame, groups), ax, steps=False)
    last = float(curves[at].max())
    settle(ax, _lines(curves, at), last)
    dress_fractions(ax, measure.title if window == 1 else f"mean {measure.name} of the last {window:,}", at, last)
    legend(ax)
    return ax


def plot_trials(frame: pd.DataFrame, ax: Axes | None = None, *, x: str = "trials", groups: Groups = None) -> Axes:
    """Draw the fitness of every training that had one, as a marker of its strategy's shape.

    Raises:
        HistoryError: if no trial has a fitness.
        ValueError: if ``x`` is none of :data:`analysis.plots.axes.ABSCISSAE`.
    """
    at, measure = column_of(x), fitness_of(frame)
    frame = add_groups(frame, groups)
    alive = _trainings(frame)
    if alive.empty:
        raise HistoryError(nothing(frame))
    ax = new_axes() if ax is None else ax
    styles = looks_of(frame)
    _dots(frame, at, styles, ax, shaped=True)
    fence(ax, alive["fitness"].to_numpy(np.float64))
    dress_fractions(ax, f"{measure.title} of a training", at, float(alive[at].max()))
    there = [label for label in styles if (alive["group"] == label).any()]
    size = 0.6 * letters(ax)
    legend(
        ax,
        [
            Line2D([], [], linestyle="none", marker=styles[label].marker, markersize=size, markeredgewidth=0,
                   color=styles[label].colour, label=label)
            for label in there
        ],
    )  # fmt: skip
    return ax


def looks_of(frame: pd.DataFrame) -> dict[str, Style]:
    """Return each group of a frame of :func:`analysis.curves.add_groups` its look."""
    strategies = frame.drop_duplicates("group")
    return looks(dict(zip(strategies["group"], strategies["strategy"].astype(str), strict=True)))


def runs_of(frame: pd.DataFrame) -> dict[str, int]:
    """Count the runs of each group of a frame of :func:`analysis.curves.add_groups`."""
    return {str(label): int(runs) for label, runs in frame.groupby("group", observed=True)["run"].nunique().items()}


def so_many(runs: int, every: int) -> str:
    """Return how many runs of a group are meant; those without a fitness have no curve."""
    return f"{runs} of {every}" if runs < every else str(runs)


def draw_runs(curves: pd.DataFrame, at: str, frame: pd.DataFrame, ax: Axes, *, steps: bool = True) -> None:
    """Draw the curves of runs, with the column ``group``; of several runs of a group thin, with their mean thick.

    ``frame``, with that column too, is what the curves come from. The legend stands in the order of the highest points.
    As ``steps`` a value holds until the next one.
    """
    styles, every = looks_of(frame), runs_of(frame)
    means = band_over_runs(curves, at, ["group"], resamples=0, steps=steps)
    groups = sorted(curves.groupby("group", observed=True, sort=False), key=lambda pair: -pair[1]["fitness"].max())
    for number, (label, group) in enumerate(groups):
        look, shift = styles[str(label)], number / len(groups)
        runs = [run for _, run in group.groupby("run", observed=True, sort=False)]
        counted = so_many(len(runs), every[str(label)])
        alone = str(label) if every[str(label)] == 1 else f"{label} ({counted} runs)"
        for run in runs:
            said = alone if len(runs) == 1 else None
            alpha = min(0.5, 1.6 / len(runs) ** 0.5)  # a crowd must not hide the means
            draw_line(
                run[at], run["fitness"], ax, look, said, bold=len(runs) == 1, thin=alpha, shift=shift, steps=steps
            )
        mean = means[means["group"] == label]
        if len(runs) > 1 and len(mean):
            said = f"{label} (mean of {counted})"
            draw_line(mean[at], mean["mean"], ax, look, said, bold=True, shift=shift, steps=steps)
        elif len(runs) > 1:  # the shortest had ended before another had a fitness
            ax.lines[-1].set_label(alone)


def draw_line(
    x: pd.Series[Any],
    y: pd.Series[float],
    ax: Axes,
    look: Style,
    label: str | None,
    *,
    bold: bool,
    thin: float = 0.5,
    shift: float = 0.0,
    steps: bool = True,
) -> None:
    """Draw a curve, as steps only the points at which it changes; a bold one has a few markers.

    ``thin`` in [0, 1] is how opaque one is that is not. ``shift`` in [0, 1] moves the markers, so that curves that lie
    upon each other do not hide each other's.
    """
    abscissae, values = x.to_numpy(np.float64), y.to_numpy(np.float64)
    if steps:
        keep = np.ones(len(values), dtype=bool)
        keep[1:-1] = values[1:-1] != values[:-2]
        abscissae, values = abscissae[keep], values[keep]
    ax.plot(
        abscissae,
        values,
        drawstyle="steps-post" if steps else "default",
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.6 if bold else 0.7,
        alpha=1.0 if bold else thin,
        label=label and legible(label),
        marker=look.marker if bold else "",
        markevery=marker_places(abscissae, shift),
        markersize=0.6 * letters(ax),
        markeredgecolor="white",
        markeredgewidth=0.5,
        solid_joinstyle="miter" if steps else "round",
        zorder=3 if bold else 2,
    )


def nothing(frame: pd.DataFrame) -> str:
    """Return why there is nothing to draw."""
    failures = frame.loc[frame["trained"], "outcome"].value_counts()
    counts = ", ".join(f"{count} {outcome}" for outcome, count in failures.items() if count)
    return f"no finished trials in {join_words(frame['run'].unique()) or 'the run'}" + (
        f" but failures: {counts}" if counts else ""
    )


def refuse_empty(frame: pd.DataFrame, runs: Iterable[RunRecord]) -> None:
    """Refuse runs that have asked nothing yet: in their frame not even a name is left of them.

    Raises:
        HistoryError: naming them.
    """
    if frame.empty:
        raise HistoryError(f"no finished trials in {join_words([run.name for run in runs])}: nothing was asked yet")


def _trainings(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the trainings that had a fitness."""
    return frame[frame["fitness"].notna() & frame["trained"]]


def _lines(curves: pd.DataFrame, at: str) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    return [(run[at].to_numpy(), run["fitness"].to_numpy()) for _, run in curves.groupby("run", observed=True)]


def _dots(frame: pd.DataFrame, at: str, styles: Mapping[str, Style], ax: Axes, *, shaped: bool = False) -> None:
    """Draw every trained trial."""
    alive = _trainings(frame)
    for label, group in alive.groupby("group", observed=True, sort=True):
        look = styles[str(label)]
        draw_dots(group[at], group["fitness"], ax, look.colour, len(alive), look.marker if shaped else "o")


def draw_dots(x: pd.Series[Any], y: pd.Series[float], ax: Axes, colour: str, crowd: int, marker: str = "o") -> None:
    """Draw trials, the fainter the larger their ``crowd``; as one picture even in an SVG, which a million would swell.

    A marker that is no disc is larger and darker, so that its shape is seen.
    """
    dense, is_disc = max(1.0, (crowd / 1000) ** 0.25), marker == "o"
    ax.plot(
        x.to_numpy(np.float64),
        y,
        linestyle="none",
        marker=marker,
        markersize=max(1.2, 3.2 / dense) * letters(ax) / 9 * (1.0 if is_disc else 1.25),
        markeredgewidth=0,
        color=colour,
        alpha=max(0.06, (0.28 if is_disc else 0.55) / dense),
        rasterized=True,
        zorder=1,
    )
