"""The content of one JSON file of COCO's format, read element by element into a few arrays."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import NamedTuple, TypeGuard

import numpy as np

from evo_nas.data.boxes.findings import Findings, read_number
from evo_nas.data.boxes.json_stream import read_lists
from evo_nas.errors import DataError

Id = int | str


class Entry(NamedTuple):
    """One image of a JSON file, by its id: the name of its file, and width and height if they are there."""

    name: str
    size: tuple[int, int] | None


class BoxRows(NamedTuple):
    """The boxes of one image: float64 of shape (m, 4), x, y, width and height; class, crowd and area of the outline.

    ``classes`` are int64 of shape (m,), places in the classes by ascending id; ``areas`` are NaN where none is given.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowds: np.ndarray
    areas: np.ndarray


@dataclass
class JsonContent:
    """The content of a JSON file: images and classes by their ids, and the boxes as columns, sorted by image."""

    images: dict[Id, Entry] = field(default_factory=dict)
    categories: dict[Id, str] = field(default_factory=dict)
    _starts: dict[Id, tuple[int, int]] = field(default_factory=dict)
    _columns: BoxRows | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by ascending id."""
        return tuple(self.categories[each] for each in self.sort_categories())

    def sort_categories(self) -> list[Id]:
        """Return the ids of the categories, numbers first."""
        return sorted(self.categories, key=lambda each: (isinstance(each, str), each))

    def take_boxes(self, rows: _Rows, findings: Findings, file: Path) -> None:
        """Take over the boxes that were read; those of unknown images and categories are problems."""
        places = {each: place for place, each in enumerate(self.sort_categories())}
        known = np.array([each in self.images for each in rows.image_ids], dtype=bool)
        classes = np.array([places.get(each, -1) for each in rows.category_ids], dtype=np.int64)
        images, categories = np.array(rows.images, dtype=np.int64), np.array(rows.categories, dtype=np.int64)
        image_ids, category_ids = list(rows.image_ids), list(rows.category_ids)
        for row in np.flatnonzero(~known[images]):
            what = f"annotation {rows.numbers[row]:,} is of image {image_ids[images[row]]!r:.60}"
            findings.add(
                "annotations of missing images",
                f"{file}: {what}, which is not among its images: add that, or remove the annotation",
            )
        for row in np.flatnonzero(known[images] & (classes[categories] < 0)):
            what = f"annotation {rows.numbers[row]:,} is of category {category_ids[categories[row]]!r:.60}"
            findings.add(
                "annotations of unknown categories",
                f"{file}: {what}, which is not among its categories: add that, or mend the annotation",
            )
        usable = np.flatnonzero(known[images] & (classes[categories] >= 0))
        order = usable[np.argsort(images[usable], kind="stable")]
        self._columns = BoxRows(
            np.array(rows.boxes, dtype=np.float64).reshape(-1, 4)[order],
            classes[categories][order],
            np.frombuffer(bytes(rows.crowds), dtype=np.uint8)[order].astype(bool),
            np.array(rows.areas, dtype=np.float64)[order],
        )
        ends = np.searchsorted(images[order], np.arange(len(image_ids) + 1)).tolist()
        self._starts = {each: (ends[place], ends[place + 1]) for place, each in enumerate(image_ids)}

    def boxes_of(self, image: Id) -> BoxRows:
        """Return the boxes of an image, in the order of the file."""
        assert self._columns is not None
        first, last = self._starts.get(image, (0, 0))
        return BoxRows(*(column[first:last] for column in self._columns))


class _Rows:
    """Columns of boxes as they are read: 65 bytes a box, where objects of Python would take several hundred.

    ``numbers`` are the places of the annotations in the file, from 1. Images and categories may stand after them.
    """

    def __init__(self) -> None:
        self.image_ids: dict[Id, int] = {}
        self.category_ids: dict[Id, int] = {}
        self.images, self.categories, self.numbers = array("q"), array("q"), array("q")
        self.boxes, self.areas, self.crowds = array("d"), array("d"), bytearray()

    def add(self, number: int, image: Id, category: Id, box: list[float], area: float, is_crowd: bool) -> None:
        self.numbers.append(number)
        self.images.append(self.image_ids.setdefault(image, len(self.image_ids)))
        self.categories.append(self.category_ids.setdefault(category, len(self.category_ids)))
        self.boxes.extend(box)
        self.areas.append(area)
        self.crowds.append(is_crowd)


def read_coco(file: Path) -> tuple[JsonContent, Findings]:
    """Return the content of a JSON file, and what is wrong with it.

    Raises:
        DataError: if it cannot be read, or has no images or no categories.
    """
    content, findings, rows = JsonContent(), Findings(), _Rows()
    own_ids: set[Id] = set()
    lists = Counter({"images": 0, "annotations": 0, "categories": 0})
    for key, element in read_lists(file, frozenset(lists)):
        lists[key] += 1
        which = f"{file}: {key} {lists[key]:,}"
        if not isinstance(element, dict):
            findings.add(f"{key} that are no objects", f"{which} is no object with names and values: mend or remove it")
        elif key == "images":
            _read_image(element, which, content, findings)
        elif key == "categories":
            _read_category(element, which, content, findings)
        else:
            own = element.get("id")
            if _is_id(own):  # it is used nowhere, and so may be absent
                if own in own_ids:
                    findings.add("annotations of the same id", _describe_twice(which, own))
                own_ids.add(own)
            _read_box(element, which, lists[key], rows, findings)
    for key in ("images", "categories"):
        if not lists[key]:
            raise DataError(f"{file} has no {key}: a JSON of COCO has images, annotations and categories")
    content.take_boxes(rows, findings, file)
    return content, findings


def _read_image(element: dict[str, object], which: str, content: JsonContent, findings: Findings) -> None:
    own, name = element.get("id"), element.get("file_name")
    if not _is_id(own) or not isinstance(name, str) or not name:
        findings.add("images without id or file_name", f"{which} has no id or no file_name: add them")
    elif own in content.images:
        findings.add("images of the same id", _describe_twice(which, own))
    else:
        width, height = read_number(element.get("width")), read_number(element.get("height"))
        size = (int(width), int(height)) if width and height else None
        content.images[own] = Entry(PureWindowsPath(name).as_posix(), size)


def _read_category(element: dict[str, object], which: str, content: JsonContent, findings: Findings) -> None:
    own, name = element.get("id"), element.get("name")
    if not _is_id(own) or not isinstance(name, str) or not name.strip():
        findings.add("categories without id or name", f"{which} has no id or no name: add them")
    elif own in content.categories:
        findings.add("categories of the same id", _describe_twice(which, own))
    else:
        content.categories[own] = name.strip()


def _read_box(element: dict[str, object], which: str, number: int, rows: _Rows, findings: Findings) -> None:
    image, category, box = element.get("image_id"), element.get("category_id"), element.get("bbox")
    if not _is_id(image) or not _is_id(category):
        findings.add("annotations without image or category", f"{which} has no image_id or no category_id: add them")
        return
    values = [value for each in box if (value := read_number(each)) is not None] if isinstance(box, list) else []
    if not isinstance(box, list) or len(box) != 4 or len(values) != 4:
        findings.add(
            "annotations without box", f"{which} has no bbox of four numbers: add it, or remove the annotation"
        )
        return
    area = read_number(element.get("area"))
    rows.add(number, image, category, values, math.nan if area is None else area, bool(element.get("iscrowd")))


def _describe_twice(which: str, own: Id) -> str:
    return f"{which} has the id {own!r:.60}, as another has: number them anew"


def _is_id(value: object) -> TypeGuard[Id]:
    """Return whether a value can be an id: a whole number or a text."""
    return isinstance(value, int | str) and not isinstance(value, bool)
