"""Images with boxes as values: a batch's targets, one part of a set, and the set.

Boxes are (x1, y1, x2, y2) in pixels from the top left corner, float32; x2 and y2 are the far edges, so that a box of a
single pixel has sides of 1. Labels count from 0, without background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evo_nas.data.boxes.letterbox import fill_padding, scale_back

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evo_nas.data.decoded import DecodedEntry
    from evo_nas.data.sources.base import Part


@dataclass(frozen=True, slots=True)
class Targets:
    """The boxes of a batch of ``count`` images, one after another.

    ``boxes`` are float32 of shape (m, 4), ``labels`` int64 of shape (m,). ``owners`` is the image of each box, int64 of
    shape (m,), counted within the batch and ascending. ``ignored``, bool of shape (m,), are crowds and difficult
    objects: what is found there is neither right nor wrong.
    """

    count: int
    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    owners: Tensor

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            ValueError: if their lengths differ.
        """
        m = len(self.labels)
        if self.boxes.shape != (m, 4) or len(self.ignored) != m or len(self.owners) != m:
            lengths = f"{tuple(self.boxes.shape)}, {m}, {len(self.ignored)} and {len(self.owners)}"
            raise ValueError(f"boxes of shape (m, 4) need m labels, ignored and owners, not {lengths}")

    def __len__(self) -> int:
        """Return the number of images."""
        return self.count

    def __getitem__(self, images: slice) -> Targets:
        """Return the targets of successive images, whose owners count from 0 again.

        Raises:
            ValueError: if the slice has a step.
        """
        first, last, step = images.indices(self.count)
        if step != 1:
            raise ValueError(f"images of a batch are cut out in succession, not in steps of {step}")
        return self.keep((self.owners >= first) & (self.owners < last), count=max(0, last - first), first=first)

    def keep(self, chosen: Tensor, *, count: int | None = None, first: int = 0) -> Targets:
        """Return the targets with the chosen boxes alone, a bool of shape (m,); image ``first`` becomes image 0."""
        return Targets(
            self.count if count is None else count,
            self.boxes[chosen],
            self.labels[chosen],
            self.ignored[chosen],
            self.owners[chosen] - first,
        )

    def take(self, images: Tensor) -> Targets:
        """Return the targets of these images, int64 of shape (b,), in that order; an image may come more than once."""
        import torch

        counts = torch.bincount(self.owners, minlength=self.count)
        starts = counts.cumsum(0) - counts
        wanted = counts[images]
        owners = torch.repeat_interleave(torch.arange(len(images), device=images.device), wanted)
        within = torch.arange(len(owners), device=images.device) - (wanted.cumsum(0) - wanted)[owners]
        rows = starts[images][owners] + within
        return Targets(len(images), self.boxes[rows], self.labels[rows], self.ignored[rows], owners)

    def to(self, device: torch.device | str) -> Targets:
        """Return the targets on a device."""
        arrays = (self.boxes, self.labels, self.ignored, self.owners)
        return Targets(self.count, *(array.to(device) for array in arrays))


@dataclass(frozen=True)
class BoxedImages:
    """One part of a set: n images on a canvas with their m boxes.

    ``pixels`` are the canvases of an entry of the decoded cache, uint8 of shape (., canvas, canvas, c), mapped
    read-only; ``rows`` says which of them these images are, int64 of shape (n,). The boxes of image i are those from
    ``starts[i]`` to ``starts[i + 1]``: ``boxes`` float32 of shape (m, 4) in pixels of the original image, ``labels``
    int64, ``ignored`` bool and ``areas`` float32 in square pixels of the original, each of shape (m,). ``areas`` are
    those by which COCO calls objects small, medium or large: of the outline where it is known, else of the box.
    ``sizes`` are the original widths and heights, int64 of shape (n, 2). ``fill`` is the grey or colour of the padding.
    """

    pixels: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    fill: tuple[int, ...]

    @classmethod
    def open(cls, entry: DecodedEntry, fill: tuple[int, ...]) -> BoxedImages:
        """Return the whole part that an entry holds."""
        columns = {name: entry.column(name) for name in ("boxes", "labels", "ignored", "areas", "starts", "sizes")}
        return cls(pixels=entry.images, rows=np.arange(len(entry.images)), fill=fill, **columns)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    @property
    def canvas(self) -> int:
        """Width and height of the canvas, in pixels."""
        return int(self.pixels.shape[1])

    @property
    def owners(self) -> np.ndarray:
        """The image of each box, int64 of shape (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def scales(self) -> np.ndarray:
        """Original pixels per pixel of the canvas along x and y, float64 of shape (n, 2), about the same for both.

        A box on the canvas times (sx, sy, sx, sy) is the box in the original image.
        """
        return scale_back(self.sizes, self.canvas)

    @property
    def canvas_boxes(self) -> np.ndarray:
        """The boxes on the canvas, float32 of shape (m, 4)."""
        scales = np.tile(self.scales, 2)[self.owners]  # (m, 4)
        scaled: np.ndarray = (self.boxes / scales).astype(np.float32)
        return scaled

    def subset(self, images: np.ndarray) -> BoxedImages:
        """Return these images, int64 of shape (b,), in that order, with their boxes; no pixel is read."""
        counts = np.diff(self.starts)[images]
        starts = np.concatenate([[0], np.cumsum(counts)])
        shifts = np.repeat(self.starts[:-1][images] - starts[:-1], counts)
        picked = np.arange(starts[-1]) + shifts
        columns = {name: getattr(self, name)[picked] for name in ("boxes", "labels", "ignored", "areas")}
        return BoxedImages(
            pixels=self.pixels,
            rows=self.rows[images],
            starts=starts,
            sizes=self.sizes[images],
            fill=self.fill,
            **columns,
        )

    def read_canvases(self) -> np.ndarray:
        """Return a copy of the pixels, uint8 of shape (n, canvas, canvas, c), with the padding in its colour."""
        canvases: np.ndarray = np.array(self.pixels[self.rows])
        for canvas, (width, height) in zip(canvases, self.sizes.tolist(), strict=True):
            fill_padding(canvas, (width, height), self.fill)
        return canvases

    def tensors(
        self, device: torch.device | str = "cpu", indices: np.ndarray | None = None
    ) -> tuple[torch.Tensor, Targets]:
        """Copy the images, or those at ``indices`` in that order, to a device, with their boxes on the canvas.

        The images are uint8 of shape (n, c, canvas, canvas) in channels_last memory format.
        """
        import torch

        part = self if indices is None else self.subset(np.asarray(indices, dtype=np.int64))
        images = torch.from_numpy(part.read_canvases()).to(device).permute(0, 3, 1, 2)
        arrays = (part.canvas_boxes, part.labels, part.ignored, part.owners)
        return images, Targets(len(part), *(torch.from_numpy(array).to(device) for array in arrays))


@dataclass(frozen=True)
class BoxSet:
    """One data set with boxes on a canvas of one size.

    ``mean`` and ``std`` are fractions in [0, 1], one per channel, over the images of the train part without padding.
    ``fingerprint`` is a SHA-256 of class names, boxes and pixels of all that a search may see: the train part, and the
    validation part where it has files of its own. Pickled it is small: pixels are mapped again on the other side.
    """

    name: str
    classes: tuple[str, ...]
    canvas: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    open_part: Callable[[Part], BoxedImages] = field(repr=False, compare=False)

    @cached_property
    def train(self) -> BoxedImages:
        """The images to train on, without those that are held out for validation."""
        return self.open_part("train")

    @cached_property
    def val(self) -> BoxedImages:
        """The images by which a search compares networks."""
        return self.open_part("val")

    @cached_property
    def test(self) -> BoxedImages:
        """The images of the final report, never for a search. Their files are first read here.

        Raises:
            DataError: if there are none, they are damaged, or their classes are not those of the train part.
        """
        return self.open_part("test")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the parts that were opened."""
        return {name: value for name, value in self.__dict__.items() if name not in ("train", "val", "test")}
