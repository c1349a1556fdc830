"""Image folders, ``train/<class>/*.jpg`` and ``test/<class>/*.jpg`` (or ``val``): torchvision's ImageFolder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

import numpy as np

from evo_nas.data.sources.base import DataSet, ImageSource, Part, open_picture, pixels
from evo_nas.data.sources.layout import FOLDERS, SUFFIXES, Contents, File, list_folders, some, survey
from evo_nas.data.sources.threads import map_in_threads
from evo_nas.errors import DataError, UsageError
from evo_nas.system.names import look_of, spell_apart


class ImageFolder(ImageSource):
    """The images below ``root/train`` and ``root/test``, a folder per class; deeper folders are read too.

    Without ``root/test``, ``root/val`` is the test part: so ImageNet is laid out. Validation images are never read from
    there, they are held out of the train part.

    Classes are sorted by name, and the images of a class by path. The listing is taken once per object and part.
    """

    form = "images in train/<class>/"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = str(root)
        self._surveyed: dict[Part, Contents] = {}

    @classmethod
    def find(cls, known: DataSet, place: Path) -> Self | None:
        """Return the set if there is a train folder, with the classes of the set where these are known."""
        return cls(place) if (place / "train").is_dir() and cls.misfit(known, place) is None else None

    @classmethod
    def misfit(cls, known: DataSet, place: Path) -> str | None:
        """Return how the class folders differ from the classes of the set."""
        folder = place / "train"
        if known.classes is None or not folder.is_dir():
            return None
        names = list_folders(folder)
        if len(names) == known.classes and known.names in (None, names):
            return None
        return f"{folder} holds {len(names)} class folders, not {known.name}'s: {some(names) or 'none'}"

    def classes(self) -> tuple[str, ...]:
        """Return the names of the class folders of the train part, sorted."""
        return list_folders(self._folder("train"))

    def listing(self, part: Part) -> dict[str, list[File]]:
        """Return the image files of each class, without opening one.

        Raises:
            DataError: if a folder is missing, unreadable or without images, a file cannot be read, there are fewer
                than two classes or two that look alike, or the test part has other classes than the train part.
        """
        if problems := list(self._problems(part)):
            raise DataError("; ".join([problems[0], *([self._examine()] if len(problems) > 1 else [])]))
        return self._contents(part).classes

    def stamp(self, part: Part) -> str:
        """Return the folder, and the name, size and time of change of each file, as text."""
        lines = [str(self.root.resolve() / part)]
        for name, files in self.listing(part).items():
            lines += [f"{name}/{file.path}\t{file.bytes}\t{file.mtime_ns}" for file in files]
        return "\n".join(lines)

    def labels(self, part: Part) -> np.ndarray:
        """Return the index of each image's class folder."""
        counts = [len(files) for files in self.listing(part).values()]
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Decode the files with a few threads: Pillow lets go of the interpreter's lock while it decodes.

        Raises:
            DataError: naming a file that cannot be decoded.
            UsageError: if ``size`` is ``None`` and the images differ in size, or are not square.
        """
        first: tuple[int, int] | None = None
        for arrays in map_in_threads(partial(self._decode, size=size, channels=channels), self.paths(part)):
            for path, array in arrays:
                height, width = array.shape[:2]
                first = first or (height, width)
                if height != width or first != (height, width):
                    raise UsageError(
                        f"the images of {self._folder(part)} have no common square size ({path.name} is "
                        f"{width}x{height}): name the size in pixels to which they are to be resized, such as 32"
                    )
            yield np.stack([array for _, array in arrays])

    def faults(self, part: Part) -> Iterator[str]:
        """Name what is wrong with folders and classes; decode every file, and name those that cannot be."""
        yield from self._problems(part)
        for found in map_in_threads(_find_faults, self._paths(part)):
            yield from found

    def paths(self, part: Part) -> list[Path]:
        """Return the path of every image in the order of the labels."""
        self.listing(part)
        return self._paths(part)

    def counts(self, part: Part) -> dict[str, int]:
        """Return the images of each class that can be opened."""
        return {name: len(files) for name, files in self._contents(part).classes.items()}

    def notes(self, part: Part) -> list[str]:
        """Return which folder is read, if it has another name than the part, and what is passed over."""
        found, notes = self._contents(part), []
        if (name := self._folder(part).name) != part:
            notes.append(f"they lie in {name}")
        if found.others:
            notes.append(f"{found.others:,} other file{'s are' if found.others > 1 else ' is'} passed over")
        if found.litter:
            counted = [f"{name} ({count:,})" for name, count in sorted(found.litter.items())]
            notes.append(f"what systems and tools left is passed over: {some(counted)}")
        return notes

    def belongings(self) -> list[Path]:
        """Return the folders of all parts that are there."""
        folders = [self.root / name for names in FOLDERS.values() for name in names]
        return [folder for folder in folders if folder.is_dir()]

    def _contents(self, part: Part) -> Contents:
        """Return what lies in the folder of a part, good or bad."""
        if part not in self._surveyed:
            self._surveyed[part] = survey(self._folder(part))
        return self._surveyed[part]

    def _problems(self, part: Part) -> Iterator[str]:
        """Yield what keeps a part from being read."""
        folder, found = self._folder(part), self._contents(part)
        names = tuple(found.classes)
        yield from found.faults
        if part == "train" and len(names) < 2:
            yield (
                f"{folder} holds {len(names)} class folder{'' if len(names) == 1 else 's'}, but at least 2 are "
                f"needed: put the images at {folder}/<class>/"
            )
        if len({look_of(name) for name in names}) < len(names):
            alike = [shown for name, shown in zip(names, spell_apart(names), strict=True) if name != shown]
            yield f"{folder} holds classes whose names look the same: {some(alike)}; rename or merge them"
        if part == "test" and folder.resolve() == self._folder("train").resolve():
            yield f"{folder} leads to the folder of the train part: test images must be others"
        # The train folder may be gone when the test part is opened.
        if part == "test" and (train := self._folder("train")).is_dir() and names != self.classes():
            differing = spell_apart(sorted(set(names) ^ set(self.classes())))
            yield (
                f"{folder} has other classes than {train}: {some(differing)} "
                f"{'is' if len(differing) == 1 else 'are'} in only one of them; give both the same class folders"
            )
        for name, files in found.classes.items():
            if not files and not any(fault.startswith(str(folder / name)) for fault in found.faults):
                yield f"{folder / name} holds no image ({', '.join(SUFFIXES)}): add some, or remove the class folder"

    def _folder(self, part: Part) -> Path:
        """Return the folder of a part."""
        folders = [self.root / name for name in FOLDERS[part]]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def _paths(self, part: Part) -> list[Path]:
        folder = self._folder(part)
        return [folder / name / file.path for name, files in self._contents(part).classes.items() for file in files]

    def _examine(self) -> str:
        """Return how to find all that is wrong: images of any set in such folders can be examined as a folder."""
        return f"to find all that is wrong: {FOLDER.command('check', self.root.absolute())}"

    def _decode(self, paths: Sequence[Path], *, size: int | None, channels: int) -> list[tuple[Path, np.ndarray]]:
        """Decode a batch of files; the first that is damaged ends it, and may not be the only one."""
        try:
            return [(path, read(path, size, channels)) for path in paths]
        except DataError as error:
            raise DataError(f"{error}; {self._examine()}") from None


def read(path: Path, size: int | None, channels: int) -> np.ndarray:
    """Decode one file to uint8 pixels of shape (size, size, channels).

    Raises:
        DataError: naming the file, if it cannot be read or decoded.
    """
    with open_picture(path) as image:
        return pixels(image, size, channels)


def _find_faults(paths: Sequence[Path]) -> list[str]:
    """Decode a batch of files for their faults alone."""
    faults = []
    for path in paths:
        try:
            read(path, None, 3)
        except DataError as error:
            faults.append(str(error))
    return faults


FOLDER: Final = DataSet(
    "folder", "any image folder: train/<class>/*.jpg|png and test/<class>/*", None, 3, (ImageFolder,)
)
