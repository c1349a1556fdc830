"""``data check`` of a set with boxes: every file opened, and boxes counted by class and size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from evo_nas.data.boxes.base import Annotation, BoxSource
from evo_nas.data.boxes.catalogue import box_set
from evo_nas.data.boxes.source import locate_boxes
from evo_nas.data.sources.base import Part
from evo_nas.data.sources.check import CheckResult
from evo_nas.data.sources.layout import NAMED_FAULTS, some
from evo_nas.errors import DataError

SMALL: Final = 32**2
"""Square pixels of the original image below which COCO calls an object small (cocodataset.org, evaluation)."""

LARGE: Final = 96**2
"""Square pixels from which COCO calls an object large."""

_COLUMNS: Final = ("boxes", "small", "medium", "large", "ignored")


def check_boxes(dataset: str, data_dir: Path | None = None) -> CheckResult:
    """Examine all parts of a set with boxes: that every annotation can be read and every image decodes; and count.

    Raises:
        UsageError: if no set with boxes has that name.
        DataError: if there is no such set in the folder at all.
    """
    known, source = box_set(dataset), locate_boxes(dataset, data_dir)
    lines, faults = [f"{known.name}: {known.title}, in {source.place}"], []
    classes: dict[Part, tuple[str, ...]] = {}
    for part in source.parts:
        try:
            broken = source.faults(part)
            named = list(islice(broken, NAMED_FAULTS))
            faults += named
            if more := sum(1 for _ in broken):
                faults.append(f"and {more} more faults of the {part} part")
            readable, names = source.list_readable(part)
            lines += _describe_part(part, readable, names, source.notes(part), is_sound=not named)
            if not named:
                classes[part] = names
        except DataError as error:
            if str(error) not in faults:
                faults.append(str(error))
    for part in ("val", "test"):
        if "train" in classes and part in classes and (fault := compare_classes(source, part, classes)):
            faults.append(fault)
    if "val" not in source.parts:
        lines.append("val: no part of its own; a fifth of the train images by default, which the seed decides")
    return CheckResult(tuple(lines), tuple(faults))


def compare_classes(source: BoxSource, part: Part, classes: dict[Part, tuple[str, ...]]) -> str | None:
    """Return in what the classes of a part differ from those of the train part, if that matters."""
    extra = sorted(set(classes[part]) - set(classes["train"]))
    missing = sorted(set(classes["train"]) - set(classes[part])) if source.has_class_list else []
    if not (differing := extra + missing):
        return None
    verb = "is" if len(differing) == 1 else "are"
    return (
        f"{source.place}: the {part} part has other classes than the train part: {some(differing)} {verb} in only "
        f"one of them; give both the same"
    )


def count_boxes(images: Sequence[Annotation], classes: Sequence[str]) -> np.ndarray:
    """Return boxes, then those that are small, medium, large and ignored, of each class; int64 of shape (classes, 5).

    Ignored boxes count in the last column alone.
    """
    counts = np.zeros((len(classes), len(_COLUMNS)), dtype=np.int64)
    for image in images:
        sizes = 1 + (image.areas >= SMALL) + (image.areas >= LARGE)
        np.add.at(counts, (image.labels[~image.ignored], sizes[~image.ignored]), 1)
        np.add.at(counts, (image.labels[image.ignored], len(_COLUMNS) - 1), 1)
    counts[:, 0] = counts[:, 1:4].sum(axis=1)
    return counts


def _describe_part(
    part: Part, images: Sequence[Annotation], classes: Sequence[str], notes: Sequence[str], *, is_sound: bool
) -> list[str]:
    """Return images and boxes of a part, and a table of its classes; of one that is not sound, what can be read."""
    counts = count_boxes(images, classes)
    empty = sum(not len(image.labels) for image in images)
    head = f"{len(images):,} images ({empty:,} without boxes), {counts[:, 0].sum():,} boxes in {len(classes)} classes"
    lines = [f"{part}: {'; '.join([head, *notes, *([] if is_sound else ['only what can be read'])])}"]
    if without := [name for name, row in zip(classes, counts, strict=True) if not row[0]]:
        lines[0] += f"; no box of {some(without)}"
    width = max(map(len, (*classes, "class")))
    lines.append("  ".join(["", "class".ljust(width), *(name.rjust(8) for name in _COLUMNS)]))
    for name, row in zip(classes, counts.tolist(), strict=True):
        lines.append("  ".join(["", name.ljust(width), *(f"{count:8,}" for count in row)]))
    return lines
