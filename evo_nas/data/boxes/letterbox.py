"""Letterboxing: a picture of any size on a square canvas, its longer side as long as the canvas's; and its undoing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evo_nas.data.sources.base import pixels

if TYPE_CHECKING:
    from PIL import Image


def fit_sizes(sizes: np.ndarray, canvas: int) -> np.ndarray:
    """Return width and height on the canvas, int64 of shape (n, 2), of pictures of these widths and heights.

    The longer side becomes ``canvas`` pixels, the shorter one keeps the shape up to rounding, and is 1 at least.
    """
    wide = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    longer = wide.max(axis=1, keepdims=True)
    # Halves are rounded up, in integers: the same on every machine.
    fitted: np.ndarray = np.maximum(1, (2 * wide * canvas + longer) // (2 * longer))
    return fitted


def draw_on_canvas(image: Image.Image, canvas: int, channels: int) -> np.ndarray:
    """Return a picture resized into the top left corner of a canvas, uint8 of shape (canvas, canvas, channels).

    What is left at the bottom or the right is 0.
    """
    width, height = fit_sizes(np.array(image.size), canvas)[0].tolist()
    drawn = np.zeros((canvas, canvas, channels), dtype=np.uint8)
    drawn[:height, :width] = pixels(image, (width, height), channels)
    return drawn


def choose_fill(mean: Sequence[float]) -> tuple[int, ...]:
    """Return the grey or colour of the padding, from 0 to 255 per channel: the mean of the images, fractions."""
    return tuple(round(255 * value) for value in mean)


def fill_padding(canvas: np.ndarray, size: tuple[int, int], fill: Sequence[int]) -> None:
    """Colour what a picture of this width and height leaves of a canvas, uint8 of shape (canvas, canvas, channels)."""
    width, height = fit_sizes(np.array(size), len(canvas))[0].tolist()
    canvas[height:] = fill
    canvas[:, width:] = fill


def scale_back(sizes: np.ndarray, canvas: int) -> np.ndarray:
    """Return the original pixels per pixel of the canvas along x and y, float64 of shape (n, 2), for pictures' sizes.

    A box on the canvas times (sx, sy, sx, sy) is the box in the original picture.
    """
    scales: np.ndarray = np.asarray(sizes, dtype=np.int64).reshape(-1, 2) / fit_sizes(sizes, canvas)
    return scales
