"""Boxes: anchors by hand, coding and matching against torchvision's, and detections in an order of their own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from evo_nas.phenotypes.boxes import (
    IGNORED,
    NEGATIVE,
    decode_boxes,
    encode_boxes,
    make_anchors,
    match_anchors,
    select_detections,
)


def random_boxes(count: int, canvas: int = 64) -> Tensor:
    corners = torch.rand(count, 2) * (canvas - 8)
    return torch.cat([corners, corners + 2 + torch.rand(count, 2) * 30], 1)


def test_anchors_stand_on_the_cells_in_the_order_of_the_outputs() -> None:
    anchors = make_anchors(16, [4, 8], scale=2.0, scales=2, aspects=(1.0, 4.0))
    assert anchors.shape == ((16 + 4) * 4, 4)
    assert anchors[0].tolist() == [2 - 4, 2 - 4, 2 + 4, 2 + 4]
    assert anchors[1].tolist() == [2 - 2, 2 - 8, 2 + 2, 2 + 8], "four times as high as wide, of the same area"
    assert (anchors[2, 2] - anchors[2, 0]).item() == pytest.approx(8 * math.sqrt(2))
    assert ((anchors[4, :2] + anchors[4, 2:]) / 2).tolist() == [6, 2], "the next cell is to the right"
    assert ((anchors[64, :2] + anchors[64, 2:]) / 2).tolist() == [4, 4]
    assert (anchors[64, 2] - anchors[64, 0]).item() == 16


def test_coding_is_torchvisions_and_comes_back() -> None:
    torch.manual_seed(0)
    boxes, anchors = random_boxes(50), random_boxes(50)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    codes = encode_boxes(boxes, anchors)
    torch.testing.assert_close(codes, coder.encode_single(boxes, anchors), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decode_boxes(codes, anchors), boxes, rtol=1e-5, atol=1e-4)
    wild = torch.randn(50, 4) * 10
    torch.testing.assert_close(decode_boxes(wild, anchors), coder.decode_single(wild, anchors), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("keeps_every_box", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_matching_is_torchvisions(seed: int, keeps_every_box: bool) -> None:
    torch.manual_seed(seed)
    anchors, boxes = make_anchors(64, [4, 8, 16, 32, 64]), random_boxes(7)
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=keeps_every_box)
    expected = matcher(box_iou(boxes, anchors))
    assert torch.equal(match_anchors(anchors, boxes, keeps_every_box=keeps_every_box), expected)


def test_a_batch_is_matched_as_its_images_are() -> None:
    torch.manual_seed(0)
    anchors, counts = make_anchors(64, [4, 8, 16, 32, 64]), [3, 0, 5]
    boxes, is_box = torch.zeros(3, 5, 4), torch.zeros(3, 5, dtype=torch.bool)
    for index, count in enumerate(counts):
        boxes[index, :count], is_box[index, :count] = random_boxes(count), True
    matching = match_anchors(anchors, boxes, is_box=is_box)
    for index, count in enumerate(counts):
        assert torch.equal(matching[index], match_anchors(anchors, boxes[index, :count]))
    assert (matching[1] == NEGATIVE).all()


def test_a_box_that_overlaps_no_anchor_takes_none() -> None:
    anchors = make_anchors(64, [8])
    matching = match_anchors(anchors, torch.tensor([[900.0, 900.0, 910.0, 910.0]]))
    assert (matching == NEGATIVE).all(), "an IoU of 0 is everyone's highest"


def test_between_the_thresholds_an_anchor_is_ignored_and_of_equal_boxes_the_first_is_taken() -> None:
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.5], [0.0, 0.0, 10.0, 3.0]])
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert match_anchors(anchors, box).tolist() == [0, IGNORED, NEGATIVE]
    assert match_anchors(anchors, box.repeat(3, 1)).tolist() == [0, IGNORED, NEGATIVE]


def test_of_equal_scores_the_first_anchor_and_class_win() -> None:
    anchors = make_anchors(64, [16], scales=1)
    logits = torch.zeros(2, len(anchors), 3)
    deltas = torch.zeros(2, len(anchors), 4)
    one, other = select_detections(logits, deltas, anchors, 64, overlap=0.9, most=7)
    assert one.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert torch.equal(one.boxes[3], anchors[1].clamp(0, 64))
    assert torch.equal(one.boxes, other.boxes)
    assert one.scores.tolist() == [0.5] * 7


def test_of_boxes_that_overlap_the_best_of_each_class_is_kept() -> None:
    anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [1.0, 0.0, 21.0, 20.0], [40.0, 40.0, 60.0, 70.0]])
    logits = torch.tensor([[[2.0, -9.0], [3.0, 1.0], [0.0, -9.0]]])
    (found,) = select_detections(logits, torch.zeros(1, 3, 4), anchors, 64)
    assert found.labels.tolist() == [0, 1, 0]
    assert found.boxes.tolist() == [[1, 0, 21, 20], [1, 0, 21, 20], [40, 40, 60, 64]], "clipped to the canvas"
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    (nothing,) = select_detections(torch.full((1, 3, 2), -9.0), torch.zeros(1, 3, 4), anchors, 64)
    assert nothing.boxes.shape == (0, 4)


def test_no_more_candidates_than_allowed_are_looked_at() -> None:
    anchors = make_anchors(64, [8], scales=1)
    logits = torch.linspace(-2, 2, len(anchors)).reshape(1, -1, 1)
    (found,) = select_detections(logits, torch.zeros(1, len(anchors), 4), anchors, 64, before=3, overlap=0.99)
    assert found.scores.tolist() == pytest.approx(logits.sigmoid().flatten().flip(0)[:3].tolist())
