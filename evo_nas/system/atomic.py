"""Files that are written whole or not at all: the record of a run, and whatever is made of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces ``path`` at the end.

    After an interruption or a power cut ``path`` has its old or its new content, never a part. A symbolic
    link in its place, or in that of the file beside it, is replaced: nothing is written to what it leads to. A device
    or a pipe is not, for its reader would wait in vain.

    Raises:
        OSError: if it cannot be written; it names ``path``, or the folder that is in its way.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        if (path.exists() and not path.is_file()) or path.absolute().parent == Path("/dev"):  # as /dev/stdout is
            kind = errno.EISDIR if path.is_dir() else errno.EINVAL
            raise OSError(kind, os.strerror(kind) if path.is_dir() else "it is a device or a pipe")
        partial.unlink(missing_ok=True)  # left behind by a kill, or a link that leads elsewhere
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError) and error.filename in (None, str(partial), partial) and not partial.is_dir():
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replace_whole(path) as partial:
        partial.write_text(text, "utf-8")


def require_writable(path: Path) -> None:
    """Raise unless a file can be written there, before long work of which the result goes there.

    Raises:
        OSError: as :func:`replace_whole`; or if its folder cannot be made.
    """
    make_folder(path.parent)
    with suppress(_WritableError), replace_whole(path) as partial:
        partial.touch()
        raise _WritableError


class _WritableError(Exception):
    """A file could be written, so that nothing has to be."""


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing; after a power cut they are there too.

    Raises:
        OSError: if one cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: Path) -> None:
    """Have what a file holds, or the names in a folder, on the disk before what comes next.

    Raises:
        OSError: if the disk refuses it. A folder that the file system cannot sync is passed over.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT) or not path.is_dir():
            raise


def _remove(path: Path) -> None:
    """Remove a file if possible: the earlier error is the one to report."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
