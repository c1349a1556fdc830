import itertools

import numpy as np
import pytest

from analysis.layout import Box, Layout, Wire, combine_text, lay_out, op_text
from genotypes.cell import Block, Cell, Edge
from genotypes.nasnet import NASNetSpace
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.zoo import CELLS

CELLS_DRAWN = 600  # of 300 genotypes


def sampled(space: NASNetSpace, genotypes: int) -> list[Cell]:
    rng = np.random.default_rng(0)
    pairs = [space.decode(space.sample(rng)) for _ in range(genotypes)]
    return [cell for pair in pairs for cell in (pair.normal, pair.reduction)]


@pytest.fixture(scope="module")
def layouts() -> list[tuple[Cell, Layout]]:
    published = [cell for pair in CELLS.values() for cell in (pair.normal, pair.reduction)]
    everything = NASNetSpace(ops=tuple(OPERATIONS), combines=tuple(COMBINES))
    cells = [*published, *sampled(everything, CELLS_DRAWN // 2), *sampled(NASNetSpace(blocks=9), 10)]
    return [(cell, lay_out(cell)) for cell in cells]


def edges(box: Box) -> tuple[float, float, float, float]:
    return (
        box.x - box.width / 2,
        box.x + box.width / 2,
        box.y - box.height / 2,
        box.y + box.height / 2,
    )


def overlap(one: Box, other: Box, gap: float = 0.05) -> bool:
    left, right, bottom, top = edges(one)
    left_, right_, bottom_, top_ = edges(other)
    return left < right_ + gap and left_ < right + gap and bottom < top_ + gap and bottom_ < top + gap


def along(wire: Wire) -> list[tuple[float, float]]:
    """Points of the curve that is drawn: a cubic that leaves and arrives upright."""
    points = []
    for (x0, y0), (x1, y1) in itertools.pairwise(wire.points):
        for t in np.linspace(0.02, 0.98, 25):
            middle = (y0 + y1) / 2
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            x = weights[0] * x0 + weights[1] * x0 + weights[2] * x1 + weights[3] * x1
            y = weights[0] * y0 + weights[1] * middle + weights[2] * middle + weights[3] * y1
            points.append((float(x), float(y)))
    return points


def test_boxes_of_any_cell_keep_apart(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell, layout in layouts:
        for one, other in itertools.combinations(layout.boxes, 2):
            assert not overlap(one, other), f"{one} and {other} in\n{cell}"


def test_no_wire_runs_behind_a_box(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell, layout in layouts:
        boxes = np.array([edges(box) for box in layout.boxes])
        points = np.array([point for wire in layout.wires for point in along(wire)])
        x, y = points[:, :1], points[:, 1:]
        boxes += np.array([1, -1, 1, -1]) * 1e-9  # wires end on the edge of a box
        inside = (boxes[:, 0] < x) & (x < boxes[:, 1]) & (boxes[:, 2] < y) & (y < boxes[:, 3])
        assert not inside.any(), f"a wire crosses a box in\n{cell}"


def test_everything_lies_within_the_area(layouts: list[tuple[Cell, Layout]]) -> None:
    for _, layout in layouts:
        for left, right, bottom, top in map(edges, layout.boxes):
            assert left >= 0
            assert right <= layout.width
            assert bottom >= 0
            assert top <= layout.height
        for wire in layout.wires:
            assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in wire.points)


def test_every_operation_fits_its_box_by_count_of_characters(layouts: list[tuple[Cell, Layout]]) -> None:
    widest = 0.073  # inches; the mean letter of DejaVu Sans at 8 points takes 0.065
    for _, layout in layouts:
        for box in layout.boxes:
            if not box.text[0].startswith("$"):
                assert max(map(len, box.text)) * widest <= box.width
            assert len(box.text) * 0.16 <= box.height


def test_a_layout_has_two_operations_and_a_combination_a_block(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell, layout in layouts:
        drawn = sorted(box.name for box in layout.boxes if box.kind == "op")
        assert drawn == sorted(edge.op for block in cell.blocks for edge in block.edges)
        assert sorted(box.name for box in layout.boxes if box.kind == "combine") == sorted(
            block.combine for block in cell.blocks
        )


def follow(layout: Layout, box: Box) -> set[int]:
    """States whose wires end at the lower edge of a box."""
    left, right, bottom, _ = edges(box)
    ends = [(wire.state, *wire.points[-1]) for wire in layout.wires if wire.arrow]
    return {state for state, x, y in ends if left <= x <= right and abs(y - bottom) < 1e-9}


def test_wires_join_what_the_cell_joins(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell, layout in layouts:
        drawn = sorted((box.name, *follow(layout, box)) for box in layout.boxes if box.kind == "op")
        assert drawn == sorted((edge.op, edge.source) for block in cell.blocks for edge in block.edges)
        (top,) = [box for box in layout.boxes if box.kind == ("concat" if len(cell.output) > 1 else "output")]
        assert follow(layout, top) == set(cell.output)


def test_inputs_stand_at_the_bottom_with_the_earlier_on_the_left(layouts: list[tuple[Cell, Layout]]) -> None:
    for _, layout in layouts:
        before, last = sorted((box for box in layout.boxes if box.kind == "input"), key=lambda box: box.x)
        assert (before.name, last.name) == ("1", "0")
        assert before.y == last.y == min(box.y for box in layout.boxes)


def test_a_simple_cell_is_drawn_without_a_crossing() -> None:
    # Blocks in an order that would cross if it were kept: the second reads h_{i-1}, which stands on the left.
    cell = Cell.unused(
        [
            Block(Edge(0, "identity"), Edge(0, "identity")),
            Block(Edge(1, "conv_1x1"), Edge(1, "conv_1x1")),
        ]
    )
    x = {box.name: box.x for box in lay_out(cell).boxes if box.kind == "op"}
    assert x["conv_1x1"] < x["identity"]


def test_the_same_cell_gets_the_same_layout() -> None:
    cell = sampled(NASNetSpace(), 1)[0]
    assert lay_out(cell) == lay_out(cell)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("sep_conv_3x3", ("sep conv", "3×3")),
        ("conv_1x7_7x1", ("conv", "1×7–7×1")),
        ("identity", ("identity",)),
        ("dil_conv_3x3", ("dil conv", "3×3")),
        ("dil_sep_conv_3x3", ("dil sep", "3×3")),
        ("skip_connect", ("skip", "connect")),
    ],
)
def test_operations_are_spelled_as_in_the_papers(op: str, text: tuple[str, ...]) -> None:
    assert op_text(op) == text


def test_no_two_operations_look_the_same() -> None:
    assert len({op_text(op) for op in OPERATIONS}) == len(OPERATIONS)


def test_norms_of_a_sum_are_spelled_by_their_initials() -> None:
    assert [combine_text(combine) for combine in COMBINES] == ["add", "concat", "add + LN", "add + IN"]
