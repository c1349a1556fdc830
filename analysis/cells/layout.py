"""The layout of a cell: layered, in inches, with no overlaps whatever the cell.

Blocks stand in rows, each above everything that it reads (Sugiyama et al. 1981). A wire that passes a row on its way up
gets a lane of its own between the blocks of that row, one for all readers of a state, so that no wire ever runs
behind a box. For narrow pictures rows can be limited to so many blocks abreast, as Coffman and Graham (1972) limit the
jobs of a time step. Pure numbers; :mod:`analysis.cells.drawing` draws them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from statistics import fmean
from typing import Final, Literal

from genotypes.cell import INPUTS, Cell

OP_WIDTH, OP_HEIGHT = 0.54, 0.38
OP_GAP = 0.05  # between the two operations of a block
COMBINE_WIDTH, COMBINE_HEIGHT = 0.42, 0.22  # of "add"; longer names take a wider box
COMBINE_RISE = 0.17  # from the operations of a block to the box that joins them
BLOCK_GAP = 0.15  # between the things of a row
LANE_WIDTH = 0.03
INPUT_WIDTH, INPUT_HEIGHT = 0.55, 0.28
MARGIN = 0.06
_LINE = 8  # letters that fit into an operation's box
_LETTER = 0.08  # inches that a letter takes at most, on the average of a combination's name

_SILENT: Final = {"sep": "conv", "avg": "pool", "max": "pool"}

FILLS: Final[dict[str, str]] = {
    "separable convolution": "#fdeeb8",
    "convolution": "#fad6b0",
    "pooling": "#cfe3f5",
    "identity": "#eeeeec",
    "other": "#fbf7f0",
    "combination": "#c3e6cd",
    "concatenation": "#f6d1de",
}
"""Kind of an operation, or what joins operations or states -> the colour of its box."""

Kind = Literal["input", "op", "combine", "concat", "output"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with its centre at (x, y), in inches from the lower left corner, and the lines of text in it.

    ``name`` is the operation or the combination as cells spell it; for an input "0" or "1", the index of its state.
    ``state`` is the hidden state that it belongs to, -1 at the output; ``edge`` is 0 for the left operation of a block
    and 1 for the right one, whichever side it stands on, and 0 for anything else. What is ``idle`` reaches no output.
    """

    kind: Kind
    name: str
    state: int
    text: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float
    edge: int = 0
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Wire:
    """A line through points, bent between two of them only where they are not one above the other.

    ``state`` is the hidden state that it carries; ``arrow`` says whether it ends in an arrowhead.
    """

    state: int
    points: tuple[Point, ...]
    arrow: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes and wires of a cell in an area of ``width`` by ``height`` inches."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    width: float
    height: float


def op_text(op: str) -> tuple[str, ...]:
    """Spell an operation as the papers' figures do, kernel sizes in a line of their own: ("sep", "3×3").

    "conv" and "pool" go without saying after "sep", "avg" and "max", and where there are two kernels, one after the
    other: ("1×7", "7×1"). What would be too long for its line goes on in the second.
    """
    words = op.replace("-", "_").split("_")
    sizes = [word.replace("x", "×") for word in words if re.fullmatch(r"\d+x\d+", word)]
    names = [word for word in words if not re.fullmatch(r"\d+x\d+", word)]
    if sizes:
        silent = {_SILENT[name] for name in names if name in _SILENT}
        names = [name for name in names if name not in silent]
    if names == ["conv"] and len(sizes) == 2:
        return tuple(sizes)
    if len(" ".join(names)) > _LINE and not sizes:
        return tuple(line for line in (names[0], " ".join(names[1:])) if line)
    return tuple(line for line in (" ".join(names), "–".join(sizes)) if line)


def kind_of(op: str) -> str:
    """Return which kind of operation it is, one of the first keys of :data:`FILLS`."""
    words = op.replace("-", "_").split("_")
    if "sep" in words:
        return "separable convolution"
    if "conv" in words:
        return "convolution"
    if {"avg", "max", "pool"} & set(words):
        return "pooling"
    return "identity" if {"identity", "skip", "none"} & set(words) else "other"


def combine_text(combine: str) -> str:
    """Spell a combination, norms by the initials that the field knows them by: "add + LN"."""
    return combine.replace("_layer_norm", " + LN").replace("_instance_norm", " + IN").replace("_", " ")


@dataclass(eq=False, slots=True)
class _Item:
    """A thing in a row: an input, a block, the lane of a state, or the output; ``reads`` come from the row below."""

    kind: Literal["input", "block", "lane", "output"]
    state: int
    width: float
    reads: list[_Item] = field(default_factory=list)
    readers: list[_Item] = field(default_factory=list)
    x: float = 0.0

    def ports(self) -> list[float]:
        """Return where the wires of ``reads`` end, as offsets from x, from left to right."""
        if self.kind == "block":
            return [-(OP_WIDTH + OP_GAP) / 2, (OP_WIDTH + OP_GAP) / 2]
        if self.kind == "output":
            step = self.width / len(self.reads)
            return [(i + 0.5) * step - self.width / 2 for i in range(len(self.reads))]
        return [0.0]


def lay_out(cell: Cell, abreast: int | None = None) -> Layout:
    """Lay out a cell: inputs at the bottom, its blocks in rows above what they read, the output at the top.

    ``abreast`` limits how many blocks stand in a row; by default none waits for a higher row.
    """
    rows = _rows(cell, abreast)
    _order(rows)
    _place(rows)
    return _assemble(cell, rows)


def _levels(cell: Cell, abreast: int | None) -> list[int]:
    """Return each state its row: the lowest with room above its sources, first for what most others wait for."""
    states = range(INPUTS, INPUTS + len(cell.blocks))
    waiting = dict.fromkeys(states, 0)  # state -> blocks in the longest chain that reads it
    for state in reversed(states):
        for edge in cell.blocks[state - INPUTS].edges:
            if edge.source in waiting:
                waiting[edge.source] = max(waiting[edge.source], waiting[state] + 1)
    level, filled = dict.fromkeys(range(INPUTS), 0), Counter[int]()
    # Whoever reads a state has fewer blocks waiting, so that sources come first.
    for state in sorted(states, key=lambda state: -waiting[state]):
        row = 1 + max(level[edge.source] for edge in cell.blocks[state - INPUTS].edges)
        while abreast is not None and filled[row] >= abreast:
            row += 1
        level[state] = row
        filled[row] += 1
    return [level[state] for state in range(INPUTS + len(cell.blocks))]


def _rows(cell: Cell, abreast: int | None) -> list[list[_Item]]:
    """Fill the rows with inputs, blocks and output, and with lanes for the wires that pass a row."""
    level = _levels(cell, abreast)
    top = 1 + max(level)
    rows: list[list[_Item]] = [[] for _ in range(top + 1)]
    # h_{i-1}, which is state 1, stands on the left, as in the papers.
    at: dict[tuple[int, int], _Item] = {}
    for state in (1, 0):
        at[state, 0] = _Item("input", state, INPUT_WIDTH)
        rows[0].append(at[state, 0])

    def read(state: int, reader: _Item, row: int) -> None:
        """Join a reader to a state, by lanes through the rows between."""
        for between in range(level[state] + 1, row):
            if (state, between) not in at:
                at[state, between] = lane = _Item("lane", state, LANE_WIDTH)
                rows[between].append(lane)
                _join(at[state, between - 1], lane)
        _join(at[state, row - 1], reader)

    for index, block in enumerate(cell.blocks):
        state = index + INPUTS
        at[state, level[state]] = item = _Item("block", state, 2 * OP_WIDTH + OP_GAP)
        rows[level[state]].append(item)
        for edge in block.edges:
            read(edge.source, item, level[state])
    output = _Item("output", -1, max(0.9, 0.2 * len(cell.output)))
    rows[top].append(output)
    for state in cell.output:
        read(state, output, top)
    return rows


def _join(source: _Item, reader: _Item) -> None:
    source.readers.append(reader)
    reader.reads.append(source)


def _order(rows: list[list[_Item]]) -> None:
    """Order the things of each row so that few wires cross: barycentres up and down, then swaps of neighbours.

    What comes out depends on the order at the start, so several are tried, until one ends without a crossing.
    """
    first = [list(row) for row in rows]
    best, fewest = first, _crossings(rows)
    for turn, flipped in itertools.product(range(4), (False, True)):
        for row, given in zip(rows[1:], first[1:], strict=True):
            shift = turn % len(given)
            row[:] = given[shift:] + given[:shift]
            if flipped:
                row.reverse()
        for sweep in range(8):
            if not fewest:
                rows[:] = best
                return
            upward = sweep % 2 == 0
            for row in rows[1:] if upward else rows[-2:0:-1]:
                rank = {item: i for other in rows for i, item in enumerate(other)}
                # Sorting is stable: things without a neighbour on that side keep their place as well as they can.
                row.sort(key=lambda item: _barycentre(item.reads if upward else item.readers, rank, rank[item]))
            _swap(rows)
            if (crossings := _crossings(rows)) < fewest:
                best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _barycentre(neighbours: Sequence[_Item], rank: dict[_Item, int], alone: int) -> float:
    return fmean(rank[neighbour] for neighbour in neighbours) if neighbours else float(alone)


def _swap(rows: list[list[_Item]]) -> None:
    """Swap neighbours in a row as long as that takes away crossings."""
    for index in range(1, len(rows) - 1):
        row = rows[index]
        beside = rows[index - 1 : index + 2]
        fewest = _crossings(beside)
        improved = True
        while improved and fewest:
            improved = False
            for i in range(len(row) - 1):
                row[i], row[i + 1] = row[i + 1], row[i]
                if (crossings := _crossings(beside)) < fewest:
                    fewest, improved = crossings, True
                else:
                    row[i], row[i + 1] = row[i + 1], row[i]


def _crossings(rows: Sequence[Sequence[_Item]]) -> int:
    """Count the pairs of wires that cross between neighbouring rows; wires into one thing never need to."""
    total = 0
    for below, above in itertools.pairwise(rows):
        rank = {item: i for i, item in enumerate(below)}
        seen: list[int] = []
        for item in above:
            ends = [rank[source] for source in item.reads]
            total += sum(1 for end in ends for other in seen if other > end)
            seen += ends
    return total


def _place(rows: list[list[_Item]]) -> None:
    """Move everything towards what it is wired to, as far as order and gaps allow."""
    for row in rows:
        _pack(row, [0.0] * len(row))
    for sweep in range(24):
        for row in rows if sweep % 2 else rows[::-1]:
            _pack(row, [_wish(item) for item in row])
        _straighten(rows)
    for item, other in (rows[0], rows[0][::-1]):
        if not item.readers:  # nothing pulls it anywhere: it stands beside the other input
            item.x = other.x + (_apart(item, other) if item is rows[0][1] else -_apart(item, other))
    left = min(item.x - item.width / 2 for row in rows for item in row)
    for row in rows:
        for item in row:
            item.x += MARGIN - left


def _straighten(rows: list[list[_Item]]) -> None:
    """Make the lanes of a state one straight line, as far as their neighbours leave room for it."""
    room = {}
    for row in rows:
        for index, item in enumerate(row):
            if item.kind == "lane":
                low = row[index - 1].x + _apart(row[index - 1], item) if index else -inf
                high = row[index + 1].x - _apart(item, row[index + 1]) if index + 1 < len(row) else inf
                room[item] = low, high
    for first in room:
        if first.reads[0].kind == "lane":
            continue
        lane: _Item | None = first
        while lane is not None:  # as many lanes at a time as one straight line can join
            line, (low, high) = [lane], room[lane]
            while (lane := _next_lane(line[-1])) is not None:
                low_, high_ = max(low, room[lane][0]), min(high, room[lane][1])
                if low_ > high_:
                    break
                line.append(lane)
                low, high = low_, high_
            x = min(max(fmean(item.x for item in line), low), high)
            for item in line:
                item.x = x


def _next_lane(lane: _Item) -> _Item | None:
    return next((reader for reader in lane.readers if reader.kind == "lane"), None)


def _apart(left: _Item, right: _Item) -> float:
    """Return the least distance between the middles of two neighbours in a row."""
    return (left.width + right.width) / 2 + BLOCK_GAP


def _wish(item: _Item) -> float:
    """Return where a thing would stand alone: in the middle of its wires; lanes weigh more, to be straight."""
    wishes = []
    for port, source in zip(item.ports(), _sort_reads(item), strict=True) if item.reads else ():
        wishes += [source.x - port] * (4 if "lane" == item.kind == source.kind else 1)
    for reader in set(item.readers):
        for port, source in zip(reader.ports(), _sort_reads(reader), strict=True):
            if source is item:
                wishes += [reader.x + port] * (4 if "lane" == item.kind == reader.kind else 1)
    return fmean(wishes) if wishes else item.x


def _sort_reads(item: _Item) -> list[_Item]:
    """Return what a thing reads, from left to right, as its ports are."""
    return sorted(item.reads, key=lambda source: source.x)


def _pack(row: list[_Item], wishes: Sequence[float]) -> None:
    """Place a row as close to its wishes as gaps allow, in the sense of least squares (pool adjacent violators)."""
    shifts = [0.0]
    for left, right in itertools.pairwise(row):
        shifts.append(shifts[-1] + _apart(left, right))
    pools: list[tuple[float, int]] = []
    for wish, shift in zip(wishes, shifts, strict=True):
        mean, size = wish - shift, 1
        while pools and pools[-1][0] >= mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    means = [mean for mean, size in pools for _ in range(size)]
    for item, mean, shift in zip(row, means, shifts, strict=True):
        item.x = mean + shift


def _assemble(cell: Cell, rows: list[list[_Item]]) -> Layout:
    """Stack the rows, with more room between them where wires run far to the side, and collect boxes and wires."""
    boxes: list[Box] = []
    wires: list[Wire] = []
    out: dict[_Item, Point] = {}
    live = cell.live_states()
    y = MARGIN
    for row in rows:
        wired = [(item, port, source) for item in row for port, source in _list_wires(item)]
        if wired:
            reach = max(abs(item.x + port - source.x) for item, port, source in wired)
            y += min(0.28 + 0.12 * reach, 0.8)
        tall = max(_height(item, cell) for item in row)
        for item, port, source in wired:
            start, end = out[source], (item.x + port, y)
            wires.append(Wire(source.state, (start, end), arrow=item.kind != "lane"))
        for item in row:
            top = y + tall
            if item.kind == "lane":
                wires.append(Wire(item.state, ((item.x, y), (item.x, top)), arrow=False))
            else:
                parts, joints = _parts(item, cell, y)
                boxes += (
                    parts if item.state in live or item.kind == "output" else [replace(p, idle=True) for p in parts]
                )
                wires += joints
            out[item] = (item.x, top)
        y += tall
    right = max(box.x + box.width / 2 for box in boxes)
    right = max(right, *(x for wire in wires for x, _ in wire.points))
    return Layout(tuple(boxes), tuple(wires), right + MARGIN, y + MARGIN)


def _list_wires(item: _Item) -> list[tuple[float, _Item]]:
    """Return port and source of each wire into a thing."""
    return list(zip(item.ports(), _sort_reads(item), strict=True)) if item.reads else []


def _height(item: _Item, cell: Cell) -> float:
    if item.kind == "block":
        return OP_HEIGHT + COMBINE_RISE + COMBINE_HEIGHT
    if item.kind == "output":
        return COMBINE_HEIGHT + COMBINE_RISE + INPUT_HEIGHT if len(cell.output) > 1 else INPUT_HEIGHT
    return INPUT_HEIGHT if item.kind == "input" else 0.0


def _parts(item: _Item, cell: Cell, y: float) -> tuple[list[Box], list[Wire]]:
    """Return the boxes of a thing whose lower edge is at y, and the wires between them."""
    if item.kind == "input":
        text = ("$h_i$", "$h_{i-1}$")[item.state]
        box = Box(
            "input", str(item.state), item.state, (text,), item.x, y + INPUT_HEIGHT / 2, INPUT_WIDTH, INPUT_HEIGHT
        )
        return [box], []
    if item.kind == "output":
        return _output(item, cell, y)
    block = cell.blocks[item.state - INPUTS]
    middle = y + OP_HEIGHT + COMBINE_RISE + COMBINE_HEIGHT / 2
    text = combine_text(block.combine)
    width = min(max(COMBINE_WIDTH, 0.14 + _LETTER * len(text)), item.width)
    combine = Box("combine", block.combine, item.state, (text,), item.x, middle, width, COMBINE_HEIGHT)
    boxes, wires = [combine], []
    # The side of an operation means nothing; it stands on that of its source, so that its wire need not cross.
    below = [source.state for source in _sort_reads(item)]
    edges = sorted(enumerate(block.edges), key=lambda numbered: below.index(numbered[1].source))
    for port, (number, edge) in zip(item.ports(), edges, strict=True):
        x, middle = item.x + port, y + OP_HEIGHT / 2
        boxes.append(Box("op", edge.op, item.state, op_text(edge.op), x, middle, OP_WIDTH, OP_HEIGHT, number))
        foot = item.x + port * 0.35  # the two enter the box apart from each other
        wires.append(Wire(item.state, ((x, y + OP_HEIGHT), (foot, y + OP_HEIGHT + COMBINE_RISE))))
    return boxes, wires


def _output(item: _Item, cell: Cell, y: float) -> tuple[list[Box], list[Wire]]:
    """Return the boxes at the top: a concatenation, where there is more than one state to output, and h_{i+1}."""
    boxes, wires = [], []
    if len(cell.output) > 1:
        middle = y + COMBINE_HEIGHT / 2
        boxes.append(Box("concat", "concat", -1, ("concat",), item.x, middle, item.width, COMBINE_HEIGHT))
        y += COMBINE_HEIGHT + COMBINE_RISE
        wires.append(Wire(item.state, ((item.x, y - COMBINE_RISE), (item.x, y))))
    text = ("$h_{i+1}$",)
    boxes.append(Box("output", "output", -1, text, item.x, y + INPUT_HEIGHT / 2, INPUT_WIDTH, INPUT_HEIGHT))
    return boxes, wires
