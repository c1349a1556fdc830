"""Boxes follow the pixels: a rectangle is painted, the image transformed, and the rectangle found again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evo_nas.data.boxes.augment import SEEN, flip_with_boxes, scale_and_crop
from evo_nas.data.boxes.value import Targets

SIDE = 24
few = settings(max_examples=30, deadline=None)


def paint(boxes: list[tuple[int, int, int, int]]) -> tuple[Tensor, Targets]:
    """Return an image for each box, 1 inside of it and 0 outside."""
    images = torch.zeros(len(boxes), 1, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    for image, (x1, y1, x2, y2) in zip(images, boxes, strict=True):
        image[:, y1:y2, x1:x2] = 1
    n = len(boxes)
    targets = Targets(
        count=n,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(n),
        ignored=torch.zeros(n, dtype=torch.bool),
        owners=torch.arange(n),
    )
    return images, targets


def find(image: Tensor) -> list[int]:
    """Return the box of what is painted in an image of shape (1, h, w)."""
    rows, columns = torch.nonzero(image[0] > 0.5, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x1, y1 = draw(st.integers(0, SIDE - 6)), draw(st.integers(0, SIDE - 6))
    return x1, y1, draw(st.integers(x1 + 5, SIDE)), draw(st.integers(y1 + 5, SIDE))


batches = st.lists(rectangles(), min_size=1, max_size=6)


@few
@given(batches, st.integers(0, 2**31))
def test_flipped_boxes_are_where_the_pixels_are(boxes: list[tuple[int, int, int, int]], seed: int) -> None:
    images, targets = paint(boxes)
    flipped, after = flip_with_boxes(images, targets, torch.Generator().manual_seed(seed))
    assert [find(image) for image in flipped] == after.boxes.int().tolist()
    assert after.labels.tolist() == targets.labels.tolist()
    assert flipped.is_contiguous(memory_format=torch.channels_last)


@few
@given(batches, st.integers(0, 2**31), st.floats(0.5, 1), st.floats(1, 2))
def test_scaled_boxes_are_where_the_pixels_are(
    boxes: list[tuple[int, int, int, int]], seed: int, low: float, high: float
) -> None:
    images, targets = paint(boxes)
    moved, after = scale_and_crop(images, targets, torch.Generator().manual_seed(seed), (low, high))
    assert moved.shape == images.shape
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert (after.boxes >= 0).all()
    assert (after.boxes <= SIDE).all()
    assert after.owners.tolist() == after.labels.tolist()
    for owner, box in zip(after.owners.tolist(), after.boxes, strict=True):
        if (box[2:] - box[:2]).min() >= 2:
            # A pixel is painted if its centre is inside: half a pixel off at most.
            assert torch.tensor(find(moved[owner])).sub(box).abs().max() <= 0.51
    for owner in set(range(len(boxes))) - set(after.owners.tolist()):
        assert (moved[owner] > 0.5).sum() <= 2 * SIDE  # less than a pixel a side is left


def test_every_image_draws_for_itself() -> None:
    images, targets = paint([(2, 3, 9, 20)] * 40)
    flipped, after = flip_with_boxes(images, targets, torch.Generator().manual_seed(0))
    assert len({tuple(box) for box in after.boxes.tolist()}) == 2
    _, after = scale_and_crop(images, targets, torch.Generator().manual_seed(0))
    assert len({tuple(box) for box in after.boxes.tolist()}) == 40
    assert images.equal(paint([(2, 3, 9, 20)] * 40)[0])  # nothing is changed in place
    assert not flipped.equal(images)


def test_the_same_seed_gives_the_same() -> None:
    images, targets = paint([(2, 3, 9, 20)] * 4)
    one, other = (scale_and_crop(images, targets, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one[0].equal(other[0])
    assert one[1].boxes.equal(other[1].boxes)


def test_what_is_hardly_seen_is_ignored_and_what_is_gone_is_dropped() -> None:
    images, targets = paint([(0, 0, 8, 8)] * 200)
    _, after = scale_and_crop(images, targets, torch.Generator().manual_seed(0), (3.0, 3.0))
    assert len(after.boxes) < 200
    assert len(after) == 200
    shares = (after.boxes[:, 2:] - after.boxes[:, :2]).prod(dim=1) / 24**2
    assert after.ignored.equal(shares < SEEN)
    assert after.ignored.any()
    assert not after.ignored.all()


def test_the_surroundings_are_filled() -> None:
    images, targets = paint([(0, 0, SIDE, SIDE)] * 3)
    moved, _ = scale_and_crop(images, targets, torch.Generator().manual_seed(0), (0.5, 0.5), fill=-7.0)
    assert (moved == -7).float().mean() > 0.5
    assert moved.max() == 1


def test_a_scale_of_one_changes_nothing() -> None:
    images, targets = paint([(2, 3, 9, 20)])
    images = torch.rand_like(images)
    moved, after = scale_and_crop(images, targets, torch.Generator().manual_seed(0), (1.0, 1.0))
    assert torch.allclose(moved, images, atol=1e-5)
    assert after.boxes.equal(targets.boxes)


def test_images_without_boxes_stay() -> None:
    images = torch.rand(3, 3, 8, 8)
    empty = Targets(3, torch.empty(0, 4), torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.bool),
                    torch.empty(0, dtype=torch.long))  # fmt: skip
    for transform in (flip_with_boxes, scale_and_crop):
        moved, after = transform(images, empty, torch.Generator().manual_seed(0))
        assert moved.shape == images.shape
        assert (len(after), len(after.boxes)) == (3, 0)


@pytest.mark.parametrize("scales", [(0.0, 1.0), (1.2, 0.8), (-1.0, 1.0)])
def test_scales_out_of_range_are_refused(scales: tuple[float, float]) -> None:
    images, targets = paint([(2, 3, 9, 20)])
    with pytest.raises(ValueError, match="positive and ascending"):
        scale_and_crop(images, targets, torch.Generator(), scales)


def test_misuse_is_refused() -> None:
    images, targets = paint([(2, 3, 9, 20)])
    with pytest.raises(ValueError, match="2 images need targets of as many"):
        flip_with_boxes(images.repeat(2, 1, 1, 1), targets, torch.Generator())
    with pytest.raises(ValueError, match="normalised"):
        scale_and_crop(images.byte(), targets, torch.Generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_seed_gives_the_same_on_the_gpu() -> None:
    images, targets = paint([(2, 3, 9, 20)] * 4)
    here, boxes = scale_and_crop(images, targets, torch.Generator().manual_seed(3))
    there, others = scale_and_crop(images.cuda(), targets.to("cuda"), torch.Generator().manual_seed(3))
    assert torch.allclose(here, there.cpu(), atol=1e-4)
    assert torch.allclose(boxes.boxes, others.boxes.cpu(), atol=1e-4)


def test_half_precision_follows_too() -> None:
    images, targets = paint([(2, 3, 9, 20)])
    moved, _ = scale_and_crop(images.bfloat16(), targets, torch.Generator().manual_seed(0))
    assert moved.dtype == torch.bfloat16
