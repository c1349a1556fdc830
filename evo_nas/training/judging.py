"""The precision of a trained detector on a part of a set with boxes, and all that it found there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from evo_nas.data.boxes.files import BoxFiles
from evo_nas.data.boxes.letterbox import choose_fill
from evo_nas.data.boxes.source import locate_boxes, open_boxes
from evo_nas.data.boxes.value import BoxedImages
from evo_nas.data.sources.base import Part
from evo_nas.data.sources.layout import some
from evo_nas.errors import DataError
from evo_nas.phenotypes.blueprint import DetectorBlueprint
from evo_nas.training.boxed import BoxedExamples
from evo_nas.training.detection import detect_in_order
from evo_nas.training.finding import Finding, cut_objects
from evo_nas.training.image_files import NOT_FINITE, open_network
from evo_nas.training.precision import Found, Precision, measure_precision, require_coco
from evo_nas.training.task import Diverged

if TYPE_CHECKING:
    from torch import Tensor

    from evo_nas.phenotypes.detector import Detector


@dataclass(frozen=True)
class Judgement:
    """The precision of a detector on ``images``, what it found in each, and the file of each, if they lie in files."""

    precision: Precision
    classes: Sequence[str]
    images: BoxedImages
    found: Sequence[Found]
    files: Sequence[Path] | None

    def findings(self, score: float, most: int) -> Iterator[Finding]:
        """Yield for each image the ``most`` objects of the highest scores above ``score``."""
        for row, (found, size) in enumerate(zip(self.found, self.images.sizes.tolist(), strict=True)):
            path = Path(f"{row + 1:04d}.png") if self.files is None else self.files[row]
            yield Finding(path, tuple(size), tuple(cut_objects(found, self.classes, size, score, most)))

    def truth(self, row: int) -> np.ndarray:
        """Return the boxes that are there, (m, 4), in pixels of the original image; ignored ones are left out."""
        owned = slice(self.images.starts[row], self.images.starts[row + 1])
        boxes: np.ndarray = self.images.boxes[owned][~self.images.ignored[owned]]
        return boxes


def judge_detector(
    blueprint: DetectorBlueprint,
    tensors: Mapping[str, Tensor],
    dataset: str,
    data_dir: Path | None = None,
    *,
    part: Part = "test",
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
) -> Judgement:
    """Measure a detector on a part of a set, as a training does on the test part at its end.

    ``seed`` decides which images are held out for validation, where the set has no part of its own for that.

    Raises:
        UsageError: if there is no such set or device, or faster-coco-eval is missing.
        DataError: if images are missing or damaged, their classes are not those of the detector, there is no object to
            be found, or the network puts out what is no finite number.
    """
    require_coco()
    boxes = open_boxes(dataset, data_dir, canvas=blueprint.image, channels=blueprint.channels, seed=seed)
    if boxes.classes != blueprint.classes:
        raise DataError(
            f"{dataset} has the classes {some(boxes.classes)}, and the detector knows {some(blueprint.classes)}: name "
            "the images that it was trained on"
        )
    # The padding of its training, should the mean of these images be another.
    images: BoxedImages = replace(getattr(boxes, part), fill=choose_fill(blueprint.mean))
    with open_network(blueprint, tensors, device, threads) as (network, place):
        rows = np.arange(len(images))
        examples = BoxedExamples.open(images, rows, blueprint.mean, blueprint.std, place)
        try:
            found = detect_in_order(cast("Detector", network), examples)
        except Diverged as error:
            raise DataError(NOT_FINITE) from error
    precision = measure_precision(examples.truth(), found, len(boxes.classes))
    if "ap" not in precision.averages:
        raise DataError(f"no image of the {part} part of {dataset} has an object that is to be found")
    return Judgement(precision, boxes.classes, images, found, _list_files(dataset, data_dir, part, images))


def _list_files(dataset: str, data_dir: Path | None, part: Part, images: BoxedImages) -> list[Path] | None:
    """Return the file of each image; ``None`` where images are made."""
    source = locate_boxes(dataset, data_dir)
    if not isinstance(source, BoxFiles):
        return None
    files = source.paths("train" if part not in source.parts else part)  # held out of the train part
    return [files[row] for row in images.rows.tolist()]
