"""The contract of a source of images with boxes, before they are decoded once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from evo_nas.data.boxes.letterbox import fit_sizes
from evo_nas.data.sources.base import Part, PixelSource


@dataclass(frozen=True, slots=True)
class Annotation:
    """All that is known of one image: its ``name``, and its width and height in pixels as ``size``.

    ``boxes`` are float64 of shape (m, 4), (x1, y1, x2, y2) from 0 with far edges, inside the image and with an area;
    ``labels`` int64, ``ignored`` bool and ``areas`` float64 in square pixels are of shape (m,).
    """

    name: str
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray


class BoxSource(PixelSource):
    """The images of one set with any number of boxes each, none included.

    Classes of two parts are compared by their names: each part has its own list. Where ``has_class_list`` the files
    declare their classes, and two parts must declare the same; elsewhere the classes are those that boxes have.
    """

    columns: ClassVar = {
        "boxes": ("float32", (4,)),
        "labels": ("int64", ()),
        "ignored": ("bool", ()),
        "areas": ("float32", ()),
        "starts": ("int64", ()),
        "sizes": ("int64", (2,)),
    }

    has_class_list: ClassVar[bool] = False

    def configure(self, *, canvas: int, seed: int, counts: Mapping[Part, int]) -> Self:
        """Return the source for a canvas, a seed and numbers of images (0 for all); by default itself.

        For sources that make their images, or split them into parts.
        """
        return self

    @abstractmethod
    def annotations(self, part: Part) -> Sequence[Annotation]:
        """Return what is known of every image, in a fixed order; no image is decoded."""

    def list_readable(self, part: Part) -> tuple[Sequence[Annotation], tuple[str, ...]]:
        """Return what is known of the images that can be read, and the class names; by default of all images."""
        return self.annotations(part), self.name_classes(part)

    def count_images(self, part: Part) -> int:
        """Return the number of images that are annotated, those without boxes too."""
        return len(self.annotations(part))

    def arrays(self, part: Part) -> dict[str, np.ndarray]:
        """Return boxes, labels and the rest of all images, one image after another."""
        images = self.annotations(part)
        counts = [len(image.labels) for image in images]
        return {
            "boxes": np.concatenate([np.empty((0, 4)), *(image.boxes for image in images)]).astype(np.float32),
            "labels": np.concatenate([np.empty(0), *(image.labels for image in images)]).astype(np.int64),
            "ignored": np.concatenate([np.empty(0), *(image.ignored for image in images)]).astype(bool),
            "areas": np.concatenate([np.empty(0), *(image.areas for image in images)]).astype(np.float32),
            "starts": np.cumsum([0, *counts]).astype(np.int64),
            "sizes": np.array([image.size for image in images], dtype=np.int64).reshape(-1, 2),
        }

    def count_padding(self, part: Part, size: int | None) -> int:
        """Return the pixels of all canvases that no image covers."""
        if size is None:
            return 0
        sizes = np.array([image.size for image in self.annotations(part)])
        return int(size**2 * len(sizes) - fit_sizes(sizes, size).prod(axis=1).sum())
