import numpy as np
import pytest
import torch

from evo_nas.data.boxes.letterbox import fit_sizes
from evo_nas.data.boxes.value import BoxedImages, Targets


@pytest.fixture
def targets() -> Targets:
    """Two boxes of image 0, none of image 1, three of image 2."""
    return Targets(
        count=3,
        boxes=torch.arange(20.0).reshape(5, 4),
        labels=torch.tensor([4, 3, 2, 1, 0]),
        ignored=torch.tensor([False, True, False, False, True]),
        owners=torch.tensor([0, 0, 2, 2, 2]),
    )


def test_take_follows_the_images(targets: Targets) -> None:
    taken = targets.take(torch.tensor([2, 1, 0, 2]))
    assert len(taken) == 4
    assert taken.labels.tolist() == [2, 1, 0, 4, 3, 2, 1, 0]
    assert taken.owners.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    assert taken.boxes[3].tolist() == [0, 1, 2, 3]
    assert taken.ignored.tolist() == [False, False, True, False, True, False, False, True]


def test_slices_count_from_zero_again(targets: Targets) -> None:
    assert targets[1:].owners.tolist() == [1, 1, 1]
    assert (len(targets[1:]), len(targets[1:2]), len(targets[1:2].boxes)) == (2, 1, 0)
    with pytest.raises(ValueError, match="steps of 2"):
        targets[::2]


def test_kept_boxes_leave_the_images(targets: Targets) -> None:
    kept = targets.keep(~targets.ignored)
    assert (len(kept), kept.labels.tolist()) == (3, [4, 2, 1])


def test_lengths_that_differ_are_refused(targets: Targets) -> None:
    with pytest.raises(ValueError, match="need m labels"):
        Targets(3, targets.boxes, targets.labels[:2], targets.ignored, targets.owners)


def part() -> BoxedImages:
    """Return two images of 100x50 and 30x60 on a canvas of 20: the first is 20x10, the second 10x20."""
    return BoxedImages(
        pixels=np.full((2, 20, 20, 3), 9, dtype=np.uint8),
        rows=np.arange(2),
        boxes=np.array([[10, 5, 60, 50], [0, 0, 100, 50], [3, 6, 30, 60]], dtype=np.float32),
        labels=np.array([0, 1, 0]),
        ignored=np.zeros(3, dtype=bool),
        areas=np.ones(3, dtype=np.float32),
        starts=np.array([0, 2, 3]),
        sizes=np.array([[100, 50], [30, 60]]),
        fill=(1, 2, 3),
    )


def test_boxes_shrink_with_the_image_and_grow_back() -> None:
    images = part()
    assert images.canvas_boxes.tolist() == [[2, 1, 12, 10], [0, 0, 20, 10], [1, 2, 10, 20]]
    back = images.canvas_boxes * np.tile(images.scales, 2)[images.owners]
    assert np.allclose(back, images.boxes)


def test_tensors_have_the_padding_in_its_colour() -> None:
    images, targets = part().tensors()
    assert images.shape == (2, 3, 20, 20)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert (images[0, :, :10] == 9).all()
    assert images[0, :, 10:].flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3]
    assert images[1, :, :, 10:].flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3]
    assert targets.owners.tolist() == [0, 0, 1]


def test_some_images_bring_their_boxes() -> None:
    images, targets = part().tensors(indices=np.array([1, 0, 1]))
    assert (len(images), len(targets)) == (3, 3)
    assert targets.boxes.tolist() == [[1, 2, 10, 20], [2, 1, 12, 10], [0, 0, 20, 10], [1, 2, 10, 20]]
    assert targets.owners.tolist() == [0, 1, 1, 2]
    assert part().subset(np.array([1])).sizes.tolist() == [[30, 60]]


def test_the_longer_side_is_the_canvas() -> None:
    sizes = np.array([[640, 480], [480, 640], [1000, 1], [7, 7], [3, 2]])
    assert fit_sizes(sizes, 128).tolist() == [[128, 96], [96, 128], [128, 1], [128, 128], [128, 85]]
