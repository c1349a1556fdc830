"""``data check``: a complete examination of an image set, every file of it opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from evo_nas.data.sources.base import PARTS, DataSet, ImageSource, Part
from evo_nas.data.sources.catalogue import data_root, data_set
from evo_nas.data.sources.layout import NAMED_FAULTS, some
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
            lines.append(f"{part}: {'; '.join([_describe_counts(source.counts(part)), *source.notes(part)])}")
            faults += miscounts(known, source, part)
        except DataError as error:
            if str(error) not in faults:
                faults.append(str(error))
    if faults and known.train is not None:
        faults.append(f"move {source.place} away, then: {known.command('fetch', data_root(data_dir))}")
    return CheckResult(tuple(lines), tuple(faults))


def miscounts(known: DataSet, source: ImageSource, part: Part) -> list[str]:
    """Return a line for a part with another number of images than the complete set; no image is opened.

    Raises:
        DataError: if files are missing or damaged.
    """
    expected = known.train if part == "train" else known.test
    found = sum(source.counts(part).values())
    if expected is None or found == expected:
        return []
    return [f"{source.place} holds {found:,} {part} images, not the {expected:,} of {known.name}"]


def _describe_counts(counts: Mapping[str, int]) -> str:
    """Return images, classes and images per class as text, the smallest classes first."""
    least, most = min(counts.values(), default=0), max(counts.values(), default=0)
    line = f"{sum(counts.values()):,} images in {len(counts)} classes of {least:,}"
    if least < most:
        sizes = sorted((count, name) for name, count in counts.items())
        line += f" to {most:,}: {some([f'{name} {count:,}' for count, name in sizes])}"
    return line
