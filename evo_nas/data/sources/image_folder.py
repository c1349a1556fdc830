"""Image folders, ``train/<class>/*.jpg`` and ``test/<class>/*.jpg`` (or ``val``): torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np

from evo_nas.data.sources.base import ImageSource, Part, pixels
from evo_nas.data.sources.catalogue import command
from evo_nas.errors import DataError, UsageError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
"""Endings of image files, in any case. Other files, and names that begin with a dot, are passed over."""

NAMED_FAULTS: Final = 5
"""Number of classes or files that a message names before it only counts."""

_BATCH: Final = 256
_T = TypeVar("_T")


class File(NamedTuple):
    """One image file: its path below the part's folder, and what tells that it changed."""

    path: str
    bytes: int
    mtime_ns: int


class ImageFolder(ImageSource):
    """The images below ``root/train`` and ``root/test``, a folder per class; deeper folders are read too.

    Without ``root/test``, ``root/val`` is the test part: so ImageNet is laid out. Validation images are never read from
    there, they are held out of the train part.

    Classes are sorted by name, and the images of a class by path. The listing is taken once per object and part.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = str(root)
        self._listed: dict[Part, dict[str, list[File]]] = {}

    def classes(self) -> tuple[str, ...]:
        """Return the names of the class folders of the train part, sorted."""
        return class_names(self.root / "train")

    def listing(self, part: Part) -> dict[str, list[File]]:
        """Return the image files of each class, without opening one.

        Raises:
            DataError: if a folder is missing, unreadable or without images, if there are fewer than two classes, or
                if the test part has other classes than the train part.
        """
        if part not in self._listed:
            folder = self._folder(part)
            names = class_names(folder)
            if part == "train" and len(names) < 2:
                raise DataError(
                    f"{folder} holds {len(names)} class folder{'' if len(names) == 1 else 's'}, but at least 2 are "
                    f"needed: put the images at {folder}/<class>/"
                )
            # The train folder may be gone when the test part is opened.
            if part == "test" and (self.root / "train").is_dir() and names != self.classes():
                differing = sorted(set(names) ^ set(self.classes()))
                raise DataError(
                    f"{folder} has other classes than {self.root / 'train'}: {some(differing)} "
                    f"{'is' if len(differing) == 1 else 'are'} in only one of them; give both the same class folders"
                )
            files = {name: _files(folder / name) for name in names}
            for name, found in files.items():
                if not found:
                    raise DataError(
                        f"{folder / name} holds no image ({', '.join(SUFFIXES)}): add some, or remove the class folder"
                    )
            self._listed[part] = files
        return self._listed[part]

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
        for arrays in _map_in_threads(partial(self._decode, size=size, channels=channels), self.paths(part)):
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
        """Decode every file, and name those that cannot be."""
        for found in _map_in_threads(_find_faults, self.paths(part)):
            yield from found

    def paths(self, part: Part) -> list[Path]:
        """Return the path of every image in the order of the labels."""
        folder = self._folder(part)
        return [folder / name / file.path for name, files in self.listing(part).items() for file in files]

    def _folder(self, part: Part) -> Path:
        """Return the folder of a part; ImageNet calls its test part ``val``."""
        folder = self.root / part
        other = self.root / "val"
        return other if part == "test" and not folder.is_dir() and other.is_dir() else folder

    def _decode(self, paths: Sequence[Path], *, size: int | None, channels: int) -> list[tuple[Path, np.ndarray]]:
        """Decode a batch of files; the first that is damaged ends it, and may not be the only one."""
        try:
            return [(path, read(path, size, channels)) for path in paths]
        except DataError as error:
            # Images of any set that lie in such folders can be examined as a folder.
            examine = command("check", "folder", self.root.absolute())
            raise DataError(f"{error}; to find all such files: {examine}") from None


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders of a part, sorted; hidden folders are none.

    Raises:
        DataError: if there is no such folder, or it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()))
    except OSError as error:
        raise DataError(_unreadable(folder, error)) from None


def read(path: Path, size: int | None, channels: int) -> np.ndarray:
    """Decode one file to uint8 pixels of shape (size, size, channels).

    Raises:
        DataError: naming the file, if it cannot be read or decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return pixels(image, size, channels)
    except Exception as error:  # Decoders raise all sorts: OSError, SyntaxError, ValueError, struct.error ...
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if "cannot identify" in reason:
            reason = "its content is no image"
        raise DataError(f"{path} cannot be decoded ({reason}): replace or remove it") from None


def some(words: Sequence[object]) -> str:
    """Return the first few names, and the number of the others, as text."""
    shown = ", ".join(map(str, words[:NAMED_FAULTS]))
    return shown if len(words) <= NAMED_FAULTS else f"{shown} and {len(words) - NAMED_FAULTS} more"


def _files(folder: Path) -> list[File]:
    """Return the image files of a class folder and of the folders below it, sorted by path.

    Linked files are read, linked folders below a class are not: a link to a parent would never end.
    """
    found = []
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    if entry.name[0] == ".":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{below}{entry.name}/")
                    elif entry.name.lower().endswith(SUFFIXES):
                        status = entry.stat()
                        found.append(File(below + entry.name, status.st_size, status.st_mtime_ns))
        except OSError as error:
            raise DataError(_unreadable(Path(error.filename or folder / below), error)) from None
    return sorted(found)


def _unreadable(path: Path, error: OSError) -> str:
    """Return why a folder or file cannot be read."""
    if isinstance(error, FileNotFoundError):
        return f"there is no {path}: an image folder has train/<class>/ and test/<class>/ with images in them"
    return f"{path} cannot be read ({error.strerror}): mend its permissions, or name another folder"


def _find_faults(paths: Sequence[Path]) -> list[str]:
    """Decode a batch of files for their faults alone."""
    faults = []
    for path in paths:
        try:
            read(path, None, 3)
        except DataError as error:
            faults.append(str(error))
    return faults


def _map_in_threads(work: Callable[[Sequence[Path]], _T], paths: Sequence[Path]) -> Iterator[_T]:
    """Yield the results of the work on batches of paths, in order; a few threads share it."""
    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        # A window at a time: to submit everything would hold a large set in memory when the disk is slower.
        for start in range(0, len(batches), 4 * workers):
            yield from pool.map(work, batches[start : start + 4 * workers])
