"""CIFAR-10 and CIFAR-100 in the files that torchvision downloads: pickled batches, held to torchvision's checksums."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from evo_nas.data.sources.base import DataSet, ImageSource, Part, pixels
from evo_nas.data.sources.image_folder import ImageFolder
from evo_nas.errors import DataError
from evo_nas.system.text import open_file


@dataclass(frozen=True, slots=True)
class CifarLayout:
    """The files of a CIFAR set, and the keys of their pickled dictionaries. ``torchvision`` names its class there."""

    torchvision: str
    folder: str
    files: dict[Part, tuple[str, ...]]
    labels: str
    meta: str
    names: str


LAYOUTS: Final[dict[str, CifarLayout]] = {
    "cifar10": CifarLayout(
        "CIFAR10",
        "cifar-10-batches-py",
        {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
        labels="labels",
        meta="batches.meta",
        names="label_names",
    ),
    "cifar100": CifarLayout(
        "CIFAR100",
        "cifar-100-python",
        {"train": ("train",), "test": ("test",)},
        labels="fine_labels",
        meta="meta",
        names="fine_label_names",
    ),
}
"""Name of the data set -> its files."""


class CifarFiles(ImageSource):
    """The images of ``<root>/cifar-10-batches-py`` or ``<root>/cifar-100-python``.

    torchvision's own reader checks, and so opens, the test file whenever the train part is asked for. This one reads a
    part at a time. A file is unpickled only after its checksum, because a pickle can run code.
    """

    form = "torchvision's files"

    def __init__(self, dataset: str, root: Path) -> None:
        self.layout = LAYOUTS[dataset]
        self.folder = root / self.layout.folder
        self.place = str(self.folder)

    @classmethod
    def find(cls, known: DataSet, place: Path) -> Self | None:
        """Return the set if torchvision's folder is there."""
        source = cls(known.name, place)
        return source if source.folder.is_dir() else None

    def classes(self) -> tuple[str, ...]:
        """Read the names from the file of names; only its own ten are known without it."""
        return tuple(self._load(self.layout.meta)[self.layout.names])

    def stamp(self, part: Part) -> str:
        """Return the folder, and the name, size and time of change of each file, as text."""
        lines = [str(self.folder.resolve())]
        for name in (self.layout.meta, *self.layout.files[part]):
            try:
                status = (self.folder / name).stat()
            except OSError as error:
                raise DataError(self._bad(name, error.strerror or "unreadable")) from None
            lines.append(f"{name}\t{status.st_size}\t{status.st_mtime_ns}")
        return "\n".join(lines)

    def labels(self, part: Part) -> np.ndarray:
        """Read the labels of a part; CIFAR-100's fine ones."""
        return np.concatenate([np.asarray(batch[self.layout.labels], dtype=np.int64) for batch in self._parts(part)])

    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Read a file at a time: rows of 3,072 bytes, all red, then all green, then all blue."""
        from PIL import Image

        for batch in self._parts(part):
            images = np.ascontiguousarray(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            if size in (None, 32) and channels == 3:
                yield images
            else:
                yield np.stack([pixels(Image.fromarray(image), size, channels) for image in images])

    def faults(self, part: Part) -> Iterator[str]:
        """Compare the checksum of each file with torchvision's."""
        for name in (self.layout.meta, *self.layout.files[part]):
            try:
                self._bytes(name)
            except DataError as error:
                yield str(error)

    def belongings(self) -> list[Path]:
        """Return torchvision's folder."""
        return [self.folder]

    def _parts(self, part: Part) -> Iterator[dict[str, Any]]:
        """Read the files of a part one after another."""
        for name in self.layout.files[part]:
            yield self._load(name)

    def _load(self, name: str) -> dict[str, Any]:
        """Unpickle a file whose checksum is right."""
        blob = self._bytes(name)
        with warnings.catch_warnings():
            # Pickled by numpy 1.x on Python 2; numpy 2.4 warns of the way in which its dtypes are spelled.
            warnings.simplefilter("ignore")
            content: dict[str, Any] = pickle.loads(blob, encoding="latin1")
        return content

    def _bytes(self, name: str) -> bytes:
        """Read a file, and hold it to its checksum."""
        try:
            with os.fdopen(open_file(self.folder / name), "rb") as file:
                blob = file.read()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DataError(self._bad(name, reason or "unreadable")) from None
        found = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        if found != checksums(self.layout)[name]:
            raise DataError(self._bad(name, f"its md5 is {found}, not {checksums(self.layout)[name]}"))
        return blob

    def _bad(self, name: str, reason: str) -> str:
        """Return the error of a damaged file, with its mend."""
        return f"{self.folder / name} is missing or damaged ({reason}): remove {self.folder} and fetch the set again"


def checksums(layout: CifarLayout) -> dict[str, str]:
    """Return torchvision's md5 of each file, by name."""
    import torchvision.datasets

    kind = getattr(torchvision.datasets, layout.torchvision)
    return {**dict(kind.train_list), **dict(kind.test_list), layout.meta: kind.meta["md5"]}


def _download(dataset: str, folder: Path) -> None:
    """Let torchvision download and unpack a set."""
    import torchvision.datasets

    getattr(torchvision.datasets, LAYOUTS[dataset].torchvision)(str(folder), download=True)


_FORMS: Final = (CifarFiles, ImageFolder)
_NAMES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SETS: Final = (
    DataSet("cifar10", "CIFAR-10 (Krizhevsky 2009)", 32, 3, _FORMS, 10, 50_000, 10_000, _NAMES, _download),
    # Of CIFAR-100 the names are not held to: exports differ in their spelling (keyboard, computer_keyboard, 39).
    DataSet("cifar100", "CIFAR-100 (Krizhevsky 2009)", 32, 3, _FORMS, 100, 50_000, 10_000, None, _download),
)
