"""Pictures of the widths of a network's groups of channels: those that searches found, over those of its seed.

In the manner of figure 4 of MorphNet (Gordon et al. 2018): a bar a group, in the order of the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis.cells.designs import read_widths
from analysis.curves import add_groups
from analysis.frames import HistoryError
from analysis.palette import FAINT, GRID, INK, STRATEGY_COLOURS, mix
from analysis.plots.axes import SIZE, dress, fitness_of, letters
from analysis.plots.curves import looks_of, nothing, runs_of, so_many
from genotypes.genotype import printable, shorten
from genotypes.widths import Widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_COLUMNS: Final = (
    *("run", "strategy", "space", "id", "fitness", "told", "trained", "sample", "best_so_far", "outcome"),
    *("parameters", "mult_adds", "cell"),
)
"""Columns of :func:`analysis.frames.load_history` that :func:`draw_widths` needs."""

_COSTS: Final = {"mult_adds": "mult-adds", "parameters": "parameters"}
_MOST: Final = 8  # panels that a picture has room for
_WIDEST: Final = 7.2  # inches by default: both columns of a page
_BAR: Final = 0.13  # inches of a bar where there is room
_NAME: Final = 0.095  # inches that a name of 6 points needs to stand beside the next
_COVERED: Final = 2 / 3  # of the bars that blocks of a network must have to be marked


@dataclass(frozen=True, slots=True)
class NamedBlock:
    """Neighbours among the groups of channels whose names begin alike, from ``first`` to ``last``."""

    name: str
    first: int
    last: int


def find_blocks(names: Sequence[str]) -> tuple[list[NamedBlock], list[str]]:
    """Return the blocks of a network by the dotted names of its groups, and the names with what a block says left out.

    Blocks are the outermost parts that are several and have most of the groups, else the outermost that has most.
    """
    parts = [name.split(".") for name in names]
    shared = len([*takewhile(lambda level: len(set(level)) == 1, zip(*(part[:-1] for part in parts), strict=False))])
    chosen: tuple[int, list[NamedBlock]] = (0, [])
    for depth in range(1, max(map(len, parts))):
        blocks = [block for block in _blocks_at(parts, depth) if block.last > block.first]
        covered = sum(block.last - block.first + 1 for block in blocks)
        if covered >= _COVERED * len(names) and len(chosen[1]) < min(len(blocks), 2):
            chosen = depth, blocks
    depth, blocks = chosen
    inside = {place for block in blocks for place in range(block.first, block.last + 1)}
    return (
        [replace(block, name=".".join(block.name.split(".")[shared if depth > shared else 0 :])) for block in blocks],
        [".".join(part[depth if place in inside else shared :]) for place, part in enumerate(parts)],
    )


def _blocks_at(parts: Sequence[Sequence[str]], depth: int) -> Iterable[NamedBlock]:
    """Return the runs of neighbours that share so many first parts of their names and have more of them."""
    place = 0
    for prefix, members in groupby(parts, lambda part: tuple(part[:depth]) if len(part) > depth else None):
        number = len(list(members))
        if prefix is not None:
            yield NamedBlock(".".join(prefix), place, place + number - 1)
        place += number


def plot_widths(found: Sequence[Widths], ax: Axes | None = None, *, colour: str = STRATEGY_COLOURS["morphnet"]) -> Axes:
    """Draw widths of one network as bars over the outlines of its seed's; of several their mean, whiskers are the SD.

    The names of the groups stand below, those of the network's blocks above. Without ``ax`` a new figure is made.

    Raises:
        ValueError: if there are none, or they are not all of the same groups.
    """
    if len({tuple(widths.seed.items()) for widths in found}) != 1:
        raise ValueError("a picture shows widths of one network: draw each in axes of its own")
    seed = found[0].seed
    number = len(seed)
    if ax is None:
        ax = Figure(figsize=(natural_width(number), SIZE[1]), layout="constrained").add_subplot()
    table = np.array([list(widths.widths.values()) for widths in found], dtype=np.float64)
    mean, places = table.mean(axis=0), np.arange(number)
    bar = ax.bbox.width / ax.figure.dpi / number  # inches
    line = float(np.clip(7.0 * bar, 0.35, 0.9))
    ax.bar(places, mean, 0.78, color=_fill(colour), linewidth=0, zorder=2)
    ax.bar(places, list(seed.values()), 0.78, facecolor="none", edgecolor=INK, linewidth=line, zorder=3)
    top = max(mean.max(), *seed.values())
    if len(found) > 1:
        spread = table.std(axis=0, ddof=1)
        top = max(top, float((mean + spread).max()))
        ax.errorbar(places, mean, spread, fmt="none", ecolor=INK, elinewidth=line, capsize=min(2.0, 14 * bar), zorder=4)
    dress(ax, "channels")
    ax.set_ylim(0, 1.16 * top)
    ax.set_xlim(-0.7, number - 0.3)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 4, 5, 10]))
    _name_groups(list(seed), bar, ax)
    return ax


def _name_groups(names: Sequence[str], bar: float, ax: Axes) -> None:
    """Write the names of blocks over their bars, and those of groups below: every one, or as many as there is room."""
    blocks, short = find_blocks(names)
    size = letters(ax)
    for number, block in enumerate(blocks):
        if number % 2 == 0 and len(blocks) > 1:
            ax.axvspan(block.first - 0.5, block.last + 0.5, color=GRID, alpha=0.45, linewidth=0, zorder=0)
        room = (block.last - block.first + 1) * bar * 72 / (0.56 * size)  # letters
        if len(block.name) <= 1.4 * room:
            ax.text(
                (block.first + block.last) / 2,
                0.985,
                printable(block.name),
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=size * min(1.0, room / len(block.name)),
                color=FAINT,
                parse_math=False,
            )
    every = max(1, int(np.ceil(_NAME / bar)))
    places = range(0, len(names), every)
    labels = [shorten(short[place], 28) for place in places]
    ax.set_xticks(places, labels, rotation=90, fontsize=float(np.clip(0.75 * 72 * bar * every, 6.0, 0.9 * size)))
    ax.tick_params(axis="x", length=2, pad=1)
    for label in ax.get_xticklabels():
        label.set_parse_math(False)


def draw_widths(
    frame: pd.DataFrame, figure: Figure, *, groups: Mapping[str, str] | None = None, width: float | None = None
) -> None:
    """Draw the widths of the best trial of each run, a panel a group of runs: the mean and its spread over their seeds.

    A trial that is the network as it is counts only where a run has no other: it has found nothing.
    ``frame`` comes from :func:`~analysis.frames.load_history` with :data:`WIDTH_COLUMNS`. All panels have the same
    ordinate, so that structures compare. The figure gets the height that they need, and is as wide as ``width`` inches
    or by the number of bars. Costs are those of the seed times a factor where a trial of these runs has its widths.

    Raises:
        HistoryError: if no trial has succeeded, or one that is the best of its run has no widths.
        ValueError: if there are too many panels.
    """
    alive = frame[frame["fitness"].notna() & frame["trained"]]
    if alive.empty:
        raise HistoryError(nothing(frame))
    originals = _find_originals(frame)
    rank = alive["fitness"] - alive["cell"].isin(originals)
    best = alive.loc[rank.groupby(alive["run"], observed=True, sort=False).idxmax()]  # of equal ones the first told
    best = add_groups(best, groups)
    found: dict[str, Widths] = {}
    panels: dict[tuple[str, Any], list[str]] = {}
    for run, label, text in zip(best["run"].astype(str), best["group"], best["cell"].astype(str), strict=True):
        if (widths := read_widths(text)) is None:
            raise HistoryError(f"{run} describes no widths; --kind cells draws the cells of a run")
        found[run] = widths
        panels.setdefault((label, _key(widths)), []).append(run)
    if len(panels) > _MOST:
        raise ValueError(f"a picture has room for {_MOST} settings, not {len(panels)}: name fewer runs")
    styles, every = looks_of(best), runs_of(add_groups(frame, groups))
    spent = {_key(widths): frame.loc[frame["cell"] == text, [*_COSTS]].max() for text, widths in originals.items()}
    wide = width or natural_width(max(len(widths.seed) for widths in found.values()))
    figure.set_size_inches(wide, 3.4)
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    below = 0.0  # inches that the names of groups take up
    networks = [key for _, key in panels]
    for number, (ax, ((label, key), runs)) in enumerate(zip(axes, panels.items(), strict=True)):
        size = letters(ax)
        plot_widths([found[run] for run in runs], ax, colour=styles[label].colour)
        many = f" ({so_many(len(runs), every[label])} seeds)" if len(runs) > 1 else ""
        said = _describe(best[best["run"].isin(runs)], spent.get(key), fitness_of(frame).name)
        _title(ax, f"{label}{many}", said)
        if key in networks[number + 1 : number + 2]:
            ax.tick_params(labelbottom=False)
            continue
        named = f"groups of channels of {shorten(found[runs[0]].network, 40)}"
        ax.set_xlabel(named, color=INK, fontsize=size, parse_math=False)
        below += 0.25 + max(len(text.get_text()) for text in ax.get_xticklabels()) * 0.6 * size / 72
    if len(set(networks)) == 1:
        highest = max(ax.get_ylim()[1] for ax in axes)
        for ax in axes:
            ax.set_ylim(0, highest)
    tall = 1.9 if len(panels) == 1 else 1.15
    figure.set_size_inches(wide, 0.35 + len(panels) * (tall + 0.42) + below)
    several = any(len(runs) > 1 for runs in panels.values())
    colour = styles[next(iter(panels))[0]].colour if len(panels) == 1 else FAINT
    handles = [
        Patch(facecolor="none", edgecolor=INK, linewidth=0.8, label="original network"),
        Patch(facecolor=_fill(colour), linewidth=0, label="found: mean and SD" if several else "found"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=letters(axes[0]))


def natural_width(bars: int) -> float:
    """Return the inches of a picture of so many bars: no wider than a page."""
    return float(np.clip(0.8 + _BAR * bars, SIZE[0], _WIDEST))


def _fill(colour: str) -> str:
    """Return the colour of bars on which outlines can be seen."""
    return mix(colour, "#ffffff", 0.2)


def _title(ax: Axes, label: str, said: str) -> None:
    """Write two lines above a panel, no wider than its axes will be."""
    size = letters(ax)
    room = 0.83 * ax.figure.bbox.width / ax.figure.dpi * 72 / (0.54 * size)  # letters
    label = shorten(label, max(12, int(room / 0.7)))
    small, smaller = (size * min(1.0, room / len(text)) for text in (label, said))
    ax.set_title(label, loc="left", color=INK, fontsize=small, pad=1.5 * size + 3, parse_math=False)
    place: Any = ((0, 1), (0, 4), "axes fraction", "offset points")
    ax.annotate(said, *place, color=FAINT, va="bottom", fontsize=smaller, parse_math=False)


def _describe(rows: pd.DataFrame, seed: pd.Series[Any] | None, measure: str) -> str:
    """Return what is known of the best trials of a panel: the mean fitness and costs, as multiples of the seed's."""
    fitness = rows["fitness"]
    spread = f" ± {100 * fitness.std(ddof=1):.2f}" if len(rows) > 1 else ""
    words = [f"{measure} {100 * fitness.mean():.2f}{spread} %"]
    for cost, name in _COSTS.items():
        if pd.notna(mean := rows[cost].astype("float64").mean(skipna=False)):
            own = None if seed is None else seed[cost]
            words.append(f"{mean / own:.2f}× {name}" if own and pd.notna(own) else f"{_short(mean)} {name}")
    return " · ".join(words)


def _find_originals(frame: pd.DataFrame) -> dict[str, Widths]:
    """Return the texts of trials that are a network as it is."""
    found = {text: read_widths(text) for text in frame["cell"].astype(str).unique()}
    return {text: widths for text, widths in found.items() if widths and widths.widths == widths.seed}


def _key(widths: Widths) -> tuple[Any, ...]:
    """Return what two widths of one network have in common."""
    return widths.network, *widths.seed.items()


def _short(number: float) -> str:
    return EngFormatter(places=1, sep=" ")(number)
