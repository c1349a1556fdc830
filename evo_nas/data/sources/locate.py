"""From a data set's name and a folder to the source of its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evo_nas.data.sources.base import ImageSource
from evo_nas.data.sources.catalogue import command, data_root, data_set
from evo_nas.data.sources.cifar import CIFAR10_CLASSES, LAYOUTS, CifarFiles
from evo_nas.data.sources.digits import Digits
from evo_nas.data.sources.image_folder import ImageFolder, class_names, some
from evo_nas.errors import DataError


def locate(dataset: str, data_dir: Path | None = None) -> ImageSource:
    """Return the source of a data set's images; only names of folders are read.

    CIFAR lies below ``<data_dir>/<dataset>`` or ``<data_dir>``, as torchvision's files, which win, or as an image
    folder. ``folder`` is ``data_dir`` itself.

    Raises:
        UsageError: if no data set has that name.
        DataError: if its images are not there, with the command that fetches them.
    """
    name = data_set(dataset).name
    if name == "digits":
        return Digits()
    root = data_root(data_dir)
    try:
        return _find(name, root)
    except PermissionError as error:
        raise DataError(
            f"{error.filename or root} cannot be read: mend its permissions, or name another folder"
        ) from None


def _find(name: str, root: Path) -> ImageSource:
    """Look at the places where the files of a set may lie."""
    if not root.is_dir():
        raise DataError(f"there is no data folder {root}; {_mend(name, root)}")
    if name == "folder":
        if (source := recognise(name, root)) is None:
            raise DataError(f"there is no train folder in {root}; {_mend(name, root)}")
        return source
    misfits = []
    for place in (root / name, root):
        if (source := recognise(name, place)) is not None:
            return source
        misfits += list(_misfit(name, place))
    looked = "; ".join(misfits) or f"neither {LAYOUTS[name].folder} nor an image folder train/<class>/ is there"
    raise DataError(f"there is no {name} in {root} ({looked}); {_mend(name, root)}")


def recognise(dataset: str, place: Path) -> ImageSource | None:
    """Recognise a set by the names of folders: torchvision's, or an image folder, for CIFAR one with its classes."""
    if dataset in LAYOUTS and (place / LAYOUTS[dataset].folder).is_dir():
        return CifarFiles(dataset, place)
    if (place / "train").is_dir() and not (dataset in LAYOUTS and list(_misfit(dataset, place))):
        return ImageFolder(place)
    return None


def _misfit(dataset: str, place: Path) -> Iterator[str]:
    """Return how the classes of an image folder differ from those of CIFAR."""
    if not (place / "train").is_dir():
        return
    names = class_names(place / "train")
    # CIFAR-100 is counted: exports of it differ in how they spell its names (keyboard, computer_keyboard, 39).
    right = names == CIFAR10_CLASSES if dataset == "cifar10" else len(names) == data_set(dataset).classes
    if not right:
        yield f"{place / 'train'} holds {len(names)} class folders, not {dataset}'s: {some(names) or 'none'}"


def _mend(dataset: str, root: Path) -> str:
    """Return how to get the images there."""
    if dataset == "folder":
        return (
            f"put images at {root / 'train'}/<class>/ and {root / 'test'}/<class>/, or unpack an archive of them: "
            f"{command('fetch', dataset, root)} --archive FILE"
        )
    return f"get it with: {command('fetch', dataset, root)}"
