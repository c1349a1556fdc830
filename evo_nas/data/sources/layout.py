"""Layout of an image folder: its parts, class folders and image files. All else is passed over and counted.

Fetching, checking and reading, and so fingerprints, all take their answer from here.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from evo_nas.data.sources.base import Part
from evo_nas.errors import DataError
from evo_nas.system.names import describe_missing

FOLDERS: Final[dict[Part, tuple[str, ...]]] = {"train": ("train",), "test": ("test", "val")}
"""Part -> the folders that may hold it: the first that is there does. ImageNet calls its test part ``val``."""

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
"""Endings of image files, in any case."""

LITTER: Final = frozenset(
    (
        *("__macosx", "icon\r"),  # macOS; its .DS_Store and ._* are hidden files
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # network storage
        *("lost+found", "__pycache__"),
    )
)
"""Names, in small letters, of what operating systems and tools leave behind. All hidden files are litter too."""

NAMED_FAULTS: Final = 5
"""Number of classes or files that a message names before it only counts."""


class File(NamedTuple):
    """One image file: its path below the class folder, and what tells that it changed."""

    path: str
    bytes: int
    mtime_ns: int


@dataclass
class Contents:
    """Files in the folder of a part.

    ``classes`` are the image files of each class, both sorted; ``faults`` name what cannot be used, and why; ``litter``
    counts names of files and folders that systems and tools left; ``others`` counts other files and linked folders.
    """

    classes: dict[str, list[File]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    litter: Counter[str] = field(default_factory=Counter)
    others: int = 0


def is_litter(name: str) -> bool:
    """Return whether a file or folder of this name was left by an operating system or a tool, or is hidden."""
    return name.startswith(".") or name.lower() in LITTER


def is_image(path: Path) -> bool:
    """Return whether a file has the name of an image, and is no litter."""
    return path.suffix.lower() in SUFFIXES and not is_litter(path.name)


def list_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted, without litter.

    Raises:
        DataError: if there is no such folder, or it cannot be read.
    """
    try:
        return tuple(sorted(path.name for path in folder.iterdir() if not is_litter(path.name) and path.is_dir()))
    except OSError as error:
        raise DataError(_unreadable(folder, error)) from None


def survey(folder: Path) -> Contents:
    """List the folder of a part; no image is opened. One bad file or class does not hide the others.

    Linked class folders and linked files are read. Linked folders below a class are not: a link to a parent would
    never end.

    Raises:
        DataError: if the folder itself is not there, or cannot be read.
    """
    found = Contents()
    try:
        entries = _entries(folder, found)
    except OSError as error:
        raise DataError(_unreadable(folder, error)) from None
    for entry in entries:
        status = _status(entry, found)
        if status is not None and stat.S_ISDIR(status.st_mode):
            found.classes[entry.name] = list_images(folder / entry.name, found)
        else:
            found.others += status is not None
    return found


def find_images(places: Sequence[Path]) -> list[Path]:
    """Return image files in the order of the places that name them: a file itself, or all below a folder, sorted.

    Raises:
        DataError: if nothing is there, a folder holds no image, or what is there cannot be read.
    """
    images = []
    for place in places:
        if not place.is_dir():
            if not place.exists():
                raise DataError(describe_missing("image or folder", place))
            if not place.is_file():  # it would be waited for, or have no end
                raise DataError(f"{place} is a pipe or a device, no image")
            images.append(place)
            continue
        found = Contents()
        files = list_images(place, found)
        if found.faults:
            raise DataError(found.faults[0])
        if not files:
            raise DataError(f"{place} holds no image ({', '.join(SUFFIXES)})")
        images += [place / file.path for file in files]
    return images


def some(words: Sequence[object]) -> str:
    """Return the first few names, and the number of the others, as text."""
    shown = ", ".join(map(str, words[:NAMED_FAULTS]))
    return shown if len(words) <= NAMED_FAULTS else f"{shown} and {len(words) - NAMED_FAULTS} more"


def list_images(folder: Path, found: Contents, suffixes: tuple[str, ...] = SUFFIXES) -> list[File]:
    """Return the files of these endings in a folder and in the folders below it, sorted by path.

    What cannot be used, litter, and other files are added to ``found``.
    """
    files = []
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = _entries(folder / below, found)
        except OSError as error:
            found.faults.append(_unreadable(folder / below, error))
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{below}{entry.name}/")
            elif not entry.name.lower().endswith(suffixes):
                found.others += 1
            elif (status := _status(entry, found)) is not None:
                if stat.S_ISREG(status.st_mode):
                    files.append(File(below + entry.name, status.st_size, status.st_mtime_ns))
                elif stat.S_ISDIR(status.st_mode):
                    found.others += 1
                else:  # it would be waited for, or have no end
                    found.faults.append(f"{entry.path} is a pipe or a device, no file: remove it")
    return sorted(files)


def _entries(folder: Path, found: Contents) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, sorted, without litter, which is counted."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    litter = [entry.name for entry in listed if is_litter(entry.name)]
    found.litter.update("._*" if name.startswith("._") else name for name in litter)
    return [entry for entry in listed if not is_litter(entry.name)]


def _status(entry: os.DirEntry[str], found: Contents) -> os.stat_result | None:
    """Return the status of what an entry leads to; ``None`` if that cannot be had, which is a fault."""
    try:
        return entry.stat()
    except OSError as error:
        found.faults.append(_unreadable(Path(entry.path), error))
        return None


def _unreadable(path: Path, error: OSError) -> str:
    """Return why a folder or file cannot be read."""
    if not isinstance(error, FileNotFoundError):
        return f"{path} cannot be read ({error.strerror}): mend that, or remove it"
    if path.is_symlink():
        return f"{path} is a link to {path.readlink()}, which is not there: bring that back, or remove the link"
    beside = list_folders(path.parent) if path.parent.is_dir() else ()
    holds = f"; {path.parent} holds {some(beside)}" if beside else ""
    return f"there is no {path}: an image folder has images in train/<class>/ and test/<class>/, or val/<class>/{holds}"
