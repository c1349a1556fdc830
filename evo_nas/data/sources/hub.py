"""Image sets of the Hugging Face hub as image folders, by the library datasets, which is the extra of that name."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from evo_nas.data.sources.base import DataSet
from evo_nas.data.sources.image_folder import FOLDER
from evo_nas.data.sources.layout import SUFFIXES, is_litter, some
from evo_nas.errors import DataError, UsageError
from genotypes.genotype import shorten

PREFIX: Final = "hf:"
"""Beginning of the names of these sets."""

_SPLITS: Final = (("train", ("train",)), ("test", ("test", "validation", "valid", "val")))
"""Folder -> the splits of which the first that is there, with labels, goes into it."""

_SUFFIX_OF: Final = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "PPM": ".ppm"}
"""Format of a file, as Pillow names it -> the ending that an image folder knows; all others become PNG."""


def describe_hub_set(name: str) -> DataSet:
    """Return the image folder that a set ``hf:NAME`` or ``hf:OWNER/NAME`` becomes, with how to download it.

    Raises:
        UsageError: if the name is none, or the extra is missing.
    """
    wanted = name.removeprefix(PREFIX)
    words = wanted.split("/")
    if len(words) > 2 or not all(
        word and word.replace("-", "").replace(".", "").replace("_", "").isalnum() for word in words
    ):
        raise UsageError(f"hf: takes NAME or OWNER/NAME as the hub has it, not {shorten(wanted)!r}")
    if importlib.util.find_spec("datasets") is None:
        raise UsageError("hf: needs datasets: python -m pip install 'evo_nas[datasets]'")
    return replace(FOLDER, download=partial(_download, wanted))


def _download(wanted: str, _: str, into: Path) -> None:
    """Write the images of a set into ``into``: train/<class>/ and test/<class>/, files as the hub has them.

    Raises:
        DataError: if it cannot be loaded, or has no labelled images in two splits.
    """
    import datasets

    try:
        splits = datasets.load_dataset(wanted)
    except Exception as error:  # the library's, the hub's and the network's are of all sorts
        reason = shorten(" ".join(str(error).split()) or type(error).__name__, 200)
        raise DataError(f"hf:{wanted} could not be loaded ({reason})") from None
    for folder, names in _SPLITS:
        found = next((name for name in names if name in splits and _has_labels(splits[name], datasets)), None)
        if found is None:
            raise DataError(
                f"hf:{wanted} has no labelled split {' or '.join(names)} for the {folder} images; its splits are "
                f"{some(list(splits))}"
            )
        _write_split(splits[found], into / folder, f"hf:{wanted}", datasets)


def _find_columns(features: Mapping[str, Any], datasets: Any) -> tuple[str, str] | None:
    """Return the columns of the images and of their classes, the first of each kind."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return (images[0], labels[0]) if images and labels else None


def _has_labels(split: Any, datasets: Any) -> bool:
    """Return whether a split has images with classes; labels of test parts that are kept secret are -1."""
    columns = _find_columns(split.features, datasets)
    return (
        columns is not None and len(split) > 0 and all(label is not None and label >= 0 for label in split[columns[1]])
    )


def _write_split(split: Any, folder: Path, origin: str, datasets: Any) -> None:
    """Write a file per image into a folder per class, named by their places, which count from 0."""
    columns = _find_columns(split.features, datasets)
    assert columns is not None, "it has labels"
    image, label = columns
    names = _name_folders(split.features[label].names, origin)
    for name in names:
        (folder / name).mkdir(parents=True)
    for index, row in enumerate(split.cast_column(image, datasets.Image(decode=False))):
        content, suffix = _read_file(row[image], f"image {index} of the split {folder.name} of {origin}")
        (folder / names[row[label]] / f"{index:08}{suffix}").write_bytes(content)


def _name_folders(classes: Sequence[str], origin: str) -> list[str]:
    """Return the name of each class's folder: that of the class, with _ for a slash.

    Raises:
        DataError: if two would have the same, or one would be no class folder.
    """
    names = [name.replace("/", "_").replace("\\", "_").strip() for name in classes]
    if wrong := [name for name in names if not name or is_litter(name) or "\0" in name or len(name.encode()) > 255]:
        raise DataError(f"{origin} has a class that no folder can be named by: {shorten(wrong[0])!r}")
    if len(set(names)) < len(names):
        raise DataError(f"{origin} has classes whose folders would have the same name: {some(sorted(names))}")
    return names


def _read_file(told: Mapping[str, Any], what: str) -> tuple[bytes, str]:
    """Return the content of an image file and its ending; what an image folder does not know becomes PNG.

    Raises:
        DataError: if it is no image.
    """
    from PIL import Image

    try:
        content = told["bytes"] if told["bytes"] is not None else Path(told["path"]).read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            suffix = _SUFFIX_OF.get(picture.format or "")
            if suffix in SUFFIXES:
                return content, suffix
            picture.convert("RGB").save(file := io.BytesIO(), "PNG")
            return file.getvalue(), ".png"
    except Exception as error:  # Decoders raise all sorts, as evo_nas.data.sources.base knows.
        raise DataError(f"{what} cannot be decoded ({shorten(str(error), 200)})") from None
