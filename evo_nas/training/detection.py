"""The task of finding objects: focal loss, the loss of boxes, and COCO's average precision."""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from evo_nas.data.boxes.value import Targets
from evo_nas.errors import DataError
from evo_nas.phenotypes.boxes import IGNORED, Detections, encode_boxes, match_anchors, select_detections
from evo_nas.phenotypes.detector import Detector
from evo_nas.phenotypes.onednn import guard_convolutions
from evo_nas.training.boxed import BoxedExamples
from evo_nas.training.precision import Found, Precision, measure_precision
from evo_nas.training.task import Batch, Data, Diverged, Task

BOX_LOSSES: Final = ("l1", "huber")
"""The absolute difference; or one that is quadratic below ``huber_delta``, as in NAS-FPN's released code."""


class Detection(Task):
    """Train a detector for the boxes of :class:`evo_nas.data.boxes.value.Targets`, and measure its average precision.

    The loss of the classes is the focal loss (Lin et al. 2017, RetinaNet, section 3) of ``alpha`` and ``gamma``; that
    of the boxes is a name of :data:`BOX_LOSSES` of their four encoded numbers, times ``box_weight``. Both are summed
    and divided by the number of positive anchors of the batch. Anchors are positive, negative or neither as
    :func:`evo_nas.phenotypes.boxes.match_anchors` says, with its ``positive``, ``negative`` and ``keeps_every_box``;
    those that are not positive and lie on an ignored object are neither.
    """

    goal = "ap"
    report_file = "precision.json"

    def __init__(
        self,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        box_loss: str = "l1",
        box_weight: float = 1.0,
        huber_delta: float = 0.1,
        positive: float = 0.5,
        negative: float = 0.4,
        keeps_every_box: bool = True,
    ) -> None:
        if box_loss not in BOX_LOSSES:
            raise ValueError(f"box_loss must be one of {', '.join(BOX_LOSSES)}, not {box_loss!r}")
        self.alpha, self.gamma, self.box_loss, self.box_weight = alpha, gamma, box_loss, box_weight
        self.huber_delta = huber_delta
        self.positive, self.negative, self.keeps_every_box = positive, negative, keeps_every_box
        self._judged: Precision | None = None
        self._losses: list[Tensor] = []  # those of classes and of boxes, of each batch since the last measurement

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of the classes plus that of the boxes."""
        images, targets = batch
        with guard_convolutions(network):
            logits, deltas = network(images)
        of_classes, of_boxes = self.losses(logits, deltas, cast("Detector", network).anchors, targets)
        self._losses.append(torch.stack([of_classes, of_boxes]).detach())
        return of_classes + of_boxes

    def losses(self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Return the loss of the classes and that of the boxes, for outputs (n, A, classes) and (n, A, 4)."""
        logits, deltas = logits.float(), deltas.float()
        boxes, labels, matching = self._match(anchors, targets)
        image, anchor = torch.nonzero(matching >= 0, as_tuple=True)
        row = matching[image, anchor]
        of_classes = self._focal(logits, matching, image, anchor, labels[image, row])
        wanted = encode_boxes(boxes[image, row], anchors[anchor])
        of_boxes = self._distance(deltas[image, anchor], wanted)
        positives = max(1, len(image))
        return of_classes / positives, self.box_weight * of_boxes / positives

    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return ``ap`` and the other averages of :class:`evo_nas.training.precision.Precision`.

        With them ``class_loss`` and ``box_loss``, means over the steps since the last measurement, if there were any.

        Raises:
            DataError: if there is no object to be found.
        """
        self._judged = self.judge(network, cast("BoxedExamples", data))
        averages = dict(self._judged.averages)
        if self.goal not in averages:
            raise DataError("no image to measure on has an object that is to be found")
        if self._losses:
            of_classes, of_boxes = torch.stack(self._losses).mean(0).tolist()
            averages |= {"class_loss": of_classes, "box_loss": of_boxes}
            self._losses.clear()
        return averages

    def report(self) -> dict[str, Any]:
        """Return the averages, the AP50 and the precision-recall curve of each class, in the order of the labels."""
        return {} if self._judged is None else self._judged.to_json()

    def judge(self, network: nn.Module, examples: BoxedExamples) -> Precision:
        """Return the precision of a network in evaluation mode, with classes and curves.

        Raises:
            Diverged: if an output is not finite.
        """
        detector = cast("Detector", network)
        return measure_precision(examples.truth(), detect_in_order(detector, examples), detector.classes)

    def _match(self, anchors: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (n, m, 4) and labels (n, m), filled up to the fullest image, and the matching (n, A)."""
        known = targets.keep(~targets.ignored)
        boxes, labels, is_box = _pad(known)
        matching = match_anchors(
            anchors,
            boxes,
            is_box=is_box,
            positive=self.positive,
            negative=self.negative,
            keeps_every_box=self.keeps_every_box,
        )
        if bool(targets.ignored.any()):
            crowds, _, is_crowd = _pad(targets.keep(targets.ignored))
            covers = (_cover(anchors, crowds) * is_crowd[..., None]).amax(1) >= self.positive  # (n, A)
            matching = torch.where(covers & (matching < 0), torch.full_like(matching, IGNORED), matching)
        return boxes, labels, matching

    def _focal(self, logits: Tensor, matching: Tensor, image: Tensor, anchor: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the focal loss over all classes of the anchors that take part.

        First all are taken for negatives, then the few positives are put right.
        """
        takes_part = (matching != IGNORED)[..., None]
        negatives = (functional.softplus(logits) * logits.sigmoid().pow(self.gamma) * takes_part).sum()
        right = logits[image, anchor, labels]
        put_right = self.alpha * functional.softplus(-right) * (-right).sigmoid().pow(self.gamma)
        taken_back = (1 - self.alpha) * functional.softplus(right) * right.sigmoid().pow(self.gamma)
        return (1 - self.alpha) * negatives + (put_right - taken_back).sum()

    def _distance(self, deltas: Tensor, wanted: Tensor) -> Tensor:
        if self.box_loss == "huber":
            return functional.huber_loss(deltas, wanted, reduction="sum", delta=self.huber_delta)
        return functional.l1_loss(deltas, wanted, reduction="sum")


def detect_batch(detector: Detector, images: Tensor, **rules: Any) -> list[Detections]:
    """Return the detections in each image of a normalised batch, (n, c, canvas, canvas), in pixels of the canvas.

    ``rules`` are those of :func:`evo_nas.phenotypes.boxes.select_detections`.

    Raises:
        Diverged: if an output is not finite.
    """
    with guard_convolutions(detector):
        logits, deltas = detector(images)
    if not (logits.isfinite().all() and deltas.isfinite().all()):
        raise Diverged("the network put out a value that is no finite number")
    return select_detections(logits, deltas, detector.anchors, detector.canvas, **rules)


def detect_in_order(detector: Detector, examples: BoxedExamples) -> list[Found]:
    """Return the detections in each image, in pixels of the original images.

    Raises:
        Diverged: if an output is not finite.
    """
    found = [one for images, _ in examples.in_order() for one in detect_batch(detector, images)]
    return [bring_back(one, scale) for one, scale in zip(found, examples.scales, strict=True)]


def bring_back(found: Detections, scale: np.ndarray) -> Found:
    """Return detections on a canvas in pixels of the original image, by its ``scale`` of shape (2,)."""
    boxes = found.boxes.cpu().numpy() * np.tile(scale, 2)
    return Found(boxes, found.scores.cpu().numpy(), found.labels.cpu().numpy())


def _pad(targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes (n, m, 4), labels (n, m) and whether there is a box (n, m); m is that of the fullest image."""
    owners = targets.owners
    counts = torch.bincount(owners, minlength=len(targets))
    most = int(counts.max()) if len(counts) else 0
    row = torch.arange(len(owners), device=owners.device) - (counts.cumsum(0) - counts)[owners]
    boxes = targets.boxes.new_zeros(len(targets), most, 4)
    labels, is_box = owners.new_zeros(len(targets), most), owners.new_zeros(len(targets), most, dtype=torch.bool)
    boxes[owners, row], labels[owners, row], is_box[owners, row] = targets.boxes, targets.labels, True
    return boxes, labels, is_box


def _cover(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return which share of each anchor each box covers: of (A, 4) and (n, m, 4), (n, m, A)."""
    boxes = boxes[..., None, :]
    sides = torch.minimum(boxes[..., 2:], anchors[:, 2:]) - torch.maximum(boxes[..., :2], anchors[:, :2])
    return sides.clamp(min=0).prod(-1) / (anchors[:, 2:] - anchors[:, :2]).prod(-1)
