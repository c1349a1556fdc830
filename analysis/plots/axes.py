"""The common parts of axes of curves: their size, samples or a clock below, per cents, grid and legend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from analysis.palette import FAINT, GRID, INK
from genotypes.genotype import shorten
from genotypes.measure import Measure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SIZE: Final = (4.72, 3.1)
"""Inches of a picture: 12 cm wide, so that its letters of 9 points have 6 where it is printed 8 cm wide."""

ABSCISSAE: Final[dict[str, str]] = {"trials": "sample", "seconds": "elapsed"}
"""Abscissa of a curve -> the column of :data:`analysis.frames.COLUMNS` that holds it."""

FENCE: Final = 3.0
"""Interquartile ranges below the quartile that an axis makes room for (Tukey's outer fence)."""

_LETTERS: Final = (6.5, 9.0)  # points of the smallest letters and of the largest
_SHARE: Final = 0.775  # of its figure that matplotlib gives to the axes at first
_WIDE: Final = 0.56  # width of a letter on average, as a multiple of its height
_LEFT: Final = 0.12  # of the axes' width that a legend begins left of them, above the ticks
_HANDLE: Final = 4.0  # letters that a line of the legend and its gaps take up
_ROWS: Final = 4  # of a legend: more would leave no picture
_MARKS: Final = 5  # markers of a curve
_SETTLED: Final = 0.03  # of the whole after which a curve must be in the picture: at first any search is far from it


def new_axes(width: float | None = None) -> Axes:
    """Make axes of a figure of their own, :data:`SIZE` or as wide as ``width`` inches."""
    return new_figure(width).add_subplot()


def new_figure(width: float | None = None, panels: int = 1) -> Figure:
    """Make an empty figure for panels one above the other, :data:`SIZE` for one or as wide as ``width`` inches."""
    wide, high = SIZE
    scale = (width or wide) / wide
    return Figure(figsize=(wide * scale, high * scale * (1 + 0.55 * (panels - 1))), layout="constrained")


def column_of(x: str) -> str:
    """Return the column of an entry of :data:`ABSCISSAE`.

    Raises:
        ValueError: if it is none.
    """
    if x not in ABSCISSAE:
        raise ValueError(f"a curve is drawn against {' or '.join(ABSCISSAE)}, not {x!r}")
    return ABSCISSAE[x]


def fitness_of(frame: pd.DataFrame) -> Measure:
    """Return what the fitness is in a frame of :func:`analysis.frames.load_history`: a neutral word if they differ."""
    return Measure.from_json(frame.attrs.get("measure"))


def letters(ax: Axes) -> float:
    """Return the points of letters that suit the width of the axes."""
    smallest, largest = _LETTERS
    inches = ax.bbox.width / ax.figure.dpi
    return float(np.clip(largest * inches / (_SHARE * SIZE[0]), smallest, largest))


def dress(ax: Axes, what: str) -> None:
    """Set the label of the ordinate, the size of letters, the grid and the frame."""
    ax.set_ylabel(what, color=INK, fontsize=letters(ax), parse_math=False)
    ax.tick_params(labelsize=letters(ax), color=FAINT)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def dress_fractions(ax: Axes, what: str, at: str, last: float) -> None:
    """Dress axes of fractions, in per cents, against samples or seconds up to the ``last``."""
    dress(ax, what)
    percents(ax)
    abscissa(ax, at, last)


def percents(ax: Axes) -> None:
    """Write the ordinate in per cents, each tick exactly where it stands: rounded, 22.5 and 25 would read 22 and 25."""
    ax.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.6g} %")


def abscissa(ax: Axes, at: str, last: float) -> None:
    """Mark the abscissa from 0 to the ``last`` sample, or second where ``at`` is ``elapsed``."""
    ax.set_xlim(0, max(last * 1.02, 2))
    if at == "elapsed":
        _clock(ax, last)
        return
    ax.set_xlabel("samples (trainings that ended)", color=INK, fontsize=letters(ax))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")


def _clock(ax: Axes, last: float) -> None:
    """Mark an axis of seconds in whichever unit gives small numbers."""
    unit, name = next(((n, word) for n, word in ((3600, "hours"), (60, "minutes")) if last >= 5 * n), (1, "seconds"))
    step = float(MaxNLocator(steps=[1, 2, 5, 10]).tick_values(0, max(last, 2) / unit)[1])
    ax.xaxis.set_major_locator(MultipleLocator(step * unit))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x / unit:,.6g}")
    ax.set_xlabel(f"{name} that the run was going for", color=INK, fontsize=letters(ax))


def settle(ax: Axes, curves: Iterable[tuple[NDArray[Any], NDArray[Any]]], last: float, start: float = _SETTLED) -> None:
    """Set the limits of the ordinate so that every curve, given as (x, y), is in the picture but for its start.

    ``start`` is the share of the abscissa, up to ``last``, in which a curve may be anywhere.
    """
    low, high = np.inf, -np.inf
    for x, y in curves:
        first = min(int(np.searchsorted(np.asarray(x), start * last)), len(y) - 1)
        rest = np.asarray(y)[first:]
        low, high = min(low, float(np.nanmin(rest))), max(high, float(np.nanmax(y)))
    _set_limits(ax, low, high)


def fence(ax: Axes, trials: NDArray[np.float64], shown: Iterable[float] = ()) -> None:
    """Set the limits of the ordinate by the accuracies of trials, and say how many of them lie below.

    A few that learned nothing would flatten all others; those in ``shown`` are in the picture whatever they are.
    """
    quarter, three_quarters = np.quantile(trials, [0.25, 0.75])
    shown = list(shown)
    lowest = max(trials.min(), quarter - FENCE * (three_quarters - quarter))
    bottom = _set_limits(ax, min([lowest, *shown]), max([trials.max(), *shown]))
    if hidden := int((trials < bottom).sum()):
        note(ax, f"{hidden:,} of {len(trials):,} trials {'lies' if hidden == 1 else 'lie'} below")


def _set_limits(ax: Axes, low: float, high: float) -> float:
    """Set the limits of an ordinate of fractions with some room; give the lower one."""
    room = max(high - low, 0.01)
    bottom = max(0.0, low - 0.05 * room)
    ax.set_ylim(bottom, min(1.0 + 0.03 * room, high + 0.08 * room))  # a marker at 100 % is drawn whole
    return bottom


def note(ax: Axes, text: str, *, above: bool = False) -> None:
    """Write into the right corner that curves leave free: below rising ones, above falling ones."""
    ax.annotate(
        text,
        (1.0, float(above)),
        (-3, -3 if above else 4),
        xycoords="axes fraction",
        parse_math=False,
        textcoords="offset points",
        ha="right",
        va="top" if above else "bottom",
        linespacing=1.4,
        fontsize=max(_LETTERS[0] - 0.5, 0.85 * letters(ax)),
        color=FAINT,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
        zorder=1.5,
    )


def legend(ax: Axes, handles: Sequence[Any] | None = None, *, columns: int = 5, rows: int = _ROWS) -> None:
    """Put the legend above the picture, where it hides no point: what goes into so many ``columns`` and ``rows``.

    Fewer columns are used where the names are too long.
    """
    found = list(handles) if handles is not None else ax.get_legend_handles_labels()[0]
    if not found:
        return
    size = letters(ax)
    line = (1 + _LEFT) * ax.bbox.width / ax.figure.dpi * 72 / (_WIDE * size)  # letters
    names = [shorten(legible(str(handle.get_label())), max(12, int(line - _HANDLE))) for handle in found]
    abreast = max(1, min(columns, int(line // (max(map(len, names)) + _HANDLE))))
    if len(found) > (most := rows * abreast):
        keys = {place for place, handle in enumerate(found) if _explains(handle)}
        keys = keys if len(keys) < min(most, len(found)) - 1 else set()
        room = most - 1 - len(keys)
        shown = sorted(_one_of_each([p for p in range(len(found)) if p not in keys], names)[:room])
        more = f"and {len(found) - room - len(keys)} more"
        found = [*(found[p] for p in shown), Line2D([], [], linestyle="none"), *(found[p] for p in sorted(keys))]
        names = [*(names[p] for p in shown), more, *(names[p] for p in sorted(keys))]
    ax.legend(
        found,
        names,
        loc="lower left",
        bbox_to_anchor=(-_LEFT, 1.0),
        borderaxespad=0.2,
        ncols=abreast,
        frameon=False,
        fontsize=size,
        labelcolor=INK,
        columnspacing=1.2,
        handlelength=2.0,
        labelspacing=0.3,
    )
    plain(ax)


def _explains(handle: Any) -> bool:
    """Return whether an entry of a legend stands for no curve, but says what dots or dashes mean."""
    return isinstance(handle, Line2D) and not np.size(handle.get_xdata())


def _one_of_each(places: Sequence[int], names: Sequence[str]) -> list[int]:
    """Put the first curve of each strategy before all others, so that no colour goes unnamed."""
    strategies = {place: re.split(r"[(:]| on ", names[place], maxsplit=1)[0] for place in places}
    first = {strategy: place for place, strategy in reversed(strategies.items())}
    return [*sorted(first.values()), *(place for place in places if place not in first.values())]


def legible(label: str) -> str:
    """Return a label that a legend shows: matplotlib leaves out those that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def plain(ax: Axes) -> None:
    """Draw the legend's dollar signs as they are, not as formulas: a run may be called anything."""
    if found := ax.get_legend():
        for text in found.get_texts():
            text.set_parse_math(False)


def marker_places(x: NDArray[Any], shift: float = 0.0) -> list[int]:
    """Return the points of a curve that have a marker: those nearest to even distances, ``shift`` in [0, 1] further."""
    if not len(x):
        return []
    targets = x[0] + (x[-1] - x[0]) * (np.arange(_MARKS) + 0.35 + 0.6 * shift) / _MARKS
    after = np.searchsorted(x, targets).clip(1, max(1, len(x) - 1)) if len(x) > 1 else np.zeros(1, dtype=int)
    before = np.maximum(after - 1, 0)
    nearest = np.where(targets[: len(after)] - x[before] < x[after] - targets[: len(after)], before, after)
    return sorted({int(place) for place in nearest})
