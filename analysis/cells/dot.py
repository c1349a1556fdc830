"""Cells in DOT, the language of Graphviz, for whoever wants another drawing than :mod:`analysis.cells.drawing` makes.

Nothing is drawn here: ``dot -Tsvg cell.dot`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterator

from analysis.cells.layout import FILLS, combine_text, kind_of, op_text
from genotypes.cell import INPUTS, Cell, CellPair

_HEAD = """\
digraph cells {
  rankdir=BT;
  node [shape=box, style="rounded,filled", fillcolor="white", fontname="Helvetica", fontsize=10];
  edge [color="#6b737d"];
"""

_IDLE = ', style="rounded,dashed", color="#b4bac1", fontcolor="#b4bac1"'
"""Look of what reaches no output."""


def pair_dot(pair: CellPair) -> str:
    """Write a pair of cells as one graph with two clusters.

    In each, the inputs ``h[i]`` and ``h[i-1]``, two operations and their combination a block, and the output. A node is
    named for its cell and its hidden state, as in ``normal_2``, with ``_left`` or ``_right`` for an operation.
    """
    lines = [line for name in ("normal", "reduction") for line in _cluster(name, getattr(pair, name))]
    return _HEAD + "\n".join(lines) + "\n}\n"


def _cluster(name: str, cell: Cell) -> Iterator[str]:
    live = cell.live_states()
    yield f"  subgraph cluster_{name} {{"
    yield f'    label="{name} cell"; fontname="Helvetica"; color="#d5d9de";'
    for state, text in ((1, "h[i-1]"), (0, "h[i]")):
        yield f'    {name}_{state} [label="{text}"{"" if state in live else _IDLE}];'
    for state, block in enumerate(cell.blocks, start=INPUTS):
        look = "" if state in live else _IDLE
        fill = f', fillcolor="{FILLS["combination"]}"'
        yield f'    {name}_{state} [label="{combine_text(block.combine)}"{look or fill}];'
        for side, edge in zip(("left", "right"), block.edges, strict=True):
            op = f"{name}_{state}_{side}"
            label = "\\n".join(op_text(edge.op))
            fill = f', fillcolor="{FILLS[kind_of(edge.op)]}"'
            yield f'    {op} [label="{label}"{look or fill}];'
            yield f"    {name}_{edge.source} -> {op} -> {name}_{state};"
    is_concat = len(cell.output) > 1
    fill = f', fillcolor="{FILLS["concatenation"]}"' if is_concat else ""
    yield f'    {name}_output [label="{"concat, " if is_concat else ""}h[i+1]"{fill}];'
    for state in cell.output:
        yield f"    {name}_{state} -> {name}_output;"
    yield "  }"
