import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from analysis.cells.drawing import CellColumn, columns_figure, draw_cell, pair_figure, read_cells
from analysis.cells.layout import lay_out
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.spaces.nasnet import NASNetSpace
from genotypes.zoo import NASNET_A

SPACE = NASNetSpace()
RANDOM = SPACE.decode(SPACE.sample(np.random.default_rng(3)))


def letters_of(figure: Figure) -> list[PathPatch]:
    return [patch for ax in figure.axes for patch in ax.patches if isinstance(patch, PathPatch)]


@pytest.mark.parametrize("pair", [NASNET_A, RANDOM], ids=["nasnet-a", "random"])
def test_text_as_drawn_lies_within_its_box(pair: CellPair) -> None:
    figure = pair_figure(pair)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for ax, cell in zip(figure.axes, (pair.normal, pair.reduction), strict=True):
        layout = lay_out(cell)
        patches = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
        homes = [box for box in layout.boxes for _ in box.text]
        assert len(patches) == len(homes)
        for patch, box in zip(patches, homes, strict=True):
            extent = patch.get_window_extent(renderer).transformed(ax.transData.inverted())
            assert box.x - box.width / 2 < extent.x0 < extent.x1 < box.x + box.width / 2
            assert box.y - box.height / 2 < extent.y0 < extent.y1 < box.y + box.height / 2


def test_a_long_name_is_drawn_smaller_rather_than_beyond_its_box() -> None:
    ax = Figure().add_subplot()
    op = "a_very_long_operation_of_a_plug_in_space"
    draw_cell(Cell.join_leaves([Block(Edge(0, op), Edge(1, "identity"))]), ax)
    box = next(
        box for box in lay_out(Cell.join_leaves([Block(Edge(0, op), Edge(1, "identity"))])).boxes if box.name == op
    )
    widths = [patch.get_path().get_extents().width for patch in ax.patches if isinstance(patch, PathPatch)]
    assert max(widths) <= box.width


def test_no_line_of_text_and_no_patch_is_cut_off() -> None:
    figure = columns_figure(
        [CellColumn("evolution", "93.21 % in trial 7\n3 runs", NASNET_A), CellColumn("random", "91 %", RANDOM)],
        "a footer",
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    artists = [*figure.texts, *(child for ax in figure.axes for child in (*ax.patches, *ax.texts))]
    for artist in artists:
        extent = artist.get_window_extent(renderer)
        assert extent.x0 >= 0
        assert extent.y0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y1 <= figure.bbox.y1


def test_texts_of_a_comparison_keep_apart() -> None:
    head = "93.21 % in trial 1,234,567 of a-run-of-24-characters..\n10 runs: 93.21 % ± 0.12 %"
    figure = columns_figure([CellColumn(name, head, RANDOM) for name in ("evolution", "random", "reinforcement")], "a")
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    boxes = [text.get_window_extent(renderer) for text in texts]
    boxes += [ax.get_window_extent(renderer) for ax in figure.axes]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_all_cells_of_a_comparison_have_one_scale() -> None:
    figure = columns_figure([CellColumn("a", "", NASNET_A), CellColumn("b", "", RANDOM)])
    scales = [ax.get_window_extent().width / np.ptp(ax.get_xlim()) for ax in figure.axes]
    assert scales == pytest.approx([scales[0]] * 4)


def test_a_cell_is_drawn_into_axes_that_are_given_and_handed_back() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    cells = (NASNET_A.normal, NASNET_A.reduction)
    assert [draw_cell(cell, ax, title="cell") for cell, ax in zip(cells, axes, strict=True)] == list(axes)
    assert [ax.texts[0].get_text() for ax in axes] == ["cell", "cell"]
    assert len(letters_of(figure)) == sum(
        len(box.text) for cell in (NASNET_A.normal, NASNET_A.reduction) for box in lay_out(cell).boxes
    )


def test_a_pair_reads_back_from_the_text_of_a_history() -> None:
    assert read_cells(json.dumps(NASNET_A.to_json())) == NASNET_A


@pytest.mark.parametrize("text", ['{"edge_1": "skip"}', "[]", "null", "3", "no json", '{"normal": {}, "reduction": 1}'])
def test_what_is_no_pair_of_cells_reads_as_none(text: str) -> None:
    assert read_cells(text) is None


def test_a_space_without_cells_gets_a_text_instead_of_a_picture() -> None:
    figure = columns_figure([CellColumn("random", "94 %", "no cells to draw")])
    assert not figure.axes
    assert "no cells to draw" in [text.get_text() for text in figure.texts]
