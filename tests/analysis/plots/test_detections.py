"""An image with detections: every box is drawn, and labels cover no other label."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from analysis.palette import class_colours, ink_on
from analysis.plots.detections import LARGEST, SMALLEST, draw_detections

PICTURE = np.full((60, 80, 3), 128, dtype=np.uint8)
CLASSES = ["cat", "$dog$"]


def test_labels_stand_in_the_picture_and_apart() -> None:
    boxes = [(x, y, x + 30.0, y + 25.0) for x in (0, 18, 50) for y in (0, 20, 35)]
    figure = draw_detections(PICTURE, boxes, [0, 1, 0] * 3, [0.9 - 0.1 * row for row in range(9)], CLASSES)
    figure.canvas.draw()
    (ax,) = figure.axes
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert sorted(frame.get_bbox().bounds for frame in frames) == sorted((x, y, 30, 25) for x, y, *_ in boxes)
    assert [text.get_text() for text in ax.texts][:2] == ["cat 0.90", "$dog$ 0.80"]
    grounds = [text.get_bbox_patch().get_window_extent() for text in ax.texts]  # type: ignore[union-attr]
    assert len(grounds) == 9
    width, height = figure.get_size_inches() * figure.dpi
    for index, ground in enumerate(grounds):
        assert -1 < ground.x0 < ground.x1 < width + 1
        assert -1 < ground.y0 < ground.y1 < height + 1
        for other in grounds[index + 1 :]:
            wide = min(ground.x1, other.x1) - max(ground.x0, other.x0)
            high = min(ground.y1, other.y1) - max(ground.y0, other.y0)
            assert min(wide, high) < 1, "a pixel is lost in rounding"


def test_a_crowd_has_all_boxes_and_the_labels_of_the_likeliest() -> None:
    figure = draw_detections(PICTURE, [(30, 30, 34, 34)] * 50, [0] * 50, [0.5] * 50, CLASSES)
    assert len(figure.axes[0].patches) == 50
    assert 4 <= len(figure.axes[0].texts) < 30


@pytest.mark.parametrize(("size", "longer"), [((64, 64), SMALLEST), ((1200, 900), 1200), ((3000, 20), LARGEST)])
def test_small_pictures_are_enlarged_and_large_ones_made_smaller(size: tuple[int, int], longer: int) -> None:
    figure = draw_detections(np.zeros((*size, 3), dtype=np.uint8), [], [], [], CLASSES, truth=[(1, 1, 9, 9)])
    assert max(figure.get_size_inches()) * 200 == pytest.approx(longer)
    (frame,) = figure.axes[0].patches
    assert frame.get_linestyle() != "-"


def test_counts_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="1 boxes need as many labels and scores, not 0 and 1"):
        draw_detections(PICTURE, [(0, 0, 1, 1)], [], [0.5], CLASSES)


def test_colours_of_classes_differ_and_carry_text() -> None:
    colours = class_colours(30)
    assert len(set(colours)) == 30
    assert class_colours(3) == colours[:3]
    assert ink_on("#ffffff") != ink_on("#000000")
    assert ink_on("#0072b2") == "#ffffff"
