"""Boxes in one JSON file per part, as COCO has them (Lin et al. 2014), and many tools that export them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np

from evo_nas.data.boxes.base import Annotation
from evo_nas.data.boxes.coco_file import Id, JsonContent, read_coco
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
    part_of,
    read_sizes,
)
from evo_nas.data.boxes.findings import Findings
from evo_nas.data.sources.base import DataSet, Part
from evo_nas.data.sources.layout import SUFFIXES, Contents, File, is_litter
from evo_nas.errors import DataError

_PASSED_OVER: Final = ("captions", "person_keypoints", "image_info", "panoptic", "stuff")
"""Beginnings of the names of COCO's other files, which hold no boxes of all classes."""


@dataclass(frozen=True, slots=True)
class JsonPart:
    """The JSON file of a part and the folder of its images; ``share`` is the part of it that this one is, or all."""

    file: Path
    images: Path
    share: Part | None = None


class CocoJson(BoxFiles):
    """A JSON file for each part: ``annotations/instances_train2017.json`` with its images in ``train2017``.

    Other forms are read too: ``train/_annotations.coco.json`` beside the images of a part; ``train.json`` with a folder
    ``images`` or ``train``. The word in a name says the part. A single JSON file is divided, see
    :func:`~evo_nas.data.boxes.files.divide`. With a val part, but no test part, val is the test part.

    Ids of categories are names, not numbers of classes: labels count them by ascending id.
    """

    form = "JSON of boxes"
    has_class_list: ClassVar[bool] = True

    def __init__(self, known: DataSet, root: Path) -> None:
        super().__init__(known, root)
        self._contents: dict[Path, tuple[JsonContent, Findings]] = {}
        self._files: dict[Path, dict[str, File]] = {}

    @classmethod
    def find(cls, known: DataSet, place: Path) -> Self | None:
        """Return the set if there are JSON files where they may be; only names are read."""
        source = cls(known, place)
        return source if source._list_candidates() else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have a JSON file, or train and test of a single one."""
        return tuple(part for part in PART_NAMES if part in self._parts)

    def listing(self, part: Part) -> Iterable[tuple[Path, File]]:
        """Return the JSON file and all files of its images' folder."""
        found = self._part(part)
        try:
            status = found.file.stat()
        except OSError as error:
            raise DataError(f"{found.file} cannot be read ({error.strerror}): mend that, or replace it") from None
        yield found.file.parent, File(found.file.name, status.st_size, status.st_mtime_ns)
        yield from ((found.images, file) for file in self._list_images(found.images).values())

    def belongings(self) -> list[Path]:
        """Return the folders of JSON files and images, or all that lies beside a JSON file."""
        top = {path.relative_to(self.root).parts[0] if path != self.root else "" for path in self._folders()}
        if "" in top:
            return [path for path in sorted(self.root.iterdir()) if not is_litter(path.name)]
        return [self.root / name for name in sorted(top)]

    def parse(self, part: Part) -> Parsed:
        """Read the JSON file of a part."""
        found = self._part(part)
        content, common = self._read_json(found.file)
        findings = Findings()
        for line in common.list_problems():
            findings.add(line, line)
        classes = content.classes
        check_class_names(classes, found.file, findings)
        chosen = self._choose(found, content)
        if not chosen:
            findings.add("empty parts", f"{found.file} has no images in its {part} part: add some, or leave it out")
        paths = self._find_paths(found, content, chosen, findings)
        if not self._is_shared(found.images) and (more := len(self._list_images(found.images)) - len(chosen)) > 0:
            findings.notes.append(
                f"{more:,} images of {found.images.name} are not in {found.file.name} and passed over"
            )
        annotations, kept = [], []
        for each, path, size in zip(paths, paths.values(), read_sizes(list(paths.values()), findings), strict=True):
            if size is None:
                continue
            entry = content.images[each]
            if entry.size not in (None, size):
                findings.add(
                    "images of another size than their annotation",
                    f"{path} has {size[0]}x{size[1]} pixels, but {found.file.name} says {entry.size[0]}x"
                    f"{entry.size[1]}: draw the boxes again on the image as it is, or mend width and height",
                )
            own = content.boxes_of(each)
            corners = np.concatenate([own.boxes[:, :2], own.boxes[:, :2] + own.boxes[:, 2:]], axis=1)
            boxes, has_place = findings.settle(corners, size, entry.name)
            areas = np.where(own.areas > 0, own.areas, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
            kept.append(path)
            annotations.append(
                Annotation(
                    entry.name, size, boxes[has_place], own.classes[has_place], own.crowds[has_place], areas[has_place]
                )
            )
        return Parsed(annotations, kept, classes, findings)

    def _list_candidates(self) -> list[Path]:
        """Return the JSON files that may hold boxes: in ``annotations``, in folders of parts, or in the root."""
        if not self.root.is_dir():
            return []
        folders = [
            find_folder(self.root, ("annotations",)),
            *(find_folder(self.root, PART_NAMES[part]) for part in PART_NAMES),
        ]
        for folders_of in (folders, [self.root]):
            found = []
            for folder in filter(None, folders_of):
                files = [
                    path
                    for path in list_annotation_files(folder, ".json")
                    if not path.name.lower().startswith(_PASSED_OVER)
                ]
                found += [path for path in files if path.name.lower().startswith("instances")] or files
            if found:
                return found
        return []

    @functools.cached_property
    def _parts(self) -> dict[Part, JsonPart]:
        """The JSON file of each part."""
        candidates = self._list_candidates()
        by_part: dict[Part, list[Path]] = {}
        for path in candidates:
            own = path.parent.name if path.parent != self.root else ""
            if part := part_of(path.stem) or part_of(own):
                by_part.setdefault(part, []).append(path)
        for part, files in by_part.items():
            if len(files) > 1:
                names = " and ".join(map(str, files[:2]))
                raise DataError(f"{names} are both of the {part} part: keep one, or move the other away")
        if by_part:
            if "train" not in by_part:
                raise DataError(f"{self.root} has JSON files, but none of the train part: name one train.json")
            single = {part: JsonPart(files[0], self._find_images(files[0], part)) for part, files in by_part.items()}
            return let_val_be_test(single)
        if len(candidates) > 1:
            names = " and ".join(map(str, candidates[:2]))
            raise DataError(f"{names}: their names do not say of which part they are: name them train.json, test.json")
        return {
            part: JsonPart(file, self._find_images(file, None), part)
            for file in candidates
            for part in ("train", "test")
        }

    def _part(self, part: Part) -> JsonPart:
        if part not in self._parts:
            raise DataError(f"{self.root} has no JSON file of the {part} part: add {part}.json")
        return self._parts[part]

    def _find_images(self, file: Path, part: Part | None) -> Path:
        """Return the folder of the images of a JSON file; the root if no name fits."""
        own = file.stem.lower().removeprefix("instances_")
        names = [own, *(PART_NAMES[part] if part else ())]
        if file.parent != self.root and file.parent.name.lower() in names:
            return find_folder(file.parent, IMAGE_FOLDERS) or file.parent
        shared = find_folder(self.root, IMAGE_FOLDERS)
        found = find_folder(self.root, names) or (find_folder(shared, names) if shared else None)
        return found or shared or self.root

    def _folders(self) -> set[Path]:
        """Return all folders in which files of the set lie."""
        return {folder for part in self._parts.values() for folder in (part.file.parent, part.images)}

    def _is_shared(self, images: Path) -> bool:
        """Return whether the images of several parts lie in a folder."""
        return sum(part.images == images for part in self._parts.values()) > 1

    def _list_images(self, folder: Path) -> dict[str, File]:
        if folder not in self._files:
            self._files[folder] = {file.path: file for file in list_part_files(folder, SUFFIXES, Contents())}
        return self._files[folder]

    def _choose(self, found: JsonPart, content: JsonContent) -> list[Id]:
        """Return the ids of the images of a part, in the order of the file, or by name where we divide it."""
        if found.share is None:
            return list(content.images)
        by_name = {entry.name: each for each, entry in content.images.items()}
        return [by_name[name] for name in divide(by_name).get(found.share, [])]

    def _find_paths(
        self, found: JsonPart, content: JsonContent, chosen: list[Id], findings: Findings
    ) -> dict[Id, Path]:
        """Return the file of each image. A name leads nowhere but to files below the images' folder."""
        there = self._list_images(found.images)
        last = Counter(path.rpartition("/")[2] for path in there)
        by_last = {path.rpartition("/")[2]: path for path in there}
        paths: dict[Id, Path] = {}
        for each in chosen:
            name = content.images[each].name
            inside = name.removeprefix(f"{found.images.name}/")
            base = name.rpartition("/")[2]
            path = next((option for option in (name, inside) if option in there), None)
            if path is None and last[base] == 1:  # some tools write the whole path of the machine they ran on
                path = by_last[base]
            if path is None:
                findings.add(
                    "images that are missing",
                    f"there is no image {found.images / base}, which {found.file} has: add it, or remove its entry",
                )
            else:
                paths[each] = found.images / path
        for twice, count in Counter(paths.values()).items():
            if count > 1:
                findings.add("images listed twice", f"{found.file} has {twice} {count} times: leave one entry")
        return paths

    def _read_json(self, file: Path) -> tuple[JsonContent, Findings]:
        if file not in self._contents:
            self._contents[file] = read_coco(file)
        return self._contents[file]


COCO: Final = DataSet(
    "coco",
    "images with boxes in JSON, as COCO has them",
    None,
    3,
    (CocoJson,),
    layout="images at {root}/train and {root}/test, their boxes at {root}/annotations/train.json and test.json",
)
