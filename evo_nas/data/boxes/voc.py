"""Boxes in XML files, one per image, as PASCAL VOC has them (Everingham et al. 2010)."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self
from xml.etree import ElementTree

import numpy as np

from evo_nas.data.boxes.base import Annotation
from evo_nas.data.boxes.files import (
    IMAGE_FOLDERS,
    PART_NAMES,
    BoxFiles,
    Parsed,
    check_class_names,
    divide,
    find_folder,
    let_val_be_test,
    list_annotation_files,
    list_part_files,
    read_sizes,
)
from evo_nas.data.boxes.findings import Findings, read_number
from evo_nas.data.sources.base import DataSet, Part
from evo_nas.data.sources.layout import SUFFIXES, Contents, File, is_litter, some
from evo_nas.errors import DataError
from evo_nas.system.text import read_text

_LARGEST: Final = 2**24
"""Bytes of the largest XML file that is read: one image has no more boxes."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A folder of images and one of XML files, which may be the same; ``parent`` holds both."""

    parent: Path
    images: Path
    annotations: Path

    @classmethod
    def find(cls, place: Path) -> Pool | None:
        """Return the pool in a folder: ``JPEGImages`` and ``Annotations``, or images beside XML files."""
        annotations, images = find_folder(place, ("annotations",)), find_folder(place, IMAGE_FOLDERS)
        if annotations and images and list_annotation_files(annotations, ".xml"):
            return cls(place, images, annotations)
        return cls(place, place, place) if list_annotation_files(place, ".xml") else None


@dataclass(frozen=True, slots=True)
class Stock:
    """The files of a pool by the path below their folder, without ending; two images of one name are both there."""

    images: dict[str, list[File]]
    annotations: dict[str, File]

    @classmethod
    def list(cls, pool: Pool) -> Stock:
        """List the files of a pool; none is opened."""
        images: dict[str, list[File]] = {}
        for file in list_part_files(pool.images, SUFFIXES, Contents()):
            images.setdefault(_stem(file), []).append(file)
        annotations = {_stem(file): file for file in list_part_files(pool.annotations, (".xml",), Contents())}
        return cls(images, annotations)


class Content(NamedTuple):
    """The content of an XML file: the image's width and height if it says so, and its objects."""

    size: tuple[int, int] | None
    names: list[str]
    boxes: np.ndarray
    difficult: np.ndarray
    counts_from_zero: bool


class VocFolder(BoxFiles):
    """Images in ``JPEGImages``, XML in ``Annotations``, parts in ``ImageSets/Main/{train,val,test}.txt``.

    Other forms are read too: ``images`` in place of ``JPEGImages``; images beside XML files; a folder for each part.
    Without lists or folders of parts a fifth is the test part, see :func:`~evo_nas.data.boxes.files.divide`.
    With a val part, but no test part, val is the test part, as in an image folder.

    The classes of a part are those that its boxes have, sorted by name; those of a set that nobody divided are those
    of all boxes.
    """

    form = "XML files of boxes"

    def __init__(self, known: DataSet, root: Path) -> None:
        super().__init__(known, root)
        self._whole = Pool.find(root)
        self._stocks: dict[Path, Stock] = {}

    @classmethod
    def find(cls, known: DataSet, place: Path) -> Self | None:
        """Return the set if there are XML files, or folders of parts that have some; only names are read."""
        if not place.is_dir():
            return None
        folder = find_folder(place, PART_NAMES["train"])
        return cls(known, place) if Pool.find(place) or (folder and Pool.find(folder)) else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have a list or a folder, or train and test."""
        if not self._is_divided:
            return ("train", "test")
        there = set(self._lists) if self._whole is not None else set(self._pools)
        return tuple(part for part in PART_NAMES if part in there)

    def listing(self, part: Part) -> Iterable[tuple[Path, File]]:
        """Return the images and XML files of a part, and nothing for those that are missing."""
        pool = self._pool(part)
        stock = self._stock(pool)
        for name in self._names(part):
            yield from ((pool.images, file) for file in stock.images.get(name, ()))
            if name in stock.annotations:
                yield pool.annotations, stock.annotations[name]
            else:
                yield pool.annotations, File(f"{name} has none", 0, 0)
        if not self._is_divided:  # the classes are those of all boxes
            others = stock.annotations.keys() - set(self._names(part))
            yield from ((pool.annotations, stock.annotations[name]) for name in sorted(others))

    def belongings(self) -> list[Path]:
        """Return the folders of images, XML and lists, or all that lies beside one another."""
        if self._whole is None:
            return [pool.parent for pool in self._pools.values()]
        if self._whole.images == self._whole.annotations:
            return [path for path in sorted(self.root.iterdir()) if not is_litter(path.name)]
        lists = find_folder(self.root, ("imagesets",))
        return [self._whole.images, self._whole.annotations, *([lists] if lists else [])]

    def parse(self, part: Part) -> Parsed:
        """Read the XML files of a part."""
        pool, names, findings = self._pool(part), self._names(part), Findings()
        stock = self._stock(pool)
        self._check_names(part, findings)
        contents: dict[str, Content] = {}
        for name in names:
            if content := self._read_pair(pool, stock, name, findings, self._lists.get(part)):
                contents[name] = content
        zero = [name for name, content in contents.items() if content.counts_from_zero]
        if zero:
            verb = "file has" if len(zero) == 1 else "files have"
            findings.notes.append(
                f"{len(zero):,} {verb} a corner at 0 and so count from 0, others from 1 ({some(zero)})"
            )
        paths = [pool.images / stock.images[name][0].path for name in contents]
        classes = self._find_classes(part, contents)
        check_class_names(classes, pool.annotations, findings)
        annotations, kept = [], []
        for (name, content), path, size in zip(contents.items(), paths, read_sizes(paths, findings), strict=True):
            if size is None:
                continue
            if content.size not in (None, size):
                findings.add(
                    "images of another size than their annotation",
                    f"{path} has {size[0]}x{size[1]} pixels, but its annotation says {content.size[0]}x"
                    f"{content.size[1]}: draw the boxes again on the image as it is, or mend <size>",
                )
            boxes, chosen = findings.settle(content.boxes, size, name)
            labels = np.array([classes.index(each) for each in content.names], dtype=np.int64)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            kept.append(path)
            annotations.append(
                Annotation(name, size, boxes[chosen], labels[chosen], content.difficult[chosen], areas[chosen])
            )
        return Parsed(annotations, kept, classes, findings)

    @property
    def _is_divided(self) -> bool:
        """Whether lists or folders say which images belong to which part."""
        return self._whole is None or bool(self._lists)

    @functools.cached_property
    def _lists(self) -> dict[Part, Path]:
        """The list of names of each part that has one."""
        folder = find_folder(self.root, ("imagesets",))
        folder = folder and (find_folder(folder, ("main",)) or folder)
        if folder is None or self._whole is None:
            return {}
        there = {path.name.lower(): path for path in list_annotation_files(folder, ".txt")}
        lists = {part: there[f"{part}.txt"] for part in PART_NAMES if f"{part}.txt" in there}
        if "train" not in lists and "trainval.txt" in there:
            lists["train"] = there["trainval.txt"]
            lists.pop("val", None)
        if lists and "train" not in lists:
            raise DataError(f"{folder} has lists of parts, but no train.txt: add one, or move the others away")
        return let_val_be_test(lists)

    @functools.cached_property
    def _pools(self) -> dict[Part, Pool]:
        """The pool of each part that has a folder."""
        folders = {part: find_folder(self.root, names) for part, names in PART_NAMES.items()}
        pools = {part: pool for part, folder in folders.items() if folder and (pool := Pool.find(folder))}
        return let_val_be_test(pools)

    def _pool(self, part: Part) -> Pool:
        if self._whole is not None:
            return self._whole
        if part not in self._pools:
            raise DataError(f"{self.root} has no folder of the {part} part: add {self.root / part} with images and XML")
        return self._pools[part]

    def _stock(self, pool: Pool) -> Stock:
        if pool.parent not in self._stocks:
            self._stocks[pool.parent] = Stock.list(pool)
        return self._stocks[pool.parent]

    def _names(self, part: Part) -> list[str]:
        """Return the names of a part's images, in a fixed order, each once."""
        pool = self._pool(part)
        if part in self._lists:
            return list(dict.fromkeys(_read_list(self._lists[part])))
        if self._lists:
            raise DataError(f"{self.root} has no list of the {part} part: add {part}.txt beside train.txt")
        stock = self._stock(pool)
        names = sorted(stock.images.keys() | stock.annotations.keys())
        return names if self._whole is None else divide(names)[part]

    def _check_names(self, part: Part, findings: Findings) -> None:
        """Add a problem for names that are listed twice, in one part or in two, and for a part without images."""
        if not self._names(part):
            findings.add("empty parts", f"{self.place} has no image in its {part} part: add some, or leave it out")
        if part not in self._lists:
            return
        path = self._lists[part]
        for name, count in Counter(_read_list(path)).items():
            if count > 1:
                findings.add("names listed twice", f"{path} lists {name} {count} times: leave one")
        for other in PART_NAMES:
            # A search reads neither the list nor the files of a later part.
            if other == part:
                break
            for name in sorted(
                set(_read_list(self._lists[other])) & set(self._names(part)) if other in self._lists else ()
            ):
                findings.add(
                    "images of two parts", f"{name} stands in {path} and in {self._lists[other]}: leave it in one"
                )

    def _read_pair(
        self, pool: Pool, stock: Stock, name: str, findings: Findings, named_in: Path | None = None
    ) -> Content | None:
        """Return the annotation of an image, if both are there and it can be read."""
        images, annotation = stock.images.get(name, []), stock.annotations.get(name)
        asked = f", which {named_in} names" if named_in else ""
        if annotation is None:
            findings.add(
                "images without annotation",
                f"there is no {pool.annotations / name}.xml{asked}: add one, without <object> if nothing is there",
            )
        if not images:
            findings.add(
                "annotations without image",
                f"there is no image {pool.images / name} ({', '.join(SUFFIXES)}){asked}: add it, or remove its XML",
            )
        if len(images) > 1:
            both = " and ".join(file.path for file in images)
            findings.add("images of the same name", f"{pool.images} has {both}, and one XML file: remove one")
        if annotation is None or len(images) != 1:
            return None
        try:
            return read_annotation(pool.annotations / annotation.path)
        except DataError as error:
            findings.add("files that cannot be read", str(error))
            return None

    def _find_classes(self, part: Part, contents: dict[str, Content]) -> tuple[str, ...]:
        """Return the classes of the boxes of a part, sorted; of all boxes where nobody divided the set."""
        names = {name for content in contents.values() for name in content.names}
        if self._whole is not None and not self._is_divided:
            other: Part = "test" if part == "train" else "train"
            stock = self._stock(self._whole)
            for each in self._names(other):
                if content := self._read_pair(self._whole, stock, each, Findings()):
                    names.update(content.names)
        return tuple(sorted(names))


def read_annotation(path: Path) -> Content:
    """Return the content of an XML file.

    Corners count from 1 and belong to the box, as in VOC: a box of xmin 1 and xmax 3 is three pixels wide. A file with
    a corner at 0 counts from 0, with far edges. A box whose corners coincide, or are the wrong way round, gets no size.

    Raises:
        DataError: if it cannot be read, is no annotation, or an object lacks its name or its box.
    """
    try:
        text = read_text(path, _LARGEST)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path} cannot be read ({reason}): mend or remove it") from None
    if "<!DOCTYPE" in text:  # entities would be expanded, to any length
        raise DataError(f"{path} is refused, because it has a DOCTYPE: remove that line, an annotation needs none")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is no XML ({error}): mend or remove it") from None
    if root.tag != "annotation":
        raise DataError(f"{path} is no annotation of VOC: its root is <{root.tag[:50]}>, not <annotation>")
    sides = [read_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    size = (int(sides[0]), int(sides[1])) if sides[0] and sides[1] else None  # tools write 0 for what they do not know
    names, corners, difficult = [], [], []
    for number, element in enumerate(root.iter("object"), 1):
        name = (element.findtext("name") or "").strip()
        values = [read_number(element.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
        if not name:
            raise DataError(f"{path}: object {number} has no name: add <name>, or remove the object")
        if any(value is None for value in values):
            raise DataError(f"{path}: object {number} ({name[:50]}) has no box of four numbers: mend its <bndbox>")
        names.append(name)
        corners.append(values)
        difficult.append((element.findtext("difficult") or "0").strip() in ("1", "true"))
    boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
    has_size = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    counts_from_zero = bool((boxes[:, :2] == 0).any())
    if not counts_from_zero:
        boxes[has_size, :2] -= 1
    return Content(size, names, boxes, np.array(difficult, dtype=bool), counts_from_zero)


def _read_list(path: Path) -> Sequence[str]:
    """Return the names in a list, one a line; an ending of images is taken off.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path} cannot be read ({reason}): it must list a name a line") from None
    return [line[: line.rindex(".")] if line.lower().endswith(SUFFIXES) else line for line in lines if line]


def _stem(file: File) -> str:
    return file.path[: file.path.rindex(".")]


VOC: Final = DataSet(
    "voc",
    "images with boxes in XML files, as PASCAL VOC has them",
    None,
    3,
    (VocFolder,),
    layout="images at {root}/JPEGImages, their XML at {root}/Annotations",
)
