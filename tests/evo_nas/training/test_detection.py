from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from evo_nas.data.boxes.value import Targets
from evo_nas.errors import DataError
from evo_nas.phenotypes.detector import Detector
from evo_nas.training.boxed import BoxedExamples
from evo_nas.training.detection import Detection
from evo_nas.training.loop import Training, measure
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Diverged

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])


def targets(count: int, *objects: tuple[int, int, tuple[float, float, float, float]], ignored: int = 0) -> Targets:
    """Return objects of (image, label, box), of which the last ``ignored`` are ignored."""
    boxes = torch.tensor([box for _, _, box in objects], dtype=torch.float32).reshape(-1, 4)
    owners, labels = (torch.tensor([item[index] for item in objects], dtype=torch.int64) for index in (0, 1))
    return Targets(count, boxes, labels, torch.arange(len(objects)) >= len(objects) - ignored, owners)


def outputs(count: int = 1, classes: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, len(ANCHORS), classes, generator=generator, dtype=torch.float64)
    return logits.float(), torch.randn(count, len(ANCHORS), 4, generator=generator)


def examples(count: int = 8, side: int = 64) -> BoxedExamples:
    """Return images of noise with a bright square each, whose label is the image's number modulo 2."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 60, (count, 1, side, side), dtype=np.uint8))
    corners = rng.integers(0, side - 16, (count, 2)).tolist()
    objects = []
    for index, (x, y) in enumerate(corners):
        images[index, 0, y : y + 16, x : x + 16] = 255 - 100 * (index % 2)
        objects.append((index, index % 2, (x, y, x + 16, y + 16)))
    return BoxedExamples(images, targets(count, *objects), (0.2,), (0.3,), np.full(count, 256.0), np.ones((count, 2)))


def detector(seed: int = 0, **options: Any) -> Detector:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"classes": 2, "canvas": 64, "channels": 1, "width": 8, "depth": 0}
    return Detector("plain:8+8+8", "none", **{**sizes, **options})


def test_the_loss_of_classes_is_the_focal_loss_over_the_positives() -> None:
    logits, deltas = outputs(2)
    objects = targets(2, (0, 1, (0, 0, 10, 10)), (1, 0, (20, 20, 30, 30)), (1, 1, (40, 40, 50, 50)))
    wanted = torch.zeros(2, 3, 2)
    wanted[0, 0, 1] = wanted[1, 1, 0] = wanted[1, 2, 1] = 1
    of_classes, _ = Detection(alpha=0.3, gamma=1.5).losses(logits, deltas, ANCHORS, objects)
    torch.testing.assert_close(of_classes, sigmoid_focal_loss(logits, wanted, 0.3, 1.5, "sum") / 3)


def test_a_focal_loss_by_hand() -> None:
    # One anchor, one class, a logit of 0: p = 1/2 for a positive, 0.25 * (1/2)^2 * log 2.
    objects = targets(1, (0, 0, (0, 0, 10, 10)))
    of_classes, _ = Detection().losses(torch.zeros(1, 1, 1), torch.zeros(1, 1, 4), ANCHORS[:1], objects)
    assert of_classes.item() == pytest.approx(0.25 * 0.25 * math.log(2))


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({}, 0.2 + math.log(1.2)),
        ({"box_weight": 50.0}, 50 * (0.2 + math.log(1.2))),
        # Below delta a half of the square, above it delta times what is beyond half of delta.
        ({"box_loss": "huber", "huber_delta": 0.19}, 0.19 * (0.2 - 0.095) + math.log(1.2) ** 2 / 2),
    ],
)
def test_the_loss_of_boxes_by_hand(options: dict[str, Any], by_hand: float) -> None:
    # The box is as high as the anchor, 1.2 times as wide, and its centre lies 0.1 sides to the right: predicted are
    # -0.1, 0, 0, 0.
    objects = targets(1, (0, 0, (0, 0, 12, 10)))
    deltas = torch.tensor([[[-0.1, 0.0, 0.0, 0.0]]])
    _, of_boxes = Detection(**options).losses(torch.zeros(1, 1, 1), deltas, ANCHORS[:1], objects)
    assert of_boxes.item() == pytest.approx(by_hand, rel=1e-5)


def test_without_objects_there_are_negatives_alone() -> None:
    logits, deltas = outputs()
    of_classes, of_boxes = Detection().losses(logits, deltas, ANCHORS, targets(1))
    torch.testing.assert_close(of_classes, sigmoid_focal_loss(logits, torch.zeros_like(logits), reduction="sum"))
    assert of_boxes == 0


def test_an_anchor_on_an_ignored_object_takes_no_part_unless_it_is_positive() -> None:
    logits, deltas = outputs()
    crowd = (0, 0, (15.0, 15.0, 60.0, 60.0))
    objects = targets(1, (0, 1, (0, 0, 10, 10)), (0, 0, (40, 40, 50, 50)), crowd, ignored=1)
    of_classes, _ = Detection().losses(logits, deltas, ANCHORS, objects)
    wanted = torch.zeros(1, 3, 2)
    wanted[0, 0, 1] = wanted[0, 2, 0] = 1
    without = [0, 2]
    torch.testing.assert_close(of_classes, sigmoid_focal_loss(logits, wanted, reduction="none")[:, without].sum() / 2)


def test_half_precision_is_brought_to_float32() -> None:
    logits, deltas = (output.to(torch.bfloat16) for output in outputs())
    of_classes, of_boxes = Detection().losses(logits, deltas, ANCHORS, targets(1, (0, 1, (0, 0, 10, 10))))
    assert of_classes.dtype == of_boxes.dtype == torch.float32


def test_a_detector_learns_to_find_squares() -> None:
    data = examples()
    recipe = Recipe(epochs=25, batch_size=4, learning_rate=0.01, weight_decay=0.0, optimizer="adamw", flip=False)
    training = Training(detector(), Detection(), recipe, torch.Generator().manual_seed(0))
    history = list(training.epochs(data, None))
    found = measure(training.task, training.network, data)
    assert history[-1].loss < history[0].loss / 3
    assert found["ap50"] > 0.5
    assert {"ap", "ap50", "ap75", "ap_small", "class_loss", "box_loss"} == set(found)
    assert found["class_loss"] + found["box_loss"] == pytest.approx(sum(e.loss for e in history) / 25, rel=1e-4)
    assert "class_loss" not in measure(training.task, training.network, data)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_is_resumed_exactly(optimizer: str) -> None:
    data = examples()
    recipe = Recipe(epochs=3, batch_size=4, learning_rate=0.01, optimizer=optimizer, warmup=3, scale=0.2)

    def start() -> Training:
        return Training(detector(), Detection(), recipe, torch.Generator().manual_seed(1))

    whole = start()
    curve = [epoch.measures for epoch in whole.epochs(data, data)]
    first = start()
    next(iter(first.epochs(data, data)))
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = start()
    second.restore(state, 1)
    assert [epoch.measures for epoch in second.epochs(data, data)] == curve[1:]
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_batch_cut_into_parts_has_all_boxes() -> None:
    images, boxes = examples().batch(slice(0, 8))
    parts = list(Detection().split((images, boxes), 4))
    assert [len(part[1]) for part in parts] == [2] * 4
    assert torch.cat([part[1].boxes for part in parts]).equal(boxes.boxes)


def test_augmentation_moves_boxes_with_the_pixels() -> None:
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.1, flip=True, scale=0.0)
    for images, boxes in examples().draw_batches(8, recipe, torch.Generator().manual_seed(0)):
        for owner, (x1, y1, x2, y2) in zip(boxes.owners.tolist(), boxes.boxes.int().tolist(), strict=True):
            inside = images[owner, 0, y1:y2, x1:x2]
            assert inside.min() > images[owner, 0].mean()


def test_outputs_that_are_no_numbers_end_it() -> None:
    network = detector()
    nn.init.constant_(network.head.locate.predict.weight, math.nan)
    with pytest.raises(Diverged, match="no finite number"):
        measure(Detection(), network, examples())
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.1)
    with pytest.raises(Diverged, match="the training loss became nan"):
        list(Training(network, Detection(), recipe, torch.Generator()).epochs(examples(), None))


def test_images_without_objects_cannot_be_measured_on() -> None:
    data = examples()
    empty = BoxedExamples(data.images, targets(8), data.mean, data.std, np.empty(0), data.scales)
    with pytest.raises(DataError, match="no image to measure on has an object"):
        measure(Detection(), detector(), empty)


def test_an_unknown_loss_of_boxes_is_refused() -> None:
    with pytest.raises(ValueError, match="box_loss must be one of l1, huber, not 'l3'"):
        Detection(box_loss="l3")


def test_the_learning_rate_rises_over_the_warm_up_and_falls_by_the_cosine() -> None:
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.4, warmup=4)
    rates = [recipe.learning_rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[3] == pytest.approx(0.4, rel=0.01)
    assert rates[50] == pytest.approx(0.2)
    assert rates[99] < 1e-3
