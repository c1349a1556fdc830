"""Average precision of detections as COCO measures it (Lin et al. 2014), by faster-coco-eval.

An extra of the installation: ``detection``. It is imported when something is measured, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import numpy as np

from evo_nas.errors import UsageError
from evo_nas.system.garbage import without_collection

RECALLS: Final = np.linspace(0, 1, 101)
"""The recalls at which COCO reads a precision-recall curve."""

MOST: Final = 100
"""Detections of an image that count, those of the highest scores."""

_SIZES: Final = ("all", "small", "medium", "large")
"""COCO's ranges of areas: small is below 32x32 pixels of the original image, large above 96x96."""


class Found(NamedTuple):
    """The detections in one image: boxes, (d, 4), scores, (d,), and labels, (d,), as arrays."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Truth:
    """The objects of ``count`` images, as :class:`evo_nas.data.boxes.value.Targets` has them, as arrays.

    ``boxes`` are of shape (m, 4) in pixels of the original images, ``labels``, ``ignored``, ``owners`` and ``areas``
    of shape (m,); ``areas``, in square pixels, decide what is small, medium or large.
    """

    count: int
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    owners: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True)
class Precision:
    """The precision of a detector on some images: fractions in [0, 1].

    ``averages`` holds ``ap`` (the mean over the IoU thresholds 0.5, 0.55, ..., 0.95), ``ap50`` and ``ap75``, and
    ``ap_small``, ``ap_medium`` and ``ap_large``: what has no object to be found is left out. ``by_class`` is the AP50
    of each class, ``None`` for one without objects. ``curves``, of shape (classes, 101), are the precisions at
    :data:`RECALLS` for an IoU of 0.5, -1 for a class without objects.
    """

    averages: Mapping[str, float]
    by_class: tuple[float | None, ...]
    curves: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Return the averages, and the AP50 and the curve of each class in the order of the labels."""
        return {**self.averages, "ap50_by_class": self.by_class, "curves": self.curves.round(6).tolist()}


def require_coco() -> None:
    """Raise unless faster-coco-eval is installed.

    Raises:
        UsageError: with the command that installs it.
    """
    if find_spec("faster_coco_eval") is None:
        raise UsageError("average precision needs faster-coco-eval: python -m pip install 'evo_nas[detection]'")


def measure_precision(truth: Truth, found: Sequence[Found], classes: int) -> Precision:
    """Measure the detections in each image, in pixels of the original images, against the objects that are there.

    Labels count from 0. Of an image the :data:`MOST` detections of the highest scores count. What lies on an ignored
    object is neither right nor wrong, as COCO has it for crowds: it overlaps by its own share that lies there.

    Raises:
        ValueError: if there are not as many lists of detections as images.
        UsageError: if faster-coco-eval is not installed.
    """
    if len(found) != truth.count:
        raise ValueError(f"{truth.count} images need as many lists of detections, not {len(found)}")
    require_coco()
    from faster_coco_eval import COCO, COCOeval_faster

    with without_collection():  # a dictionary per detection
        described, listed = _describe(truth, classes), _list_detections(found)
        objects = COCO(described)
        # loadRes of faster-coco-eval before 1.8 fails at an empty list.
        detections = objects.loadRes(listed) if listed else COCO({**described, "annotations": []})
        judge = COCOeval_faster(objects, detections, iouType="bbox", print_function=_be_quiet)
        judge.evaluate()
        judge.accumulate()
    # (IoU thresholds, recalls, classes, sizes), of the largest number of detections; -1 where there is no object.
    precision = np.asarray(judge.eval["precision"]).reshape(10, len(RECALLS), classes, len(_SIZES), -1)[..., -1]
    parts = {"ap": precision[..., 0], "ap50": precision[0, ..., 0], "ap75": precision[5, ..., 0]}
    parts |= {f"ap_{size}": precision[..., index] for index, size in enumerate(_SIZES) if index}
    averages = {name: mean for name, part in parts.items() if (mean := _average(part)) is not None}
    curves = precision[0, :, :, 0].T
    return Precision(averages, tuple(_average(curve) for curve in curves), curves)


def _list_detections(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return the detections in COCO's form."""
    return [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, (boxes, scores, labels) in enumerate(found, 1)
        for box, score, label in zip(_corners_and_sides(boxes), scores.tolist(), (labels + 1).tolist(), strict=True)
    ]


def _describe(truth: Truth, classes: int) -> dict[str, Any]:
    """Return the objects in COCO's form; ids count from 1, as 0 means "no match" there."""
    columns = zip(truth.owners.tolist(), truth.labels.tolist(), _corners_and_sides(truth.boxes), strict=True)
    others = zip(truth.areas.tolist(), truth.ignored.tolist(), strict=True)
    return {
        "images": [{"id": image + 1} for image in range(truth.count)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
        "annotations": [
            {
                "id": index,
                "image_id": owner + 1,
                "category_id": label + 1,
                "bbox": box,
                "area": area,
                "iscrowd": int(ignored),
            }
            for index, ((owner, label, box), (area, ignored)) in enumerate(zip(columns, others, strict=True), 1)
        ],
    }


def _corners_and_sides(boxes: np.ndarray) -> list[list[float]]:
    """Return boxes of two corners, (d, 4), as the upper left corner, the width and the height of each."""
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()  # type: ignore[no-any-return]


def _average(precision: np.ndarray) -> float | None:
    """Return the mean of what is defined; ``None`` if nothing is."""
    defined = precision[precision > -1]
    return float(defined.mean()) if len(defined) else None


def _be_quiet(*words: object) -> None:
    """Print nothing."""
