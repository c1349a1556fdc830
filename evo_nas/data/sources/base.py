"""The contract of a source: where the images of a set come from, before they are decoded once."""

from __future__ import annotations

import shlex
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

import numpy as np

from evo_nas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Part = Literal["train", "val", "test"]
"""A search sees the train part alone; a validation set is split off it. The test part is for the final report.

Sets with boxes may have a ``val`` part of their own, which a search sees too.
"""

PARTS: Final[tuple[Part, ...]] = ("train", "test")
"""Parts of the sets of labelled images."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """The facts of an image set that are known before a file is opened.

    ``size`` is the native width and height in pixels, ``None`` where the files decide; ``channels`` is 1 (grey) or 3
    (RGB). ``sources`` are the forms in which its files may lie, the one that wins first. ``classes`` counts the classes
    and ``names`` are theirs; ``train`` and ``test`` are how many images a complete set has; each is ``None`` where
    anything is right. ``download`` gets the files into an empty folder, given the name; ``None`` if nobody has them.
    ``layout`` says where a user puts the files, below ``{root}``.
    """

    name: str
    title: str
    size: int | None
    channels: int
    sources: tuple[type[PixelSource], ...]
    classes: int | None = None
    train: int | None = None
    test: int | None = None
    names: tuple[str, ...] | None = None
    download: Callable[[str, Path], None] | None = None
    layout: str = "images at {root}/train/<class>/ and {root}/test/<class>/"

    def command(self, verb: str, data_dir: Path) -> str:
        """Return the command that gets (``fetch``) or examines (``check``) the set, ready for a shell."""
        return f"python -m evo_nas data {verb} --dataset {self.name} --data-dir {shlex.quote(str(data_dir))}"


class PixelSource(ABC):
    """The images of one set as the user's files hold them, with labels, boxes or whatever else is known of them.

    An implementation promises: a method called for one part touches no file of the other, so that a search, which asks
    for ``train`` alone, runs without the test files existing. Order is fixed: the same files give the same images
    and labels in the same order on every machine.

    Every method raises :class:`evo_nas.errors.DataError`, one line with a path in it, where files are missing
    or damaged.
    """

    form: ClassVar[str]
    """What is looked for, for people."""

    columns: ClassVar[Mapping[str, tuple[str, tuple[int, ...]]]]
    """Name of each array of :meth:`arrays` -> its type, and its shape but for the first axis."""

    place: str
    """Where the images come from, for people: a path, or the name of a library."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that the set has."""
        return PARTS

    @classmethod
    @abstractmethod
    def find(cls, known: DataSet, place: Path) -> Self | None:
        """Return the set if it lies in this folder; only names of folders are read."""

    @classmethod
    def misfit(cls, known: DataSet, place: Path) -> str | None:
        """Return in what the files in this folder, of the right form, differ from the set; by default in nothing."""
        return None

    @abstractmethod
    def name_classes(self, part: Part) -> tuple[str, ...]:
        """Return the names of the classes, by ascending label, that the arrays of a part refer to."""

    @abstractmethod
    def stamp(self, part: Part) -> str:
        """Return a text that changes when a file of a part is added, removed or changed; no image is opened."""

    @abstractmethod
    def count_images(self, part: Part) -> int:
        """Return the number of images; none is opened."""

    @abstractmethod
    def arrays(self, part: Part) -> dict[str, np.ndarray]:
        """Return all that is known of the images of a part: an array for each of the ``columns``."""

    @abstractmethod
    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Decode every image in the order of the arrays, as uint8 batches of shape (b, size, size, channels).

        ``size`` ``None`` stands for the images' own size, which must then be the same for all.
        """

    def count_padding(self, part: Part, size: int | None) -> int:
        """Return how many pixels of all batches are padding, which is 0 in every channel and no image's; by default 0.

        Mean and deviation leave them out.
        """
        return 0

    @abstractmethod
    def faults(self, part: Part) -> Iterator[str]:
        """Yield a line for each damaged file of a part; every file is read completely."""

    def notes(self, part: Part) -> list[str]:
        """Return what else there is to say of a part, such as files that are passed over; by default nothing."""
        return []

    def belongings(self) -> list[Path]:
        """Return the folders that make up the set; by default none."""
        return []


class ImageSource(PixelSource):
    """The images of one set with a label each."""

    columns: ClassVar = {"labels": ("int64", ())}

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, by ascending label; read from the train part."""

    @abstractmethod
    def labels(self, part: Part) -> np.ndarray:
        """Return the label of every image, int64 of shape (n,)."""

    def name_classes(self, part: Part) -> tuple[str, ...]:
        """Return the classes of the train part: every part has the same."""
        return self.classes()

    def count_images(self, part: Part) -> int:
        """Return the number of labels."""
        return len(self.labels(part))

    def arrays(self, part: Part) -> dict[str, np.ndarray]:
        """Return the labels."""
        return {"labels": self.labels(part)}

    def counts(self, part: Part) -> dict[str, int]:
        """Return the images of each class, those of faulty files left out where the others can be counted."""
        classes = self.classes()
        return dict(zip(classes, np.bincount(self.labels(part), minlength=len(classes)).tolist(), strict=True))


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Yield the picture in a file.

    Raises:
        DataError: naming the file, if it cannot be read, or not be decoded within the block.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(path)  # that of twice as many pixels is an error
        with image:
            yield image
    except Exception as error:  # Decoders raise all sorts: OSError, SyntaxError, ValueError, struct.error ...
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if "cannot identify" in reason:
            reason = "its content is no image"
        raise DataError(f"{path} cannot be decoded ({reason}): replace or remove it") from None


def pixels(image: Image.Image, size: int | tuple[int, int] | None, channels: int) -> np.ndarray:
    """Turn a picture into uint8 pixels of shape (size, size, channels); without a size it keeps its height and width.

    A size of two numbers is width and height. Shrinking takes the mean over areas, which Chrabaszcz et al. 2017
    (downsampled ImageNet) chose for 32x32 ImageNet; as there, a picture that is not square is squeezed, so that no part
    of it is lost. Growing is bicubic. Transparency is dropped and EXIF rotation is not applied, as in torchvision.
    """
    from PIL import Image

    if image.mode.startswith("I"):
        # 16-bit grey: Pillow would clip it at 255 instead of scaling it.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.convert("RGB" if channels == 3 else "L")
    wanted = (size, size) if isinstance(size, int) else size
    if wanted is not None and image.size != wanted:
        shrinks = all(own >= new for own, new in zip(image.size, wanted, strict=True))
        image = image.resize(wanted, Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    array: np.ndarray = np.asarray(image)
    return array.reshape(*array.shape[:2], channels)
