"""Augmentation of batches with boxes: vectorised, on the batch's own device, from an explicit generator.

Images are of shape (n, c, h, w); nothing is changed in place, and the memory format is kept. Every image draws for
itself. Boxes follow the pixels, in pixels from the top left corner with far edges. Random numbers are drawn on the
generator's device, which may be the CPU when the images are elsewhere: the same seed then gives the same on every
machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from evo_nas.data.boxes.value import Targets

SEEN: Final = 0.3
"""Share of a box's area that must be left after a crop; of less a detector is asked nothing: it is ``ignored``."""

_SMALLEST: Final = 1.0
"""Pixels that a box must have a side after a crop, or it is dropped."""


def flip_with_boxes(images: Tensor, targets: Targets, generator: torch.Generator) -> tuple[Tensor, Targets]:
    """Mirror each image left to right with probability 1/2, and its boxes with it.

    Raises:
        ValueError: if the targets are those of another number of images.
    """
    _check(images, targets)
    draws = torch.rand(len(images), generator=generator, device=generator.device)
    flips = draws.to(images.device) < 0.5
    flipped = torch.where(flips[:, None, None, None], images.flip(3), images)
    width = images.shape[3]
    boxes = targets.boxes
    mirrored = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    boxes = torch.where(flips[targets.owners][:, None], mirrored, boxes)
    return _like(flipped, images), replace(targets, boxes=boxes)


def scale_and_crop(
    images: Tensor,
    targets: Targets,
    generator: torch.Generator,
    scales: tuple[float, float] = (0.8, 1.2),
    fill: float = 0.0,
) -> tuple[Tensor, Targets]:
    """Resize each image by a factor drawn from ``scales``, and put it on a canvas of its old size.

    A grown image is cropped, a shrunken one surrounded by ``fill``, at a place drawn uniformly. 0.8 to 1.2 are the
    factors of NAS-FPN (Ghiasi et al. 2019) in mmdetection's configuration. Normalise first: 0 is then the mean colour,
    as the canvas's padding is. Resizing is bilinear.

    A box is cut at the canvas's edge. One of which less than a pixel a side is left is dropped; one of which less than
    ``SEEN`` is left becomes ignored.

    Raises:
        ValueError: if the scales are not positive and ascending, the images are no floats, or the targets are those of
            another number of images.
    """
    low, high = scales
    if not 0 < low <= high:
        raise ValueError(f"scales must be positive and ascending, not {scales}")
    if not images.is_floating_point():
        raise ValueError(f"images must be normalised before they are resized, not {images.dtype}")
    _check(images, targets)
    n, _, height, width = images.shape
    draws = torch.rand((3, n), generator=generator, device=generator.device).to(images.device)
    factors = low + (high - low) * draws[0]
    # Left and top edge of the canvas in the resized image, in its pixels; negative where that is the smaller one.
    lefts, tops = draws[1] * (factors - 1) * width, draws[2] * (factors - 1) * height
    moved = (_resample(images.float() - fill, factors, lefts, tops) + fill).to(images.dtype)
    factor, corners = factors[targets.owners][:, None], torch.stack([lefts, tops], dim=1)[targets.owners]
    whole = targets.boxes * factor - corners.repeat(1, 2)
    limit = torch.tensor([width, height, width, height], dtype=whole.dtype, device=whole.device)
    cut = torch.minimum(whole.clamp(min=0), limit)
    share = _areas(cut) / _areas(whole).clamp(min=1e-9)
    sides = cut[:, 2:] - cut[:, :2]
    # A box that was smaller than a pixel already is kept, if it is whole.
    kept = (sides > 0).all(dim=1) & ((sides >= _SMALLEST).all(dim=1) | (share > 0.99))
    ignored = targets.ignored | (share < SEEN)
    return _like(moved, images), replace(targets, boxes=cut, ignored=ignored).keep(kept)


def _resample(images: Tensor, factors: Tensor, lefts: Tensor, tops: Tensor) -> Tensor:
    """Return the canvases whose corner (0, 0) is pixel (left, top) of the resized images; zeros beyond these."""
    n, _, height, width = images.shape
    matrix = torch.zeros((n, 2, 3), dtype=images.dtype, device=images.device)
    # grid_sample counts from -1 to 1, edge to edge: x on the canvas is (x + left) / factor in the image.
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / factors
    matrix[:, 0, 2] = 1 / factors + 2 * lefts / (factors * width) - 1
    matrix[:, 1, 2] = 1 / factors + 2 * tops / (factors * height) - 1
    grid = torch.nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _areas(boxes: Tensor) -> Tensor:
    """Return the areas of boxes in square pixels, those without extent as 0."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _check(images: Tensor, targets: Targets) -> None:
    if len(images) != len(targets):
        raise ValueError(f"{len(images)} images need targets of as many, not of {len(targets)}")


def _like(images: Tensor, model: Tensor) -> Tensor:
    """Return the images in the memory format of ``model``."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
