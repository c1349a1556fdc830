"""``data split``: an image folder with train and test parts from one that has class folders alone."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

import numpy as np

from evo_nas.data.sources.base import Part
from evo_nas.data.sources.catalogue import data_root
from evo_nas.data.sources.fetch import move_in, refuse_to_overwrite, scratch_in
from evo_nas.data.sources.image_folder import FOLDER, ImageFolder
from evo_nas.data.sources.layout import File, list_folders, some, survey
from evo_nas.errors import DataError

SHARE: Final = 0.2
"""Share of each class that is tested on, unless another is named."""


def split_folder(images: Path, data_dir: Path | None = None, share: float = SHARE, seed: int = 0) -> str:
    """Draw test images from each class of ``images/<class>/``, and return a line with the place of the new set.

    The set is ``<data_dir>/folder``, where :func:`evo_nas.data.sources.fetch.fetch_set` would put it: complete, or not
    there at all. Its files are hard links where both lie on one disk, and copies elsewhere; nothing in ``images``
    changes. ``share`` is a fraction in (0, 1), of which at least one image of a class comes and at least one is left.
    The draw follows from ``seed`` and the paths of the files.

    Raises:
        DataError: if there are fewer than two classes or a class of one image, a file cannot be read, ``images`` has
            parts already, or the place of the set is in ``images`` or taken.
    """
    found = survey(images)
    if {"train", "test", "val"} & set(found.classes):
        raise DataError(f"{images} has parts already: {some(list(found.classes))}; name it with --data-dir as it is")
    if found.faults:
        raise DataError("; ".join(found.faults[:1]))
    if len(found.classes) < 2:
        names = some(list_folders(images)) or "none"
        raise DataError(f"{images} holds fewer than 2 class folders ({names}): put the images at {images}/<class>/")
    if few := [name for name, files in found.classes.items() if len(files) < 2]:
        raise DataError(f"{images} has fewer than 2 images of {some(few)}: one to train on, and one to test with")
    place = data_root(data_dir).absolute() / FOLDER.name
    if place.resolve().is_relative_to(images.resolve()):
        raise DataError(f"{place} would lie among the classes of {images}: name another folder with --data-dir")
    refuse_to_overwrite(place)
    rng = np.random.default_rng([seed])
    counts = {"train": 0, "test": 0}
    with scratch_in(place.parent) as scratch:
        for name, files in found.classes.items():
            for part, drawn in _draw(files, share, rng).items():
                counts[part] += len(drawn)
                for file in drawn:
                    _link(images / name / file.path, scratch / "parts" / part / name / file.path)
        move_in(ImageFolder(scratch / "parts"), scratch / "whole", place)
    return (
        f"{place}: {counts['train']:,} train and {counts['test']:,} test images of {len(found.classes)} classes; "
        f"to search on them: --dataset {FOLDER.name} --data-dir {place.parent}"
    )


def _draw(files: list[File], share: float, rng: np.random.Generator) -> dict[Part, list[File]]:
    """Return the files of each part."""
    count = min(max(round(len(files) * share), 1), len(files) - 1)
    tested = set(rng.permutation(len(files))[:count].tolist())
    test = [file for index, file in enumerate(files) if index in tested]
    return {"train": [file for index, file in enumerate(files) if index not in tested], "test": test}


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it to another disk; what a link leads to is taken, not the link.

    Raises:
        OSError: if there is no room, or the file cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(source.resolve(), target)
        return
    shutil.copyfile(source, target)
