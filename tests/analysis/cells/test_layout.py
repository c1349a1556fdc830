import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from analysis.cells.drawing import baselines, letters
from analysis.cells.layout import FILLS, Box, Layout, Wire, combine_text, kind_of, lay_out, op_text
from genotypes.catalogue import build_space
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.space import SearchSpace
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import CELLS

Points = np.ndarray[tuple[int, int], np.dtype[np.float64]]

EVERYTHING = NASNetSpace(ops=tuple(OPERATIONS), combines=tuple(COMBINES))
SAMPLES: dict[SearchSpace, int] = {  # 500 pairs of cells, from every space that has some
    EVERYTHING: 200,
    NASNetSpace(): 100,
    build_space("amoebanet"): 75,
    build_space("pnas"): 50,
    build_space("darts"): 65,
    NASNetSpace(blocks=9): 10,
}


def sampled(space: SearchSpace, genotypes: int) -> list[Cell]:
    rng = np.random.default_rng(0)
    pairs = [space.decode(space.sample(rng)) for _ in range(genotypes)]
    assert all(isinstance(pair, CellPair) for pair in pairs)
    return [cell for pair in pairs for cell in (pair.normal, pair.reduction)]


@pytest.fixture(scope="module", params=["a quarter", pytest.param("the rest", marks=pytest.mark.slow)])
def layouts(request: pytest.FixtureRequest) -> list[tuple[Cell, Layout]]:
    cells = [cell for pair in CELLS.values() for cell in (pair.normal, pair.reduction)]
    broken = [(cell, lay_out(cell, abreast)) for cell in cells for abreast in (1, 2, 3)]
    cells += [cell for space, number in SAMPLES.items() for cell in sampled(space, number)]
    # Every fourth with rows of at most two blocks, as narrow pictures have them.
    wanted = [
        (cell, 2 if i % 4 == 3 else None)
        for i, cell in enumerate(cells)
        if (i // 4 % 4 == 0) == (request.param == "a quarter")
    ]
    return broken + [(cell, lay_out(cell, abreast)) for cell, abreast in wanted]


def edges(box: Box) -> tuple[float, float, float, float]:
    return (
        box.x - box.width / 2,
        box.x + box.width / 2,
        box.y - box.height / 2,
        box.y + box.height / 2,
    )


def overlap(one: Box, other: Box, gap: float = 0.049) -> bool:
    left, right, bottom, top = edges(one)
    left_, right_, bottom_, top_ = edges(other)
    return left < right_ + gap and left_ < right + gap and bottom < top_ + gap and bottom_ < top + gap


def along(wires: tuple[Wire, ...]) -> Points:
    """Points of the curves that are drawn, shape (2, n): cubics that leave and arrive upright."""
    ends = np.array([(*one, *two) for wire in wires for one, two in itertools.pairwise(wire.points)])
    x0, y0, x1, y1 = ends.T[:, :, None]
    t = np.linspace(0.02, 0.98, 25)
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    middle = (y0 + y1) / 2
    x = (weights[0] + weights[1]) * x0 + (weights[2] + weights[3]) * x1
    y = weights[0] * y0 + (weights[1] + weights[2]) * middle + weights[3] * y1
    return np.stack([x.ravel(), y.ravel()])


def test_boxes_of_any_cell_keep_apart(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell, layout in layouts:
        for one, other in itertools.combinations(layout.boxes, 2):
            assert not overlap(one, other), f"{one} and {other} in\n{cell}"


def test_no_wire_runs_behind_a_box(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell, layout in layouts:
        boxes = np.array([edges(box) for box in layout.boxes])
        x, y = along(layout.wires)[:, :, None]
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


def test_no_line_of_text_leaves_its_box_or_meets_another(layouts: list[tuple[Cell, Layout]]) -> None:
    # The outlines of the letters themselves, which is what is drawn, and not an estimate of them. They move with their
    # box, so that one box of each size and text stands for all.
    boxes = {(box.text, box.width, box.height): box for _, layout in layouts for box in layout.boxes}
    assert len(boxes) > 25
    for box in boxes.values():
        left, right, bottom, top = edges(box)
        above = top
        for line, y in zip(box.text, baselines(box), strict=True):
            path = letters(line, box, y)
            extent = path.get_extents()
            assert left + 0.03 < extent.x0 < extent.x1 < right - 0.03, f"{line} leaves its box"
            assert bottom + 0.02 < extent.y0 < extent.y1 < above - 0.02, f"{line} meets what is above"
            above = extent.y0
            moved = letters(line, replace(box, x=box.x + 3, y=box.y + 2), y + 2)
            assert moved.vertices == pytest.approx(path.vertices + np.array([3.0, 2.0]))


def test_letters_have_their_full_height_but_for_long_names(layouts: list[tuple[Cell, Layout]]) -> None:
    lines = {(line, box.width): box for _, layout in layouts for box in layout.boxes for line in box.text}
    scale = {line: letters(line, box, 0.0).get_extents().height for (line, _), box in lines.items()}
    full = {line: letters(line, replace(box, width=9.0), 0.0).get_extents().height for (line, _), box in lines.items()}
    small = {line for line in full if scale[line] < 0.99 * full[line]}
    assert all(scale[line] > 0.85 * full[line] for line in small), small
    assert small <= {"identity", "dil conv", "connect"}


def test_rows_are_no_longer_than_they_may_be(layouts: list[tuple[Cell, Layout]]) -> None:
    for cell in sampled(EVERYTHING, 20):
        for abreast in (1, 2, 3):
            heights = Counter(box.y for box in lay_out(cell, abreast).boxes if box.kind == "combine")
            assert max(heights.values()) <= abreast
    wide = CELLS["nasnet-a"].normal
    assert [lay_out(wide, n).width < lay_out(wide).width for n in (1, 2, 3, 4, 5)] == [True] * 4 + [False]


def test_lanes_of_published_cells_are_straight_but_for_a_few() -> None:
    joints = []
    for pair in CELLS.values():
        for cell in (pair.normal, pair.reduction):
            lanes = [wire.points for wire in lay_out(cell).wires if not wire.arrow]
            tops = {upper for lower, upper in lanes if lower[0] == upper[0]}
            joints += [abs(lower[0] - upper[0]) < 1e-6 for lower, upper in lanes if lower in tops]
    assert len(joints) > 30
    assert joints.count(False) <= 2


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
    cell = Cell.join_leaves(
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
        ("sep_conv_3x3", ("sep", "3×3")),
        ("max_pool_5x5", ("max", "5×5")),
        ("conv_1x1", ("conv", "1×1")),
        ("conv_1x7_7x1", ("1×7", "7×1")),
        ("identity", ("identity",)),
        ("dil_conv_3x3", ("dil conv", "3×3")),
        ("dil_sep_conv_3x3", ("dil sep", "3×3")),
        ("skip_connect", ("skip", "connect")),
        ("nor_conv_3x3", ("nor conv", "3×3")),
        ("avg_pool", ("avg pool",)),
    ],
)
def test_operations_are_spelled_as_in_the_papers(op: str, text: tuple[str, ...]) -> None:
    assert op_text(op) == text


def test_no_two_operations_look_the_same() -> None:
    assert len({op_text(op) for op in OPERATIONS}) == len(OPERATIONS)


def test_norms_of_a_sum_are_spelled_by_their_initials() -> None:
    assert [combine_text(combine) for combine in COMBINES] == ["add", "concat", "add + LN", "add + IN"]


def test_every_kind_of_operation_has_a_colour_of_its_own() -> None:
    kinds = {op: kind_of(op) for op in OPERATIONS}
    assert set(kinds.values()) == {"separable convolution", "convolution", "pooling", "identity"}
    assert kinds["dil_sep_conv_5x5"] == "separable convolution"
    assert kinds["dil_conv_3x3"] == kinds["conv_1x7_7x1"] == "convolution"
    assert kind_of("a_plug_in") == "other"
    assert len(set(FILLS.values())) == len(FILLS)


def test_boxes_know_whose_operation_they_are_and_whether_it_reaches_the_output() -> None:
    cell = Cell(
        (Block(Edge(0, "identity"), Edge(0, "conv_1x1")), Block(Edge(0, "conv_3x3"), Edge(0, "conv_1x1"))), (2,)
    )
    boxes = lay_out(cell).boxes
    ops = {(box.state, box.edge): box for box in boxes if box.kind == "op"}
    assert {at: box.name for at, box in ops.items()} == {
        (2, 0): "identity",
        (2, 1): "conv_1x1",
        (3, 0): "conv_3x3",
        (3, 1): "conv_1x1",
    }
    assert {(box.kind, box.state) for box in boxes if box.idle} == {("input", 1), ("op", 3), ("combine", 3)}


def test_an_input_that_nothing_reads_stands_beside_the_other() -> None:
    for source, unread in ((0, 1), (1, 0)):
        cell = Cell.join_leaves([Block(Edge(source, "identity"), Edge(source, "conv_1x1")) for _ in range(4)])
        x = {box.state: box.x for box in lay_out(cell).boxes if box.kind == "input"}
        assert x[1] < x[0]
        assert abs(x[source] - x[unread]) < 1.0
