"""Images with boxes in files of the user's: which part they belong to, their sizes, and their pixels on the canvas."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from evo_nas.data.boxes.base import Annotation, BoxSource
from evo_nas.data.boxes.findings import Findings
from evo_nas.data.boxes.letterbox import draw_on_canvas
from evo_nas.data.sources.base import DataSet, Part, open_picture
from evo_nas.data.sources.layout import Contents, File, is_litter, list_images
from evo_nas.data.sources.threads import map_in_threads
from evo_nas.errors import DataError
from evo_nas.system.names import look_of, spell_apart

_Found = TypeVar("_Found")

PART_NAMES: Final[dict[Part, tuple[str, ...]]] = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "minival"),
    "test": ("test", "testing"),
}
"""Part -> the words by which folders, lists and files call it, in small letters."""

IMAGE_FOLDERS: Final = ("jpegimages", "images", "imgs")
"""Names of folders of images, in small letters."""

_LONGEST: Final = 100
"""Letters of the longest name of a class."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One part as it was read: images, paths in the same order, class names by label, and what was found wrong."""

    annotations: list[Annotation]
    paths: list[Path]
    classes: tuple[str, ...]
    findings: Findings


class BoxFiles(BoxSource):
    """Images and annotations in files. A part is parsed once per object.

    A subclass says in ``listing`` which files a part has, and reads them in ``parse``.
    """

    def __init__(self, known: DataSet, root: Path) -> None:
        self.known, self.root = known, root
        self.place = str(root)
        self._parsed: dict[Part, Parsed] = {}

    @abstractmethod
    def listing(self, part: Part) -> Iterable[tuple[Path, File]]:
        """Return the folder and the file of everything that a part is read from; no image is opened.

        Raises:
            DataError: if files are missing.
        """

    @abstractmethod
    def parse(self, part: Part) -> Parsed:
        """Read the annotations of a part; problems are collected.

        Raises:
            DataError: if they cannot be read at all.
        """

    def stamp(self, part: Part) -> str:
        """Return the folder, and the name, size and time of change of each file, as text."""
        lines = [f"{self.known.name} {self.root.resolve()} {part}"]
        lines += [f"{folder.name}/{file.path}\t{file.bytes}\t{file.mtime_ns}" for folder, file in self.listing(part)]
        return "\n".join(lines)

    def name_classes(self, part: Part) -> tuple[str, ...]:
        """Return the classes of a part."""
        return self._read(part).classes

    def annotations(self, part: Part) -> Sequence[Annotation]:
        """Return what the files say of each image.

        Raises:
            DataError: with the first problem, and how to see all of them.
        """
        return self._read(part).annotations

    def batches(self, part: Part, size: int | None, channels: int) -> Iterator[np.ndarray]:
        """Decode the files with a few threads onto canvases of ``size`` pixels."""
        assert size is not None
        for drawn in map_in_threads(partial(self._draw, canvas=size, channels=channels), self._read(part).paths):
            yield np.stack(drawn)

    def paths(self, part: Part) -> Sequence[Path]:
        """Return the file of each image, in the order of the annotations; raises what they raise."""
        return self._read(part).paths

    def faults(self, part: Part) -> Iterator[str]:
        """Name what is wrong with the annotations; decode every image, and name those that cannot be."""
        parsed = self.parse_once(part)
        yield from parsed.findings.list_problems()
        for found in map_in_threads(_find_faults, parsed.paths):
            yield from found

    def notes(self, part: Part) -> list[str]:
        """Return what was dropped, cut or passed over."""
        return self.parse_once(part).findings.list_notes()

    def list_readable(self, part: Part) -> tuple[Sequence[Annotation], tuple[str, ...]]:
        """Return what the files say of each image that can be read, whatever is wrong with others."""
        parsed = self.parse_once(part)
        return parsed.annotations, parsed.classes

    def parse_once(self, part: Part) -> Parsed:
        """Return a part as it was read, good or bad."""
        if part not in self._parsed:
            self._parsed[part] = self.parse(part)
        return self._parsed[part]

    def _read(self, part: Part) -> Parsed:
        """Return a part without problems."""
        parsed = self.parse_once(part)
        if problems := parsed.findings.list_problems():
            raise DataError("; ".join([problems[0], *([self.examine()] if len(problems) > 1 else [])]))
        return parsed

    def examine(self) -> str:
        """Return how to find all that is wrong."""
        return f"to find all that is wrong: {self.known.command('check', self.root.absolute())}"

    def _draw(self, paths: Sequence[Path], *, canvas: int, channels: int) -> list[np.ndarray]:
        drawn = []
        for path in paths:
            try:
                with open_picture(path) as image:
                    drawn.append(draw_on_canvas(image, canvas, channels))
            except DataError as error:
                raise DataError(f"{error}; {self.examine()}") from None
        return drawn


def read_sizes(paths: Sequence[Path], findings: Findings) -> list[tuple[int, int] | None]:
    """Return width and height of each image from its header; one that cannot be read is a problem, and ``None``."""
    sizes: list[tuple[int, int] | None] = []
    for batch in map_in_threads(_read_headers, paths):
        for size in batch:
            if isinstance(size, str):
                findings.add("images that cannot be decoded", size)
                sizes.append(None)
            else:
                sizes.append(size)
    return sizes


def _read_headers(paths: Sequence[Path]) -> list[tuple[int, int] | str]:
    found: list[tuple[int, int] | str] = []
    for path in paths:
        try:
            with open_picture(path) as image:
                found.append(image.size)
        except DataError as error:
            found.append(str(error))
    return found


def _find_faults(paths: Sequence[Path]) -> list[str]:
    """Decode a batch of files for their faults alone."""
    faults = []
    for path in paths:
        try:
            with open_picture(path) as image:
                image.load()
        except DataError as error:
            faults.append(str(error))
    return faults


def list_part_files(folder: Path, suffixes: tuple[str, ...], found: Contents) -> list[File]:
    """Return the files of these endings in a folder and below it, sorted by path.

    Raises:
        DataError: with the first that cannot be read.
    """
    files = list_images(folder, found, suffixes)
    if found.faults:
        raise DataError(found.faults[0])
    return files


def list_annotation_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files of this ending that lie directly in a folder, sorted, without litter; none without folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(suffix) and not is_litter(path.name))


def find_folder(place: Path, names: Iterable[str]) -> Path | None:
    """Return the folder in a place that has the first of these names, in letters of any case."""
    if not place.is_dir():
        return None
    there = {path.name.lower(): path for path in sorted(place.iterdir(), reverse=True) if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def part_of(name: str) -> Part | None:
    """Return the part that a name speaks of, as ``instances_train2017`` does; ``None`` if it speaks of none."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return next((part for part, names in PART_NAMES.items() if words & set(names)), None)


def divide(names: Iterable[str]) -> dict[Part, list[str]]:
    """Divide a set that nobody has divided: a fifth of the names is the test part, the rest the train part.

    The hash of a name decides: whatever the seed of a search, the test part is the same, and a new image moves few of
    the others. Neighbours, such as frames of one film, are torn apart: divide such a set yourself.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    held = max(1, len(ranked) // 5)
    return {"train": sorted(ranked[held:]), "test": sorted(ranked[:held])}


def check_class_names(names: Sequence[str], place: Path, findings: Findings) -> None:
    """Add a problem if two classes look the same, or one cannot be shown."""
    for name in names:
        if len(name) > _LONGEST or not name.isprintable():
            what = f"a class whose name is no line of at most {_LONGEST} letters"
            findings.add("classes that cannot be shown", f"{place} has {what}: {name[:40]!a}; rename it")
    if len({look_of(name) for name in names}) < len(names):
        alike = [shown for name, shown in zip(names, spell_apart(names), strict=True) if name != shown]
        findings.add("classes that look alike", f"{place} has classes that look the same: {', '.join(alike)}")


def let_val_be_test(found: dict[Part, _Found]) -> dict[Part, _Found]:
    """Return the parts, val as the test part where there is no other: COCO does not publish the boxes of its own."""
    if "val" in found and "test" not in found:
        return {("test" if part == "val" else part): value for part, value in found.items()}
    return found
