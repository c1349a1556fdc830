"""A grid of images with their classes."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.plots.predictions import draw_predictions


@pytest.mark.parametrize("count", [1, 5, 17])
def test_every_image_has_its_place_in_the_picture(count: int) -> None:
    pictures = [np.full((8 + index, 12, 3), index, dtype=np.uint8) for index in range(count)]
    figure = draw_predictions(
        pictures, [["cat: 90 %", "$dog: 4 %"]] * count, [f"{index}.png" for index in range(count)]
    )
    boxes = [ax.get_position() for ax in figure.axes]
    assert len(boxes) == count
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
    figure.canvas.draw()


def test_counts_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="as many of each"):
        draw_predictions([], [], [])
