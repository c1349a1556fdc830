"""Objects that a trained detector finds in image files, which are prepared as those that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from evo_nas.data.augment import normalise
from evo_nas.data.boxes.letterbox import choose_fill, draw_on_canvas, fill_padding, scale_back
from evo_nas.data.sources.base import open_picture
from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import DetectorBlueprint
from evo_nas.phenotypes.transfer import load_weights
from evo_nas.training.detection import bring_back, detect_batch
from evo_nas.training.image_files import NOT_FINITE, open_network, prepare_batches
from evo_nas.training.precision import Found
from evo_nas.training.task import Diverged

if TYPE_CHECKING:
    from torch import Tensor

    from evo_nas.phenotypes.detector import Detector

Size = tuple[int, int]
"""Width and height of an image, in pixels."""


class FoundObject(NamedTuple):
    """An object in an image: its class by name and by index, its score in [0, 1], and its box in pixels of the image.

    The box is (x1, y1, x2, y2) from the upper left corner, with far edges.
    """

    name: str
    label: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Finding:
    """The objects found in an image of this size, the likeliest first.

    ``fault`` says in one line why the file cannot be read; then there are no objects.
    """

    image: Path
    size: Size = (0, 0)
    objects: tuple[FoundObject, ...] = ()
    fault: str | None = None


def load_detector(path: Path, own: str | None = None) -> tuple[DetectorBlueprint, Mapping[str, Tensor]]:
    """Read the weights of a trained detector with their blueprint; ``own`` is a user's own network it may stand on.

    Raises:
        UsageError: if the file does not say that it holds a detector.
        DataError: if it cannot be read, or its weights are not those of the network that it names.
    """
    blueprint, tensors = load_weights(path, own)
    if blueprint is None:
        raise UsageError(
            f"{path} does not say what detector it holds: name weights that train or export --format safetensors "
            "wrote, or a search with --keep-weights"
        )
    if not isinstance(blueprint, DetectorBlueprint):
        raise UsageError(f"{path} holds a classifier, and no detector: python -m evo_nas predict names what it sees")
    return blueprint, tensors


def find_objects(
    blueprint: DetectorBlueprint,
    tensors: Mapping[str, Tensor],
    images: Sequence[Path],
    *,
    score: float = 0.05,
    most: int = 100,
    device: str = "auto",
    threads: int = 1,
) -> list[Finding]:
    """Return the objects in each image file, in order; a file that cannot be read has its fault instead.

    Of an image the ``most`` objects with the highest scores above ``score`` are left. What lies in the padding alone,
    beside the image, is none.

    Raises:
        UsageError: if there is no such device.
        DataError: if the network puts out what is no finite number.
    """
    found = []
    with open_network(blueprint, tensors, device, threads) as (network, place):
        detector = cast("Detector", network)
        for batch in prepare_batches(images, blueprint, partial(prepare_canvas, blueprint=blueprint)):
            good = [prepared[0] for _, prepared, _ in batch if prepared is not None]
            try:
                rows = iter(detect_batch(detector, torch.stack(good).to(place), score=score) if good else [])
            except Diverged as error:
                raise DataError(NOT_FINITE) from error
            for path, prepared, fault in batch:
                if prepared is None:
                    found.append(Finding(path, fault=fault))
                    continue
                size = prepared[1]
                back = bring_back(next(rows), scale_back(np.array(size), blueprint.image)[0])
                found.append(Finding(path, size, tuple(cut_objects(back, blueprint.classes, size, score, most))))
    return found


def prepare_canvas(path: Path, blueprint: DetectorBlueprint) -> tuple[Tensor, Size]:
    """Return the canvas of a file, normalised float32 of shape (c, canvas, canvas), as in training, and its size.

    Raises:
        DataError: naming the file, if it cannot be decoded.
    """
    with open_picture(path) as image:
        size = image.size
        canvas = draw_on_canvas(image, blueprint.image, blueprint.channels)
    fill_padding(canvas, size, choose_fill(blueprint.mean))
    pixels = torch.from_numpy(canvas).permute(2, 0, 1)
    return normalise(pixels[None], blueprint.mean, blueprint.std)[0], size


def cut_objects(found: Found, classes: Sequence[str], size: Size, score: float, most: int) -> Iterator[FoundObject]:
    """Yield the first ``most`` detections above ``score``, cut at the edges of an image; what is outside is none."""
    boxes = np.clip(found.boxes, 0, np.tile(size, 2))
    keeps = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (found.scores > score)
    for row in np.flatnonzero(keeps)[:most].tolist():
        x1, y1, x2, y2 = boxes[row].tolist()
        label = int(found.labels[row])
        yield FoundObject(classes[label], label, float(found.scores[row]), (x1, y1, x2, y2))
