"""Drawings of chains of blocks (Chen et al. 2019, DetNAS): a row of blocks, the higher the larger their kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.palette import FAINT, GRID, INK
from genotypes.chain import Chain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLACE: Final = 0.3  # inches of a block
_HEIGHT: Final = 1.75  # inches of a chain

_COLOURS: Final = {
    "shuffle_3x3": "#c6dbef",
    "shuffle_5x5": "#6baed6",
    "shuffle_7x7": "#2171b5",
    "xception_3x3": "#fdae6b",
}
"""One hue for the kernels of one kind of block, another for the other kind; safe for the colour-blind."""

_GAP: Final = 0.6  # between stages, in blocks


def chains_figure(named: Sequence[tuple[str, str, Chain]], *, width: float | None = None) -> Figure:
    """Draw chains below each other: name, what else is said of it, and its blocks, by stages of one width each.

    A block is as high as its kernel, and has the kernel's side written in it, with an X if it is Xception's. ``width``
    in inches is that of the figure.
    """
    units = max(_count_units(chain) for _, _, chain in named)
    natural = _PLACE * units + 0.3
    scale = 1.0 if width is None else width / natural
    figure = Figure(figsize=(natural * scale, _HEIGHT * len(named) * scale))
    panels = figure.subplots(len(named), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(0.02, 0.02, 0.98, 1 - 0.16 / len(named), 0, 0.25)
    for ax, (name, said, chain) in zip(panels, named, strict=True):
        ax.set_axis_off()
        ax.set_xlim(-0.1, units + 0.1)
        ax.set_ylim(-2.9, 7.4)
        ax.set_title(f"{name}  {said}".strip(), fontsize=9 * scale, color=INK, loc="left", parse_math=False)
        left, stride = 0.0, chain.size.stem_stride
        _write(ax, left + 0.5, ("stem", str(chain.size.stem), f"1/{stride}"), scale)
        _add_box(ax, left, 3, GRID, scale)
        left += 1 + _GAP
        for stage, (channels, blocks) in enumerate(zip(chain.size.widths, chain.stages, strict=True), start=1):
            stride *= 2
            _write(ax, left + len(blocks) / 2, (f"stage {stage}", str(channels), f"1/{stride}"), scale)
            for block in blocks:
                kernel = int(block[-1])
                _add_box(ax, left, kernel, _COLOURS[block], scale)
                words = f"{'X' if block.startswith('xception') else ''}{kernel}"
                ink = "#ffffff" if kernel == 7 else INK
                ax.text(left + 0.5, kernel / 2, words, ha="center", va="center", fontsize=7 * scale, color=ink)
                left += 1
            left += _GAP
    return figure


def chain_dot(chain: Chain) -> str:
    """Write a chain as a graph for Graphviz, a cluster per stage."""
    lines = ["digraph chain {", "  rankdir=LR;", "  node [shape=box];", f'  stem [label="stem {chain.size.stem}"];']
    index = 0
    for stage, (channels, blocks) in enumerate(zip(chain.size.widths, chain.stages, strict=True), start=1):
        lines += [f"  subgraph cluster_{stage} {{", f'    label="stage {stage}: {channels}";']
        for block in blocks:
            lines.append(f'    b{index} [label="{block}"];')
            index += 1
        lines.append("  }")
    return "\n".join([*lines, f"  stem -> {' -> '.join(f'b{place}' for place in range(index))};", "}"]) + "\n"


def _count_units(chain: Chain) -> float:
    """Return the length of a drawing in blocks, the stem and the gaps between stages included; a stage needs 1.6."""
    return 1 + _GAP + sum(max(len(blocks), 1) + _GAP for blocks in chain.stages)


def _add_box(ax: Axes, left: float, height: float, colour: str, scale: float) -> None:
    ax.add_patch(Rectangle((left + 0.06, 0), 0.88, height, facecolor=colour, edgecolor=INK, linewidth=0.6 * scale))


def _write(ax: Axes, middle: float, lines: Sequence[str], scale: float) -> None:
    """Write what is below a stage: its name, its channels, and its size as a share of the image's."""
    ax.text(middle, -0.35, "\n".join(lines), ha="center", va="top", fontsize=5.5 * scale, color=FAINT)
