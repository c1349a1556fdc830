"""``data check``: a complete examination of an image set, every file of it opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from evo_nas.data.sources.base import PARTS, ImageSource, Part
from evo_nas.data.sources.catalogue import DataSet, command, data_root, data_set
from evo_nas.data.sources.image_folder import NAMED_FAULTS, ImageFolder, some
from evo_nas.data.sources.locate import locate
from evo_nas.errors import DataError


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of an examination: ``lines`` describe the set, ``faults`` name the damaged files."""

    lines: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing needs to be mended."""
        return not self.faults


def check(dataset: str, data_dir: Path | None = None) -> CheckResult:
    """Examine both parts of a set: checksums where torchvision's apply, else that every image decodes; and the counts.

    CIFAR as an image folder may be encoded in any way, so it is held to its classes and numbers of images alone.

    Raises:
        UsageError: if no data set has that name.
        DataError: if there is no such set in the folder at all.
    """
    known = data_set(dataset)
    source = locate(dataset, data_dir)
    lines, faults = [f"{known.name}: {known.title}, in {source.place}"], []
    for part in PARTS:
        try:
            broken = source.faults(part)
            named = list(islice(broken, NAMED_FAULTS))
            faults += named
            if more := sum(1 for _ in broken):
                faults.append(f"and {more} more damaged {part} files")
            if named and not isinstance(source, ImageFolder):
                continue  # Files with a wrong checksum are not read.
            lines.append(_describe_part(source, part))
            faults += miscounts(known, source, part)
        except DataError as error:
            faults.append(str(error))
    if faults and known.train is not None:
        faults.append(f"move {source.place} away, then: {command('fetch', known.name, data_root(data_dir))}")
    return CheckResult(tuple(lines), tuple(faults))


def miscounts(known: DataSet, source: ImageSource, part: Part) -> list[str]:
    """Return a line for a part with another number of images than the complete set; no image is opened.

    Raises:
        DataError: if files are missing or damaged.
    """
    expected = known.train if part == "train" else known.test
    found = len(source.labels(part))
    if expected is None or found == expected:
        return []
    return [f"{source.place} holds {found:,} {part} images, not the {expected:,} of {known.name}"]


def _describe_part(source: ImageSource, part: Part) -> str:
    """Return lines about a part: images, classes, images per class."""
    classes = source.classes()
    counts = np.bincount(source.labels(part), minlength=len(classes)).tolist()
    least, most = min(counts), max(counts)
    line = f"{part}: {sum(counts):,} images in {len(classes)} classes"
    if least == most:
        line += f" of {least:,}"
    else:
        line += f" of {least:,} to {most:,}: {_enumerate_classes(classes, counts)}"
    if isinstance(source, ImageFolder) and (others := _count_strays(source, part)):
        line += f"; {others:,} other file{'s are' if others > 1 else ' is'} passed over"
    return line


def _enumerate_classes(classes: Sequence[str], counts: Sequence[int]) -> str:
    """Return the images per class as text, the smallest classes first."""
    return some([f"{name} {count:,}" for count, name in sorted(zip(counts, classes, strict=True))])


def _count_strays(source: ImageFolder, part: Part) -> int:
    """Count the files of a part, without hidden ones, that are no images of a class."""
    found = 0
    for _, folders, names in os.walk(source.root / part):
        folders[:] = [name for name in folders if name[0] != "."]
        found += sum(name[0] != "." for name in names)
    return found - len(source.paths(part))
