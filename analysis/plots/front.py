"""Pictures of Pareto fronts: what fitness costs, every trial of a run and the front of the best trade-offs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from analysis.comparison.wording import join_words
from analysis.frames import HistoryError, Paths, RunRecord, find_runs, load_history, load_metrics
from analysis.palette import GRID, INK, MARKERS, looks
from analysis.plots.axes import SIZE, dress, fence, fitness_of, legend, legible, letters, new_axes, percents
from analysis.plots.curves import draw_dots, refuse_empty
from analysis.plots.files import figure_file, save
from genotypes.genotype import shorten
from genotypes.measure import Measure
from genotypes.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNTED: Final[dict[str, str]] = {
    "parameters": "parameters",
    "mult_adds": "multiply-adds of one image",
}
"""Cost that is a column of :func:`analysis.frames.load_history` -> how the axis calls it."""

DEFAULT_COSTS: Final = ("mult_adds",)
"""Costs against which the fitness is drawn where neither the caller nor the first run names any."""

_WIDE: Final = 10.0  # times that a cost must grow to need a logarithmic axis
_MANY: Final = 30  # points of a front, beyond which they would hide each other
_MOST_PANELS: Final = 6
_COLUMNS: Final = ("run", "strategy", "id", "fitness", "parameters", "mult_adds", "outcome", "trained")


def load_costs(paths: Paths, costs: Sequence[str]) -> pd.DataFrame:
    """Load what a front is drawn of: run, strategy, id, fitness, trained, outcome, and a column (float64) a cost.

    A cost is ``parameters``, ``mult_adds``, or any metric that the evaluator gave; it is NaN where a trial has none.

    Raises:
        HistoryError: as :func:`analysis.frames.load_history` does.
    """
    frame = load_history(paths, columns=_COLUMNS)
    if measured := [name for name in costs if name not in COUNTED]:
        metrics = load_metrics(paths)
        metrics = metrics[metrics["name"].isin(measured)]
        wide = metrics.pivot(index=["run", "trial"], columns="name", values="value").reindex(columns=measured)
        frame = frame.merge(wide, how="left", left_on=["run", "id"], right_index=True)
    return frame.astype(dict.fromkeys(costs, "float64"))


def plot_front(frame: pd.DataFrame, ax: Axes | None = None, *, cost: str = "mult_adds") -> Axes:
    """Draw the fitness against a cost: every training as a dot, the front of each run as steps.

    ``frame`` is one of :func:`load_costs`. Its steps say what fitness can be had for at most so much. The colours are
    those of the strategies; runs of one strategy differ in their shade, dashes and markers. A cost that grows tenfold
    stands on a logarithmic axis. Without ``ax`` a new figure is made: ``plot_front(frame).figure``.

    Raises:
        HistoryError: if no trial has a fitness.
        ValueError: if none that has one has this cost.
    """
    names = join_words(frame["run"].unique())
    alive = frame[(frame["outcome"] == "ok") & frame["fitness"].notna()]
    if alive.empty:
        raise HistoryError(f"no trial of {names} has succeeded, so there is no front to draw")
    alive = alive[alive[cost].notna()]
    if alive.empty:
        raise ValueError(
            f"no trial of {names} has the metric {shorten(cost)!r} to draw {fitness_of(frame).name} against; "
            "name one that they have"
        )
    if ax is None:
        ax = new_axes()
    runs = {str(name): run for name, run in alive.groupby("run", observed=True, sort=False)}
    strategies = {name: str(run["strategy"].iloc[0]) for name, run in runs.items()}
    styles, runs_of = looks(strategies), Counter(strategies.values())
    lowest, met = 1.0, dict[str, list[str]]()
    for name, run in runs.items():
        strategy, look = strategies[name], styles[name]
        draw_dots(run[cost], run["fitness"], ax, look.colour, len(alive))
        # The first run has the marker of its strategy, the others those that follow.
        markers = met.setdefault(strategy, [look.marker])
        markers.append(MARKERS[(MARKERS.index(markers[-1]) + 1) % len(MARKERS)])
        best = run.iloc[pareto_front(run["fitness"], run[[cost]])[::-1]]  # the cheapest first
        lowest = min(lowest, best["fitness"].min())
        ax.plot(
            best[cost],
            best["fitness"],
            drawstyle="steps-post",
            linestyle=look.dashes,
            marker=markers[-2],
            markersize=4 if len(best) <= _MANY else 2.5,
            markeredgecolor="white",
            markeredgewidth=0.6 if len(best) <= _MANY else 0.0,
            color=look.colour,
            linewidth=1.7 if len(best) <= _MANY else 1.2,
            label=legible(strategy if runs_of[strategy] == 1 else f"{strategy}: {name}"),
            zorder=3,
        )
    ax.plot([], [], "o", markersize=3, markeredgewidth=0, color=INK, alpha=0.4, label="one training")
    _dress(alive, cost, lowest, fitness_of(frame), ax)
    return ax


def plot_fronts(paths: Paths, output: Path | None = None, *, costs: Sequence[str] = ()) -> list[Path]:
    """Draw the fronts of runs, a panel a cost, to ``output``, or to ``figures/front.png`` and ``.svg`` of the first.

    Without ``costs`` they are those of the first run's strategy, where it has any, else mult-adds. Gives the files.

    Raises:
        HistoryError: if there is no such run, none with a fitness, or a damaged one.
        ValueError: if the suffix is no format of a picture, no trial has a cost, or there are too many to draw.
    """
    runs = find_runs(paths)
    names = tuple(costs) or _own_costs(runs[0])
    if len(names) > _MOST_PANELS:
        raise ValueError(f"a picture has room for {_MOST_PANELS} costs, not {len(names)}: name fewer with --costs")
    histories = [run.history for run in runs]
    frame = load_costs(histories, names)
    refuse_empty(frame, runs)
    if (frame["outcome"] == "ok").any() and (lacking := [name for name in names if frame[name].isna().all()]):
        known = [name for name in COUNTED if frame[name].notna().any()]
        known += sorted(load_metrics(histories)["name"].unique())
        mend = f"name another with --costs: {join_words([*map(shorten, known)])}" if known else "nor any other"
        raise ValueError(
            f"no trial of {join_words([run.name for run in runs])} has the metric {shorten(lacking[0])!r}; {mend}"
        )
    width, height = SIZE
    figure = Figure(figsize=(width * len(names), height), layout="constrained")
    for position, name in enumerate(names, start=1):
        plot_front(frame, figure.add_subplot(1, len(names), position), cost=name)
    return save(figure, output or figure_file(runs[0].folder, "front.png"))


def _own_costs(run: RunRecord) -> tuple[str, ...]:
    """Return the costs that a run's strategy weighs, as ``run.toml`` has them."""
    costs = run.table("strategy").get("costs")
    if isinstance(costs, list) and costs and all(isinstance(name, str) for name in costs):
        return tuple(dict.fromkeys(costs))
    return DEFAULT_COSTS


def _dress(alive: pd.DataFrame, cost: str, lowest: float, measure: Measure, ax: Axes) -> None:
    """Set scales, limits, labels, grid and legend; say how many trials the limits leave out."""
    spent, gained = alive[cost].to_numpy(), alive["fitness"].to_numpy()
    if spent.min() > 0 and spent.max() >= _WIDE * spent.min():
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    is_time = cost in ("latency", "ort_latency") or cost.endswith("seconds")
    if is_time or spent.max() >= 1000:
        ax.xaxis.set_major_formatter(EngFormatter(unit="s" if is_time else "", sep=" "))
    else:  # 500 m would be metres
        ax.xaxis.set_major_formatter("{x:g}")
    fence(ax, gained, [lowest])
    called = {**COUNTED, "latency": "latency of one image", "ort_latency": "latency of the deployed network"}.get(
        cost, shorten(cost)
    )
    dress(ax, measure.title)
    ax.set_xlabel(called, color=INK, fontsize=letters(ax), parse_math=False)
    percents(ax)
    ax.grid(color=GRID, linewidth=0.8)
    legend(ax)
