from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from evo_nas.errors import UsageError
from evo_nas.training import precision
from evo_nas.training.precision import Found, Truth, measure_precision, require_coco

NOTHING = Found(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))


def truth(count: int, *objects: tuple[int, int, tuple[float, float, float, float]], ignored: int = 0) -> Truth:
    """Return objects of (image, label, box), of which the last ``ignored`` are ignored."""
    boxes = np.array([box for _, _, box in objects], dtype=float).reshape(-1, 4)
    owners, labels = (np.array([item[index] for item in objects], dtype=np.int64) for index in (0, 1))
    flags = np.arange(len(objects)) >= len(objects) - ignored
    return Truth(count, boxes, labels, flags, owners, (boxes[:, 2:] - boxes[:, :2]).prod(1))


def found(*items: tuple[int, float, tuple[float, float, float, float]]) -> Found:
    """Return detections of (label, score, box)."""
    boxes = np.array([box for _, _, box in items], dtype=float).reshape(-1, 4)
    labels = np.array([label for label, _, _ in items], dtype=np.int64)
    return Found(boxes, np.array([score for _, score, _ in items]), labels)


def test_a_curve_is_read_at_101_recalls() -> None:
    # Right, wrong, right: precision 1 up to a recall of 1/2 (51 of 101 recalls), 2/3 from there to 1 (50 of them).
    objects = truth(1, (0, 0, (0, 0, 10, 10)), (0, 0, (20, 20, 30, 30)))
    detections = found((0, 0.9, (0, 0, 10, 10)), (0, 0.8, (50, 50, 60, 60)), (0, 0.7, (20, 20, 30, 30)))
    judged = measure_precision(objects, [detections], classes=1)
    by_hand = (51 + 50 * 2 / 3) / 101
    assert judged.averages == pytest.approx({"ap": by_hand, "ap50": by_hand, "ap75": by_hand, "ap_small": by_hand})
    assert judged.by_class == pytest.approx((by_hand,))
    assert judged.curves.shape == (1, 101)
    assert judged.curves[0, [0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])


def test_a_box_counts_up_to_the_overlap_that_it_has() -> None:
    # An IoU of 0.8: right at 0.5, ..., 0.8, which are 7 of 10 thresholds.
    judged = measure_precision(truth(1, (0, 0, (0, 0, 10, 10))), [found((0, 0.9, (0, 0, 10, 8)))], classes=1)
    assert judged.averages == pytest.approx({"ap": 0.7, "ap50": 1, "ap75": 1, "ap_small": 0.7})


def test_sizes_are_told_apart_and_what_is_not_there_is_left_out() -> None:
    objects = truth(2, (0, 0, (0, 0, 50, 50)), (1, 1, (0, 0, 100, 100)))
    judged = measure_precision(objects, [found((0, 0.9, (0, 0, 50, 50))), NOTHING], classes=3)
    assert judged.averages == pytest.approx({"ap": 0.5, "ap50": 0.5, "ap75": 0.5, "ap_medium": 1, "ap_large": 0})
    assert judged.by_class == (1, 0, None)
    assert (judged.curves[2] == -1).all()


def test_what_lies_on_an_ignored_object_is_neither_right_nor_wrong() -> None:
    objects = truth(1, (0, 0, (0, 0, 10, 10)), (0, 0, (40, 40, 80, 80)), ignored=1)
    on_the_crowd = [(0, 0.99 - index / 100, (40 + index, 40, 50 + index, 50)) for index in range(5)]
    judged = measure_precision(objects, [found(*on_the_crowd, (0, 0.5, (0, 0, 10, 10)))], classes=1)
    assert judged.averages["ap"] == pytest.approx(1)
    elsewhere = measure_precision(objects, [found((0, 0.9, (20, 0, 30, 10)), (0, 0.5, (0, 0, 10, 10)))], classes=1)
    assert elsewhere.averages["ap"] == pytest.approx(0.5)


def test_a_class_counts_as_much_as_another_and_a_box_of_the_wrong_class_finds_nothing() -> None:
    objects = truth(1, (0, 0, (0, 0, 10, 10)), (0, 1, (20, 20, 30, 30)))
    judged = measure_precision(objects, [found((0, 0.9, (0, 0, 10, 10)), (0, 0.8, (20, 20, 30, 30)))], classes=2)
    assert judged.by_class == pytest.approx((1, 0))


def test_nothing_found_is_an_ap_of_0_and_nothing_to_find_none() -> None:
    objects = truth(1, (0, 0, (0, 0, 10, 10)))
    assert measure_precision(objects, [NOTHING], classes=1).averages["ap"] == 0
    assert measure_precision(truth(1), [NOTHING], classes=1).averages == {}


def test_of_an_image_the_hundred_best_count() -> None:
    objects = truth(1, (0, 0, (0, 0, 10, 10)))
    wrong = [(0, 0.9, (20, 0, 30, 10))] * 100
    judged = measure_precision(objects, [found(*wrong, (0, 0.1, (0, 0, 10, 10)))], classes=1)
    assert judged.averages["ap"] == 0


def test_lists_for_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images need as many lists of detections, not 1"):
        measure_precision(truth(2), [NOTHING], classes=1)


def test_a_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    require_coco()
    monkeypatch.setattr(precision, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs faster-coco-eval: python -m pip install 'evo_nas\[detection\]'"):
        require_coco()
    assert importlib.util.find_spec("faster_coco_eval") is not None
