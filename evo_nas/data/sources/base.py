"""The contract of a source: where the images of a set come from, before they are decoded once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

Part = Literal["train", "test"]
"""A search sees the train part alone; a validation set is split off it. The test part is for the final report."""

PARTS: Final[tuple[Part, ...]] = ("train", "test")


class ImageSource(ABC):
    """The images of one set as the user's files hold them.

    An implementation promises: a method called for one part touches no file of the other, so that a search, which asks
    for ``train`` alone, runs without the test files existing. Order is fixed: the same files give the same images
    and labels in the same order on every machine.

    Every method raises :class:`evo_nas.errors.DataError`, one line with a path in it, where files are missing
    or damaged.
    """

    place: str
    """Where the images come from, for people: a path, or the name of a library."""

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, by ascending label; read from the train part."""

    @abstractmethod
    def stamp(self, part: Part) -> str:
        """Return a text that changes when a file of a part is added, removed or changed; none is opened."""

    @abstractmethod
    def labels(self, part: Part) -> np.ndarray:
        """Return the label of every image, int64 of shape (n,)."""

    @abstractmethod
    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Decode every image in the order of the labels, as uint8 batches of shape (b, size, size, channels).

        ``size`` ``None`` stands for the images' own size, which must then be the same for all.
        """

    @abstractmethod
    def faults(self, part: Part) -> Iterator[str]:
        """Yield a line for each damaged file of a part; every file is read completely."""


def pixels(image: Image.Image, size: int | None, channels: int) -> np.ndarray:
    """Turn a picture into uint8 pixels of shape (size, size, channels); without a size it keeps its height and width.

    Shrinking takes the mean over areas, which Chrabaszcz et al. 2017 (downsampled ImageNet) chose for 32x32 ImageNet;
    as there, a picture that is not square is squeezed, so that no part of it is lost. Growing is bicubic.
    Transparency is dropped and EXIF rotation is not applied, as in torchvision.
    """
    from PIL import Image

    if image.mode.startswith("I"):
        # 16-bit grey: Pillow would clip it at 255 instead of scaling it.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.convert("RGB" if channels == 3 else "L")
    if size is not None and image.size != (size, size):
        shrinks = min(image.size) >= size
        image = image.resize((size, size), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    array: np.ndarray = np.asarray(image)
    return array.reshape(*array.shape[:2], channels)
