"""Pictures of runs: accuracy against samples or time, and how any picture is saved.

Drawn with matplotlib's figures alone, never with pyplot: no global state, and no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from analysis.curves import best_so_far, mean_over_runs, moving_mean
from analysis.frames import HistoryError, Paths, find_runs, load_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRATEGY_COLOURS: Final[dict[str, str]] = {
    "random": "#7a7a7a",
    "evolution": "#d55e00",
    "rl": "#0072b2",
    "pnas": "#009e73",
    "local": "#56b4e9",
    "guided": "#cc79a7",
}
"""The colours of our own strategies, the same in every picture (Okabe and Ito 2008: safe for the colour-blind)."""

_OTHER_COLOURS: Final = ("#e69f00", "#000000", "#8b5a2b", "#6a51a3")
_INK: Final = "#22272e"
_SIZE: Final = (7.2, 4.3)  # inches
_FENCE: Final = 3.0  # interquartile ranges below the quartile that the axis makes room for (Tukey's outer fence)
_COLUMNS: Final = ("run", "strategy", "space", "fitness", "told", "trained", "sample", "best_so_far", "outcome")

ABSCISSAE: Final[dict[str, str]] = {"trials": "sample", "seconds": "elapsed"}
"""What accuracy can be drawn against -> the column of :data:`analysis.frames.COLUMNS` that holds it."""


def strategy_colours(strategies: Iterable[str]) -> dict[str, str]:
    """Give each strategy its colour; those that are not ours share out the other colours by alphabet."""
    names = sorted(set(strategies))
    others = [name for name in names if name not in STRATEGY_COLOURS]
    colours = {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}
    return {name: STRATEGY_COLOURS.get(name) or colours[name] for name in names}


def plot_accuracy(
    frame: pd.DataFrame, ax: Axes | None = None, *, trials: bool = True, window: int | None = None, x: str = "trials"
) -> Axes:
    """Draw the best accuracy so far against samples, a line a run; several runs of a strategy also get their mean.

    With ``x="seconds"`` it is drawn against the time that each run had been going for, its sessions added up.
    ``trials`` adds every trial as a faint dot; ``window`` adds the mean of the last so many as a dashed line. Without
    ``ax`` a new figure is made: ``plot_accuracy(frame).figure``.

    Raises:
        HistoryError: if no trial has a fitness.
        ValueError: if ``x`` is neither.
    """
    if x not in ABSCISSAE:
        raise ValueError(f"accuracy is drawn against {' or '.join(ABSCISSAE)}, not {x!r}")
    at = ABSCISSAE[x]
    curves = best_so_far(frame, at)
    if curves.empty:
        raise HistoryError(_nothing(frame))
    if ax is None:
        ax = Figure(figsize=_SIZE, layout="constrained").add_subplot()
    colours = strategy_colours(frame["strategy"].astype(str))
    spaces = curves["space"].nunique()
    means = mean_over_runs(curves, at)
    groups = curves.groupby(["strategy", "space"], observed=True, sort=False)
    for (strategy, space), group in sorted(groups, key=lambda pair: -pair[1]["fitness"].max()):
        label = f"{strategy} on {space}" if spaces > 1 else str(strategy)
        colour, runs = colours[str(strategy)], group["run"].nunique()
        for _, run in group.groupby("run", observed=True, sort=False):
            _steps(run[at], run["fitness"], ax, colour, label if runs == 1 else None, bold=runs == 1)
        if runs > 1:
            mean = means[(means["strategy"] == strategy) & (means["space"] == space)]
            _steps(mean[at], mean["mean"], ax, colour, f"{label}, mean of {runs} runs", bold=True)
    if trials:
        _dots(frame, at, colours, ax)
    if window is not None:
        _moving_means(frame, window, at, colours, ax)
    _dress(frame, curves, at, ax)
    return ax


def plot_runs(paths: Paths, output: Path | None = None, *, x: str = "trials") -> list[Path]:
    """Draw the accuracy of runs to ``output``, or to ``report/accuracy.png`` and ``.svg`` of the first; give the files.

    ``x`` is that of :func:`plot_accuracy`; over seconds the files are called ``accuracy-seconds``.

    Raises:
        HistoryError: if there is no such run, none with a fitness, or a damaged one.
        ValueError: if the suffix is no format of a picture, or ``x`` is unknown.
    """
    runs = find_runs(paths)
    histories = [run.history for run in runs]
    figure = Figure(figsize=_SIZE, layout="constrained")
    columns = (*_COLUMNS, "elapsed") if x == "seconds" else _COLUMNS
    plot_accuracy(load_history(histories, columns=columns), figure.add_subplot(), x=x)
    name = "accuracy.png" if x == "trials" else f"accuracy-{x}.png"
    return save(figure, output or report_file(runs[0].folder, name))


def report_file(folder: Path, name: str) -> Path:
    """Name a file in the folder ``report`` of a run or a study, where pictures go if no place is named.

    Raises:
        HistoryError: if that is a symbolic link: what it leads to may be anybody's.
    """
    report = folder / "report"
    if report.is_symlink():
        raise HistoryError(
            f"{report} is a link, and no picture is written through it: remove it, or name a file with -o"
        )
    return report / name


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure; beside a PNG also the same as SVG; other suffixes mean that format alone. Give the files.

    A file that is a symbolic link is replaced, not what it leads to: a run folder may have come from anybody.

    Raises:
        ValueError: if the suffix is no format of a picture.
    """
    files = picture_files(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A fixed salt and no date: the same figure gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": "evo_nas"}):
        for file in files:
            if file.is_symlink():
                file.unlink()
            dated = file.suffix.lower() in (".svg", ".svgz")
            figure.savefig(file, dpi=200, facecolor="white", metadata={"Date": None} if dated else None)
    return files


def picture_files(path: Path) -> list[Path]:
    """Say which files :func:`save` would write.

    Raises:
        ValueError: if the suffix is no format of a picture.
    """
    known = Figure().canvas.get_supported_filetypes().keys() - {"pgf"}  # which is written by LaTeX
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"{path} cannot be written: a picture ends in one of .{', .'.join(sorted(known))}")
    return [path, path.with_suffix(".svg")] if path.suffix.lower() == ".png" else [path]


def _dots(frame: pd.DataFrame, at: str, colours: dict[str, str], ax: Axes) -> None:
    """Draw every trained trial; as one picture even in an SVG, which a million dots would swell."""
    alive = frame[frame["fitness"].notna() & frame["trained"]]
    crowd = max(1.0, (len(alive) / 1000) ** 0.5)
    for strategy, group in alive.groupby("strategy", observed=True, sort=True):
        ax.plot(
            group[at].to_numpy(np.float64),
            group["fitness"],
            linestyle="none",
            marker="o",
            markersize=max(1.2, 3.2 / crowd**0.5),
            markeredgewidth=0,
            color=colours[str(strategy)],
            alpha=max(0.06, 0.28 / crowd**0.5),
            rasterized=True,
            zorder=1,
        )
    ax.plot([], [], "o", markersize=3, markeredgewidth=0, color=_INK, alpha=0.4, label="one training")


def _steps(x: pd.Series[Any], y: pd.Series[float], ax: Axes, colour: str, label: str | None, *, bold: bool) -> None:
    """Draw a curve as steps: a best holds until it is beaten; only the points at which it changes are drawn."""
    values = y.to_numpy()
    keep = np.ones(len(values), dtype=bool)
    keep[1:-1] = values[1:-1] != values[:-2]
    ax.plot(
        x.to_numpy()[keep],
        values[keep],
        drawstyle="steps-post",
        color=colour,
        linewidth=1.9 if bold else 0.9,
        alpha=1.0 if bold else 0.55,
        label=label,
        solid_joinstyle="miter",
        zorder=3 if bold else 2,
    )


def _moving_means(frame: pd.DataFrame, window: int, at: str, colours: dict[str, str], ax: Axes) -> None:
    for _, run in moving_mean(frame, window, at).groupby("run", observed=True, sort=False):
        ax.plot(run[at], run["fitness"], "--", color=colours[str(run["strategy"].iloc[0])], linewidth=1.1)
    ax.plot([], [], "--", color=_INK, linewidth=1.1, label=f"mean of the last {window}")


def _dress(frame: pd.DataFrame, curves: pd.DataFrame, at: str, ax: Axes) -> None:
    """Set limits, labels, grid and legend; say how many trials the limits leave out."""
    alive = frame.loc[frame["fitness"].notna() & frame["trained"], "fitness"].to_numpy()
    # A few networks that learned nothing would flatten the curves of all others.
    quarter, three_quarters = np.quantile(alive, [0.25, 0.75])
    last_bests = curves.groupby("run", observed=True)["fitness"].max()
    low = max(alive.min(), quarter - _FENCE * (three_quarters - quarter))
    low, high = min(low, last_bests.min()), last_bests.max()
    room = max(high - low, 0.01)
    bottom, top = max(0.0, low - 0.05 * room), min(1.0, high + 0.08 * room)
    ax.set_ylim(bottom, top)
    last = float(curves[at].max())
    ax.set_xlim(0, max(last * 1.02, 2))
    hidden = int((alive < bottom).sum())
    if hidden:
        ax.annotate(
            f"{hidden:,} of {len(alive):,} trials {'lies' if hidden == 1 else 'lie'} below",
            (1.0, 0.0),
            (-4, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            color="#6b737d",
        )
    if at == "elapsed":
        _clock(ax, last)
    else:
        ax.set_xlabel("samples (trainings that ended)", color=_INK)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_ylabel("validation accuracy, best so far", color=_INK)
    # A tick says exactly where it stands: rounded to whole percents, 22.5 and 25 would read 22 and 25.
    ax.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.6g} %")
    ax.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    labels = ax.get_legend_handles_labels()[1]
    # Above the picture, where it hides no point.
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.2,
        ncols=4 if max(map(len, labels)) <= 20 else 2,
        frameon=False,
        fontsize=9,
        columnspacing=1.4,
    )


def _clock(ax: Axes, last: float) -> None:
    """Mark an axis of seconds in whichever unit gives small numbers."""
    unit, name = next(((n, word) for n, word in ((3600, "hours"), (60, "minutes")) if last >= 5 * n), (1, "seconds"))
    step = float(MaxNLocator(steps=[1, 2, 5, 10]).tick_values(0, max(last, 2) / unit)[1])
    ax.xaxis.set_major_locator(MultipleLocator(step * unit))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x / unit:,.6g}")
    ax.set_xlabel(f"{name} that the run was going for", color=_INK)


def _nothing(frame: pd.DataFrame) -> str:
    """Say why there is nothing to draw."""
    names = ", ".join(map(str, frame["run"].unique())) or "the run"
    failures = frame.loc[frame["trained"], "outcome"].value_counts()
    said = ", ".join(f"{count} {outcome}" for outcome, count in failures.items() if count)
    return f"no finished trials in {names}" + (f" but failures: {said}" if said else "")
