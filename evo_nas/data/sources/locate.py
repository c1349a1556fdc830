"""From a data set's name and a folder to the source of its images."""

from __future__ import annotations

import shlex
from pathlib import Path

from evo_nas.data.sources.base import DataSet, ImageSource, PixelSource
from evo_nas.data.sources.catalogue import data_root, data_set
from evo_nas.data.sources.image_folder import FOLDER
from evo_nas.data.sources.layout import is_image, is_litter, some
from evo_nas.errors import DataError
from evo_nas.system.names import describe_missing


def locate(dataset: str, data_dir: Path | None = None) -> ImageSource:
    """Return the source of a data set's labelled images; only names of folders are read.

    Raises:
        UsageError: if no data set has that name.
        DataError: if its images are not there, with the command that fetches them.
    """
    found = locate_set(data_set(dataset), data_dir)
    assert isinstance(found, ImageSource)
    return found


def locate_set(known: DataSet, data_dir: Path | None = None) -> PixelSource:
    """Return the source of a data set's images; only names of folders are read.

    A set lies in ``<data_dir>/<dataset>`` or is ``<data_dir>`` itself, in any of its forms; the first one wins.

    Raises:
        DataError: if its images are not there, with the command that fetches them.
    """
    root = data_root(data_dir)
    try:
        misfits = []
        for place in (root / known.name, root):
            for source in known.sources:
                if (found := source.find(known, place)) is not None:
                    return found
                misfits += [misfit] if (misfit := source.misfit(known, place)) else []
        if not root.is_dir():
            raise DataError(f"{describe_missing('data folder', root)}; {_mend(known, root)}")
        looked = "; ".join(misfits) or describe_absence(known, root)
    except OSError as error:
        what = f"{error.filename or root} cannot be read ({error.strerror})"
        raise DataError(f"{what}: mend that, or name another folder") from None
    raise DataError(f"there is no data set {known.name} in {root} ({looked}); {_mend(known, root)}")


def describe_absence(known: DataSet, folder: Path) -> str:
    """Return which forms of a set are not in a folder, and what is there, below folders that hold one folder alone."""
    forms = " and no ".join(source.form for source in known.sources)
    while len(there := sorted(path.name for path in folder.iterdir() if not is_litter(path.name))) == 1:
        if not (folder / there[0]).is_dir():
            break
        folder /= there[0]
    return f"no {forms}" + (f"; it holds {some(there)}" if there else "")


def _mend(known: DataSet, root: Path) -> str:
    """Return how to get the images there."""
    fetch = known.command("fetch", root)
    if known.download is not None:
        return f"get it with: {fetch}"
    put = f"put {known.layout.replace('{root}', str(root))}, or unpack an archive of them: {fetch} --archive FILE"
    return f"{put}{_offer(known, root)}"


def _offer(known: DataSet, root: Path) -> str:
    """Return how class folders without parts are made a set, where the folder holds some; else nothing."""
    if known.name != FOLDER.name or not any(map(is_image, root.glob("*/*"))):
        return ""
    parted = shlex.quote(f"{str(root.absolute()).rstrip('/')}-parts")
    command = f"python -m evo_nas data split --images {shlex.quote(str(root))} --data-dir {parted}"
    return f"; are its folders the classes? Then draw the test images from them: {command}"
