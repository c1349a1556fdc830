"""Symbolic links inside a folder that is written to: refused, because they lead the writer somewhere else."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path, PurePath

from evo_nas.errors import RunFolderError
from genotypes.genotype import shorten


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise if one of these files or folders is a symbolic link, even a dangling one, or a pipe or a device.

    A run folder is data, and can come from anyone: a lock, a log or a picture that is a link would be written over
    whatever file of the user's it leads to. ``names`` are relative to the folder; of ``weights/last`` both parts are
    looked at. A missing name is no link. The folder itself may be one: the user who names it knows where it leads.

    To be called before anything in the folder is opened for writing. A link that is put there later is not seen.

    Raises:
        RunFolderError: naming the first link, where it leads, and what to put in its place.
    """
    for name in names:
        place = folder
        for part in PurePath(name).parts:
            place /= part
            try:
                mode = place.lstat().st_mode
                if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                    continue
                target = place.readlink() if stat.S_ISLNK(mode) else None
            except OSError:  # it is not there
                continue
            if target is None:
                what = "is a pipe or a device, which would be waited for: remove it"
                raise RunFolderError(f"{shorten(str(place), 500)} {what}")
            raise RunFolderError(
                f"{shorten(str(place), 500)} is a link to {shorten(str(target), 500)}, and nothing is written through "
                f"links: put the {shorten(part)} itself there, or remove the link"
            )
