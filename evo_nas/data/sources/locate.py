"""From a data set's name and a folder to the source of its images."""

from __future__ import annotations

from pathlib import Path

from evo_nas.data.sources.base import DataSet, ImageSource
from evo_nas.data.sources.catalogue import data_root, data_set
from evo_nas.data.sources.layout import list_folders, some
from evo_nas.errors import DataError
from evo_nas.system.names import describe_missing


def locate(dataset: str, data_dir: Path | None = None) -> ImageSource:
    """Return the source of a data set's images; only names of folders are read.

    A set lies in ``<data_dir>/<dataset>`` or is ``<data_dir>`` itself, in any of its forms; the first one wins.

    Raises:
        UsageError: if no data set has that name.
        DataError: if its images are not there, with the command that fetches them.
    """
    known, root = data_set(dataset), data_root(data_dir)
    try:
        misfits = []
        for place in (root / known.name, root):
            for source in known.sources:
                if (found := source.find(known, place)) is not None:
                    return found
                misfits += [misfit] if (misfit := source.misfit(known, place)) else []
        if not root.is_dir():
            raise DataError(f"{describe_missing('data folder', root)}; {_mend(known, root)}")
    except PermissionError as error:
        raise DataError(
            f"{error.filename or root} cannot be read: mend its permissions, or name another folder"
        ) from None
    looked = "; ".join(misfits) or describe_absence(known, root)
    raise DataError(f"there is no data set {known.name} in {root} ({looked}); {_mend(known, root)}")


def describe_absence(known: DataSet, folder: Path) -> str:
    """Return what of a set is not in a folder, and which folders are."""
    forms = " and no ".join(source.form for source in known.sources)
    return f"no {forms}" + (f"; it holds the folders {some(there)}" if (there := list_folders(folder)) else "")


def _mend(known: DataSet, root: Path) -> str:
    """Return how to get the images there."""
    fetch = known.command("fetch", root)
    if known.download is not None:
        return f"get it with: {fetch}"
    return (
        f"put images at {root / 'train'}/<class>/ and {root / 'test'}/<class>/, or unpack an archive of them: "
        f"{fetch} --archive FILE"
    )
