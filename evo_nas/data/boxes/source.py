"""From the name of a set with boxes and a folder to the set on a canvas."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from evo_nas.data.boxes.base import BoxSource
from evo_nas.data.boxes.catalogue import box_set
from evo_nas.data.boxes.letterbox import choose_fill
from evo_nas.data.boxes.value import BoxedImages, BoxSet
from evo_nas.data.decoded import DecodedEntry, open_decoded_copy
from evo_nas.data.sources.base import Part
from evo_nas.data.sources.catalogue import data_root
from evo_nas.data.sources.layout import some
from evo_nas.data.sources.locate import locate_set
from evo_nas.errors import DataError, UsageError

LARGEST: Final = 2048
"""Largest canvas, in pixels a side: beyond it a slip of the finger is likelier than a detector."""

SMALLEST: Final = 16
"""Smallest canvas, in pixels a side."""


def locate_boxes(dataset: str, data_dir: Path | None = None) -> BoxSource:
    """Return the source of a set with boxes; only names of folders are read.

    Raises:
        UsageError: if no set with boxes has that name.
        DataError: if its images are not there, with the command that fetches them.
    """
    found = locate_set(box_set(dataset), data_dir)
    assert isinstance(found, BoxSource)
    return found


def open_boxes(
    dataset: str,
    data_dir: Path | None = None,
    *,
    canvas: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    validation: int = 0,
    counts: Mapping[Part, int] | None = None,
) -> BoxSet:
    """Open a set with boxes; the first time, all that a search may see is decoded. No test file is opened or decoded.

    ``canvas`` is the width and height in pixels onto which the images are brought, 64 for ``scenes`` and ``plates`` and
    128 for all else by default. ``channels`` is 1 (grey) or 3 (RGB), by default 1 for ``scenes`` and ``plates``.

    A set that has validation files of its own keeps them. Otherwise ``validation`` images, a fifth by default, are
    held out of the train part; ``seed`` decides which. ``scenes`` and ``plates`` are made of the seed, as many as
    ``counts`` says for each part.

    Raises:
        UsageError: if no set with boxes has that name, or a number is out of range.
        DataError: if files are missing or damaged, or two parts have other classes.
    """
    known = box_set(dataset)
    canvas = known.size or 128 if canvas is None else canvas
    channels = known.channels if channels is None else channels
    if not SMALLEST <= canvas <= LARGEST:
        raise UsageError(f"a canvas must have between {SMALLEST} and {LARGEST} pixels a side, not {canvas}")
    if channels not in (1, 3):
        raise UsageError(f"images have 1 channel (grey) or 3 (RGB), not {channels}")
    if seed < 0:
        raise UsageError(f"a seed must be at least 0, not {seed}")
    recipe = _Recipe(known.name, data_root(data_dir).absolute(), canvas, channels, seed, dict(counts or {}))
    source = recipe.locate()
    train = open_decoded_copy(source, "train", canvas, channels)
    if not len(train.column("labels")):
        raise DataError(f"{source.place}: no image of the train part has a box, and nothing can be learned from that")
    manifest = train.manifest
    opener = _Opener(recipe, validation, manifest.classes, train, None, choose_fill(manifest.mean))
    fingerprint = manifest.fingerprint
    if "val" in source.parts:
        val = open_decoded_copy(source, "val", canvas, channels)
        opener = replace(opener, val=val)
        opener.label(source, val)  # a class that the train part lacks is refused now, not after a training
        fingerprint = hashlib.sha256(f"{fingerprint} {val.manifest.fingerprint}".encode()).hexdigest()
    else:
        opener.hold_out()  # a number that cannot be is refused now
    return BoxSet(
        name=known.name,
        classes=manifest.classes,
        canvas=canvas,
        channels=channels,
        mean=manifest.mean,
        std=manifest.std,
        fingerprint=fingerprint,
        open_part=opener,
    )


@dataclass(frozen=True)
class _Recipe:
    """All that finds the same source again, in another process too."""

    name: str
    data_dir: Path
    canvas: int
    channels: int
    seed: int
    counts: dict[Part, int]

    def locate(self) -> BoxSource:
        source = locate_boxes(self.name, self.data_dir)
        return source.configure(canvas=self.canvas, seed=self.seed, counts=self.counts)


@dataclass(frozen=True)
class _Opener:
    """Opens the parts of a set. ``val`` is ``None`` where validation images are held out of the train part."""

    recipe: _Recipe
    validation: int
    classes: tuple[str, ...]
    train: DecodedEntry
    val: DecodedEntry | None
    fill: tuple[int, ...]

    def __call__(self, part: str) -> BoxedImages:
        """Return a part."""
        if part == "test":
            source = self.recipe.locate()
            if "test" not in source.parts:
                raise DataError(
                    f"{source.place} has no test part, only {', '.join(source.parts)}: add one, or report on val"
                )
            return self.label(source, open_decoded_copy(source, "test", self.recipe.canvas, self.recipe.channels))
        if self.val is None:
            rest, held = self.hold_out()
            return BoxedImages.open(self.train, self.fill).subset(held if part == "val" else rest)
        if part == "train":
            return BoxedImages.open(self.train, self.fill)
        return self.label(self.recipe.locate(), self.val)

    def hold_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the images to train on and of those held out, int64, each sorted.

        Raises:
            UsageError: if there are not as many images.
        """
        n = self.train.manifest.images
        wanted = self.validation or max(1, n // 5)
        if not 0 < wanted < n:
            raise UsageError(
                f"{wanted} of the {n} train images of {self.recipe.name} cannot be held out for validation: "
                f"it must be 1 to {n - 1}"
            )
        order = np.random.default_rng(self.recipe.seed).permutation(n)
        return np.sort(order[wanted:]), np.sort(order[:wanted])

    def label(self, source: BoxSource, entry: DecodedEntry) -> BoxedImages:
        """Return a part with the labels of the train part's classes.

        Raises:
            DataError: if it has a class that the train part lacks, or declares others.
        """
        images, own = BoxedImages.open(entry, self.fill), entry.manifest.classes
        missing = sorted(set(self.classes) - set(own)) if source.has_class_list else []
        if differing := sorted(set(own) - set(self.classes)) + missing:
            words = "is in only one of them" if len(differing) == 1 else "are in only one of them"
            raise DataError(
                f"{source.place}: the {entry.manifest.part} part has other classes than the train part: "
                f"{some(differing)} {words}; give both the same"
            )
        places = np.array([self.classes.index(name) for name in own], dtype=np.int64)
        return images if own == self.classes else replace(images, labels=places[images.labels])
