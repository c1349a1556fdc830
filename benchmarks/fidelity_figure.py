"""The picture of what rankings are worth: the rank correlation of each setting against what a training costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from analysis.palette import FAINT, GRID, INK, STRATEGY_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_SIZE: Final = (8.0, 4.8)  # inches
_REFERENCE, _BASELINE = INK, STRATEGY_COLOURS["evolution"]
_FAMILIES: Final = tuple(STRATEGY_COLOURS[name] for name in ("rl", "pnas", "guided", "local"))
_DISTANCES: Final[tuple[float, ...]] = (7, 13, 20, 28, 38, 50, 64)  # points between a label and what it names
_DIRECTIONS: Final[tuple[tuple[float, float], ...]] = (
    (1, 0),
    (-1, 0),
    (1, 0.7),
    (1, -0.7),
    (-1, 0.7),
    (-1, -0.7),
    (0, 1),
    (0, -1),
)


def fidelity_figure(table: pd.DataFrame, *, reference: str, baseline: str) -> Figure:
    """Draw a :func:`benchmarks.fidelity_table.fidelity_table` in a figure of its own."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    plot_fidelity(table, figure.add_subplot(), reference=reference, baseline=baseline)
    return figure


def plot_fidelity(table: pd.DataFrame, ax: Axes, *, reference: str, baseline: str) -> Axes:
    """Draw tau with its interval against the processor seconds of a training, a labelled point per setting.

    Settings that change the same thing, those named ``thing=value``, share a colour. The dash above or below a point is
    the tau that noise alone would leave. A setting whose tau is not known, such as the reference of a single seed, is
    left out.
    """
    drawn = table[table["tau"].notna()]
    colours = _colours(table["setting"]) | {baseline: _BASELINE, reference: _REFERENCE}
    for row in drawn.to_dict("records"):
        colour, seconds = colours[row["setting"]], row["cpu_seconds"]
        ax.plot([seconds] * 2, [row["tau_low"], row["tau_high"]], color=colour, linewidth=1.3, alpha=0.45, zorder=2)
        ax.plot(seconds, row["tau"], "o", color=colour, markersize=5.5, markeredgewidth=0, zorder=4)
        ax.plot(seconds, row["noise_tau"], "_", color=colour, markersize=11, markeredgewidth=1.5, zorder=3)
    _dress(ax, drawn)
    _label(ax, drawn, {reference: f"{reference} (reference)"}, colours)
    return ax


def _colours(settings: Iterable[str]) -> dict[str, str]:
    """Return what changes the same thing the same colour, in the order in which things are met."""
    family = {setting: setting.partition("=")[0] for setting in settings}
    order = {name: number for number, name in enumerate(dict.fromkeys(f for s, f in family.items() if f != s))}
    return {setting: _FAMILIES[order.get(name, 0) % len(_FAMILIES)] for setting, name in family.items()}


def _dress(ax: Axes, drawn: pd.DataFrame) -> None:
    """Set limits, axes and grid, and say what the marks mean."""
    ax.set_xscale("log")
    low, high = drawn["cpu_seconds"].min(), drawn["cpu_seconds"].max()
    ax.set_xlim(low / 1.5, high * 2)
    ax.set_ylim(min(0.0, drawn["tau_low"].min()) - 0.03, 1.03)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("processor seconds of a training", color=INK)
    ax.set_ylabel("Kendall's tau of one training with the reference", color=INK)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    genotypes, seeds = drawn["genotypes"].iloc[0], drawn["seeds"].max()
    said = f"{genotypes} genotypes, {seeds} seeds; line: 95 % interval; dash: what noise alone would leave"
    ax.set_title(said, loc="left", fontsize=8.5, color=FAINT)


def _label(ax: Axes, drawn: pd.DataFrame, words: dict[str, str], colours: dict[str, str]) -> None:
    """Name each point beside it, where nothing is covered; the rightmost first, whose labels have the least room."""
    figure: Any = ax.figure
    figure.draw_without_rendering()  # now everything has its place
    taken = [box for row in drawn.to_dict("records") for box in _marks(ax, row)]
    for row in drawn.sort_values("cpu_seconds", ascending=False).to_dict("records"):
        name = row["setting"]
        label = _Label(words.get(name, name), (row["cpu_seconds"], row["tau"]), colours[name])
        best: tuple[float, float, tuple[float, float], Bbox] | None = None
        for distance, direction in product(_DISTANCES, _DIRECTIONS):
            text = label.written(ax, distance, direction)
            box = text.get_window_extent().padded(1.5)
            text.remove()
            covered = _covered(box, taken) + _outside(box, ax.get_window_extent())
            if best is None or covered < best[0]:
                best = (covered, distance, direction, box)
            if not covered:
                break
        assert best is not None, "there are places to choose from"
        _, distance, direction, box = best
        is_led = distance > _DISTANCES[0]
        label.written(ax, distance, direction, led=is_led)
        taken += [box, *(_line(ax.transData.transform(label.at), box) if is_led else [])]


@dataclass(frozen=True)
class _Label:
    """What is written beside a point of the data."""

    text: str
    at: tuple[float, float]
    colour: str

    def written(self, ax: Axes, distance: float, direction: tuple[float, float], *, led: bool = False) -> Annotation:
        """Write it so many points away; ``led`` draws a line to the point."""
        right, up = direction
        return ax.annotate(
            self.text,
            self.at,
            (right * distance, up * distance),
            textcoords="offset points",
            ha=("center", "left", "right")[int(np.sign(right))],
            va=("center", "bottom", "top")[int(np.sign(up))],
            fontsize=8.5,
            color=self.colour,
            arrowprops={"arrowstyle": "-", "color": self.colour, "linewidth": 0.5, "shrinkB": 3.0} if led else None,
            zorder=5,
        )


def _marks(ax: Axes, row: dict[Any, Any]) -> Sequence[Bbox]:
    """Return the boxes, in pixels, of what is drawn for one setting."""
    dpi: float = ax.figure.dpi
    half = 3.5 * dpi / 72

    def box(low: float, high: float, wide: float, tall: float) -> Bbox:
        (x, bottom), (_, top) = ax.transData.transform([(row["cpu_seconds"], low), (row["cpu_seconds"], high)])
        return Bbox([[x - wide, bottom - tall], [x + wide, top + tall]])

    boxes = [box(row["tau_low"], row["tau_high"], 1.0, 0.0), box(row["tau"], row["tau"], half, half)]
    if not np.isnan(row["noise_tau"]):
        boxes.append(box(row["noise_tau"], row["noise_tau"], 2 * half, 1.0))
    return boxes


def _line(point: Any, box: Bbox) -> Sequence[Bbox]:
    """Cut the line from a point, in pixels, to a label into boxes."""
    end = np.clip(point, box.min, box.max)
    return [Bbox([at - 2, at + 2]) for at in np.linspace(point, end, 20)]


def _covered(box: Bbox, others: Sequence[Bbox]) -> float:
    """Return how many square pixels of others a box would cover."""
    shared = (Bbox.intersection(box, other) for other in others)
    return sum(both.width * both.height for both in shared if both is not None)


def _outside(box: Bbox, within: Bbox) -> float:
    """Return how many square pixels of a box lie outside of another."""
    inside = Bbox.intersection(box, within)
    return float(box.width * box.height - (0 if inside is None else inside.width * inside.height))
