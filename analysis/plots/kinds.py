"""The kinds of pictures that a command can draw of the curves of runs: what each loads, and how it is drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.comparison.groups import labels_of
from analysis.diversity import living, mean_window, population_of
from analysis.frames import HistoryError, Paths, RunRecord, find_runs, load_history, load_notes
from analysis.learning import learning
from analysis.plots.aging import AGING_COLUMNS, draw_aging
from analysis.plots.axes import column_of, new_figure
from analysis.plots.controller import plot_entropy, plot_reward
from analysis.plots.curves import nothing, plot_accuracy, plot_mean, plot_trials, refuse_empty
from analysis.plots.files import figure_file, save
from analysis.plots.population import plot_age, plot_diversity
from analysis.plots.seed_bands import plot_seeds
from analysis.plots.top_k import plot_top
from analysis.plots.widths import WIDTH_COLUMNS, draw_widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NARROWEST: Final = 7 / 2.54
"""Inches below which the labels of a curve would be cut off."""

_ACCURACY: Final = ("run", "strategy", "space", "fitness", "told", "trained", "sample", "best_so_far", "outcome")


@dataclass(frozen=True, slots=True)
class PlotRequest:
    """A plot to draw: runs, their history and their groups, the x axis, and the window P if one is given."""

    runs: Sequence[RunRecord]
    frame: pd.DataFrame
    groups: dict[str, str]
    x: str
    window: int | None
    width: float | None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of picture: its file in ``figures/``, the columns it needs, its panels, and what draws into them."""

    file: str
    draw: Callable[[PlotRequest, Figure], object]
    columns: tuple[str, ...] = _ACCURACY
    panels: int = 1
    takes_x: bool = True
    takes_window: bool = False


def plot_kind(
    kind: str,
    paths: Paths,
    output: str | os.PathLike[str] | None = None,
    *,
    x: str = "trials",
    window: int | None = None,
    width: float | None = None,
) -> list[Path]:
    """Draw runs to ``output``, or to ``figures/<file of the kind>`` of the first, as PNG and SVG; give the files.

    ``kind`` is one of :data:`KINDS`. Runs are grouped by strategy and settings (:mod:`analysis.comparison.groups`).
    ``window`` is P: of the moving mean by default the population of the first run that has one, else 100; of a
    population, its size in each run. ``width`` is in inches.

    Raises:
        HistoryError: if there is no such run, nothing in it to draw, or a damaged one.
        ValueError: if the suffix is no format of a picture, or an argument is unknown or not of this kind.
    """
    figure = draw_kind(kind, paths, x=x, window=window, width=width)
    if output:
        return save(figure, Path(output))
    stem = KINDS[kind].file if x == "trials" else f"{KINDS[kind].file}-{x}"
    return save(figure, figure_file(find_runs(paths)[0].folder, f"{stem}.png"))


def draw_kind(
    kind: str, paths: Paths, *, x: str = "trials", window: int | None = None, width: float | None = None
) -> Figure:
    """Return the picture that :func:`plot_kind` writes to files, with its arguments.

    Raises:
        HistoryError: if there is no such run, nothing in it to draw, or a damaged one.
        ValueError: if an argument is unknown or not of this kind.
    """
    chosen = KINDS.get(kind)
    if chosen is None:
        raise ValueError(f"a picture is one of {', '.join(KINDS)}, not {kind!r}")
    at = column_of(x)
    if width is not None and width < NARROWEST:
        raise ValueError(f"a curve is at least {2.54 * NARROWEST:.0f} cm wide, not {2.54 * width:.3g}")
    if x != "trials" and not chosen.takes_x:
        raise ValueError(f"a picture of the kind {kind} is drawn against trials alone")
    if window is not None and not chosen.takes_window:
        takers = " or ".join(name for name, other in KINDS.items() if other.takes_window)
        raise ValueError(f"a window is that of {takers}, not of {kind}")
    runs = find_runs(paths)
    frame = load_history([run.history for run in runs], columns={*chosen.columns, at})
    refuse_empty(frame, runs)
    figure = new_figure(width, chosen.panels)
    chosen.draw(PlotRequest(runs, frame, labels_of(runs, frame), x, window, width), figure)
    return figure


def _best(order: PlotRequest, figure: Figure) -> None:
    plot_accuracy(order.frame, figure.add_subplot(), trials=False, x=order.x, groups=order.groups)


def _mean(order: PlotRequest, figure: Figure) -> None:
    window = order.window or mean_window(order.runs)
    plot_mean(order.frame, figure.add_subplot(), window=window, x=order.x, groups=order.groups)


def _controller(order: PlotRequest, figure: Figure) -> None:
    learned = learning(order.frame, load_notes([run.history for run in order.runs]))
    above, below = figure.subplots(2, 1, sharex=True)
    plot_reward(learned, above, groups=order.groups)
    plot_entropy(learned, below, groups=order.groups)
    _as_one(above, below)


def _population(order: PlotRequest, figure: Figure) -> None:
    lives = living(order.frame, _sizes(order))
    if lives.empty:
        raise HistoryError(nothing(order.frame))
    above, below = figure.subplots(2, 1, sharex=True)
    plot_age(lives, above, groups=order.groups)
    plot_diversity(lives, below, groups=order.groups)
    _as_one(above, below)


def _aging(order: PlotRequest, figure: Figure) -> None:
    (size, *_) = _sizes(order).values()
    draw_aging(order.frame, size, figure)


def _sizes(order: PlotRequest) -> dict[str, int]:
    """Return the size of each population, by the name of its run.

    Raises:
        ValueError: if no run keeps one, and no window is given.
    """
    if order.window is not None:
        return {run.name: order.window for run in order.runs}
    sizes = {run.name: size for run in order.runs if (size := population_of(run)) is not None}
    if not sizes:
        names = ", ".join(sorted({run.spell_entry("strategy") for run in order.runs})[:3])
        raise ValueError(f"{names} keeps no population; --window P follows the last P told as if they were one")
    return sizes


def _as_one(above: Axes, below: Axes) -> None:
    """Share the x label and the legend of two stacked panels."""
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
    if (again := below.get_legend()) is not None:
        again.remove()


KINDS: Final[dict[str, Kind]] = {
    "curve": Kind("accuracy", lambda o, figure: plot_accuracy(o.frame, figure.add_subplot(), x=o.x, groups=o.groups)),
    "best": Kind("best", _best),
    "mean": Kind("mean", _mean, takes_window=True),
    "trials": Kind("trials", lambda o, figure: plot_trials(o.frame, figure.add_subplot(), x=o.x, groups=o.groups)),
    "seeds": Kind("seeds", lambda o, figure: plot_seeds(o.frame, figure.add_subplot(), x=o.x, groups=o.groups)),
    "top": Kind(
        "top",
        lambda o, figure: plot_top(o.frame, figure.add_subplot(), x=o.x, groups=o.groups),
        columns=(*_ACCURACY, "key"),
    ),
    "controller": Kind("controller", _controller, columns=(*_ACCURACY, "id"), panels=2, takes_x=False),
    "population": Kind(
        "population",
        _population,
        columns=(*_ACCURACY, "genotype", "key"),
        panels=2,
        takes_x=False,
        takes_window=True,
    ),
    "aging": Kind("aging", _aging, columns=(*_ACCURACY, *AGING_COLUMNS), panels=2, takes_x=False, takes_window=True),
    "widths": Kind(
        "widths",
        lambda o, figure: draw_widths(o.frame, figure, groups=o.groups, width=o.width),
        columns=WIDTH_COLUMNS,
        takes_x=False,
    ),
}
"""Name of a kind -> how it is drawn. A new one is a line here, and one in ``evo_nas/commands/plot.py``."""
