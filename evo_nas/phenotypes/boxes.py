"""Boxes: anchors, their coding, their matching with true boxes, and the detections that are kept.

A box is (x1, y1, x2, y2) in pixels of the canvas, from its upper left corner. Anchors stand in the order of the
outputs of a detector: level by level from the finest, row by row, column by column, then scale by scale and aspect by
aspect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

NEGATIVE: Final = -1
"""In a matching: the anchor has no box."""

IGNORED: Final = -2
"""In a matching: the anchor is neither, and takes part in no loss."""

_LARGEST_LOG: Final = math.log(1000 / 16)
"""A side grows at most this much in decoding, so that an untrained network gives finite boxes (Girshick 2018)."""


@dataclass(frozen=True)
class Detections:
    """The boxes found in one image, the best first: ``boxes`` (m, 4), ``labels`` (m,), ``scores`` (m,) in [0, 1]."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


def make_anchors(
    canvas: int, strides: Sequence[int], *, scale: float = 2.0, scales: int = 3, aspects: Sequence[float] = (1.0,)
) -> Tensor:
    """Return all anchors of a square canvas, (A, 4), centred on the cells of each level.

    The smallest has sides of ``scale`` times the stride, ``scales`` of them share an octave; ``aspects`` are heights
    over widths at the same area (Lin et al. 2017, RetinaNet, section 4: scale 4, 3 scales, aspects 1, 2, 1/2).
    """
    levels = []
    for stride in strides:
        sizes = [
            (side / math.sqrt(aspect), side * math.sqrt(aspect))
            for side in (scale * stride * 2 ** (octave / scales) for octave in range(scales))
            for aspect in aspects
        ]
        half = torch.tensor(sizes) / 2  # (a, 2): width and height
        centres = (torch.arange(canvas // stride) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        points = torch.stack([x, y], -1).reshape(-1, 1, 2)
        levels.append(torch.cat([points - half, points + half], -1).reshape(-1, 4))
    return torch.cat(levels)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return what a detector should predict for boxes at anchors, both (..., 4): (dx, dy, log dw, log dh).

    Distances of the centres in sides of the anchor, and logarithms of the sides' ratios (Girshick et al. 2014, appendix
    C). Boxes have positive sides.
    """
    centres, sides = _split(boxes)
    anchor_centres, anchor_sides = _split(anchors)
    return torch.cat([(centres - anchor_centres) / anchor_sides, torch.log(sides / anchor_sides)], -1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes that a detector means, (..., 4), as :func:`encode_boxes` coded them.

    The sides are at most 62.5 times those of the anchors.
    """
    anchor_centres, anchor_sides = _split(anchors)
    centres = anchor_centres + deltas[..., :2] * anchor_sides
    half = anchor_sides * torch.exp(deltas[..., 2:].clamp(max=_LARGEST_LOG)) / 2
    return torch.cat([centres - half, centres + half], -1)


def match_anchors(
    anchors: Tensor,
    boxes: Tensor,
    *,
    is_box: Tensor | None = None,
    positive: float = 0.5,
    negative: float = 0.4,
    keeps_every_box: bool = True,
) -> Tensor:
    """Return for each anchor the index of its box, or :data:`NEGATIVE`, or :data:`IGNORED`; int64.

    ``boxes`` are those of one image, (m, 4), for a matching of shape (A,); or those of a batch, (n, m, 4), with
    ``is_box``, (n, m), false where a row is no box but only fills up, for a matching of shape (n, A).

    An anchor takes the box that it overlaps most (of equal ones the first), from an IoU of ``positive``; below
    ``negative`` it has none; between them it is ignored. With ``keeps_every_box``, the anchors that overlap a box most
    take their own box at any IoU above 0, so that boxes too small for every anchor are learnt too (Ren et al. 2015,
    section 3.1.2).
    """
    if boxes.dim() == 2:
        return match_anchors(
            anchors,
            boxes[None],
            is_box=None if is_box is None else is_box[None],
            positive=positive,
            negative=negative,
            keeps_every_box=keeps_every_box,
        )[0]
    count, most = boxes.shape[:2]
    if most == 0:
        return torch.full((count, len(anchors)), NEGATIVE, device=anchors.device)
    overlap = box_iou(boxes.reshape(-1, 4), anchors).reshape(count, most, -1)  # (n, m, A)
    if is_box is not None:
        overlap = overlap.masked_fill(~is_box[..., None], -1.0)
    best, index = _first_maximum(overlap)
    matching = torch.where(best < negative, torch.full_like(index, NEGATIVE), torch.full_like(index, IGNORED))
    is_positive = best >= positive
    if keeps_every_box:
        highest = overlap.amax(2, keepdim=True)  # of each box, (n, m, 1)
        is_positive |= ((overlap == highest) & (overlap > 0)).any(1)
    return torch.where(is_positive, index, matching)


def select_detections(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    canvas: int,
    *,
    score: float = 0.05,
    before: int = 5000,
    overlap: float = 0.5,
    most: int = 100,
) -> list[Detections]:
    """Return the detections of each image from the outputs of a detector, (n, A, K) and (n, A, 4).

    Of the scores above ``score`` the best ``before`` are decoded and clipped to the canvas; of boxes of one class with
    an IoU above ``overlap`` the best is kept; ``most`` are left. Equal scores stand in the order of anchors, then of
    classes, so that the answer depends on no sorting algorithm.
    """
    found, anchors = [], anchors.float()
    classes = logits.shape[-1]
    for one, moved in zip(logits.detach().float().sigmoid(), deltas.detach().float(), strict=True):
        flat = one.flatten()
        kept = torch.nonzero(flat > score).flatten()
        order = torch.argsort(flat[kept], descending=True, stable=True)[:before]
        kept = kept[order]
        anchor, labels, scores = kept // classes, kept % classes, flat[kept]
        boxes = decode_boxes(moved[anchor], anchors[anchor])
        boxes = clip_boxes_to_image(boxes, (canvas, canvas))
        # The survivors come back by score; by index they are by score too, and ties in their order.
        left = batched_nms(boxes, scores, labels, overlap).sort().values[:most]
        found.append(Detections(boxes[left], labels[left], scores[left]))
    return found


def _split(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres and the sides of boxes, each (..., 2): x and y."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sides / 2, sides


def _first_maximum(overlap: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest overlap of each anchor, and the first box that has it; of (n, m, A), both (n, A)."""
    best, count = overlap.amax(1), overlap.shape[1]
    # max() promises no order of ties; and the least of small floats is found in a third of the time of integers.
    rows = torch.arange(count, dtype=torch.float32, device=overlap.device)[:, None]
    return best, torch.where(overlap == best[:, None], rows, float(count)).amin(1).long()
