"""``data fetch``: downloads CIFAR or unpacks an archive; a set ends up complete in its place, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import lzma
import socket
import stat
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from evo_nas.data.sources.base import PARTS, ImageSource
from evo_nas.data.sources.catalogue import DataSet, command, data_root, data_set
from evo_nas.data.sources.check import miscounts
from evo_nas.data.sources.cifar import LAYOUTS, CifarFiles
from evo_nas.data.sources.locate import locate, recognise
from evo_nas.errors import DataError, UsageError
from genotypes.genotype import shorten

TIMEOUT: Final = 60.0
"""Seconds that a download may be silent."""

_DAMAGED: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError, struct.error, ArithmeticError),
    *(ValueError, LookupError),  # a member whose name is empty, no UTF-8, or holds a NUL
)
"""Errors of the standard library for a damaged or malicious archive."""


def fetch(dataset: str, data_dir: Path | None = None, archive: Path | None = None) -> str:
    """Download or unpack a data set below ``data_dir``, and return a line with its place. Nothing is overwritten.

    Without an archive CIFAR is downloaded with torchvision. ``archive`` is a tar (plain, gz, bz2, xz) or zip file of
    torchvision's files or of an image folder, with or without one folder around it all. Everything happens in a
    hidden folder first, which is removed whatever happens.

    Raises:
        UsageError: if no data set has that name, or there is nothing to get it from.
        DataError: if the download fails, the archive is damaged, unsafe or holds something else, or what is in place
            already is incomplete.
    """
    known = data_set(dataset)
    if known.name == "digits":
        return "digits comes with scikit-learn: there is nothing to fetch"
    root = data_root(data_dir).absolute()
    place = root if known.name == "folder" else root / known.name
    try:
        present = locate(known.name, root)
    except DataError:
        present = None
    if present is not None:
        if found := _incomplete(known, present):
            raise DataError(f"{found}; move it away, then: {command('fetch', known.name, root)}")
        return f"{known.name} is already complete in {present.place}"
    if archive is None and known.name == "folder":
        raise UsageError(f"images of your own cannot be downloaded: put them into {root}, or name an archive of them")
    if archive is not None and not archive.is_file():
        raise UsageError(f"there is no archive {archive}")
    with _scratch_in(place) as scratch:
        if archive is None:
            _download(known, root, scratch)
        else:
            _unpack(archive, scratch)
        origin = archive or "the download"
        source = _recognise(known, scratch)
        if source is None:
            raise DataError(f"{origin} holds no {known.name}: neither torchvision's files nor train/<class>/ images")
        if found := _incomplete(known, source):
            raise DataError(f"nothing was taken over: {found.replace(str(scratch), str(origin))}")
        _move(source, place)
    return f"{known.name} is now complete in {locate(known.name, root).place}"


@contextlib.contextmanager
def _scratch_in(place: Path) -> Iterator[Path]:
    """Make a hidden folder in the place, on the same disk; remove it afterwards, and the place too if it is empty."""
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place) as scratch:
            yield Path(scratch)
    except OSError as error:
        raise DataError(
            f"{error.filename or place} cannot be read or written ({error.strerror or error}): make room there, or "
            f"name another folder with --data-dir"
        ) from None
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # Succeeds only on an empty folder.


def _download(known: DataSet, root: Path, scratch: Path) -> None:
    """Download and unpack a CIFAR set by torchvision; its progress goes to stderr."""
    import torchvision.datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            getattr(torchvision.datasets, LAYOUTS[known.name].torchvision)(str(scratch), download=True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{known.name} could not be downloaded ({_reason(error)}); get an archive of it by other means, then: "
            f"{command('fetch', known.name, root)} --archive FILE"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _unpack(archive: Path, scratch: Path) -> None:
    """Unpack a tar or zip file of plain files and folders.

    Raises:
        DataError: if it is damaged or no archive, or a member is a link, a device, or would land outside.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                for info in packed.infolist():
                    kind = stat.S_IFMT(info.external_attr >> 16)
                    _admit(archive, info.filename, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
                    packed.extract(info, scratch)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    _admit(archive, member.name, plain=member.isreg() or member.isdir())
                    tar.extract(member, scratch, filter="data")
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            # The disk's fault; damaged gz and bz2 streams have no number, and a place before the archive is EINVAL.
            raise
        raise DataError(f"{archive} is damaged or no tar or zip archive ({_reason(error)}): get it again") from None


def _reason(error: Exception) -> str:
    """Return the reason, in a few words, why an archive cannot be read."""
    if isinstance(error, tarfile.ReadError) and "- method " in str(error):
        return "it opens as neither"  # tarfile enumerates what each of its formats had to say.
    return shorten(" ".join(str(error).split()) or type(error).__name__, 200)


def _admit(archive: Path, name: str, *, plain: bool) -> None:
    """Refuse a member that could reach outside the folder into which it is unpacked."""
    path, spelled = PurePosixPath(name), name[:200]
    if not plain:
        raise DataError(f"{archive} is refused: its member {spelled!r} is a link or a device, not a file or a folder")
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{archive} is refused: its member {spelled!r} would be unpacked outside the data folder")


def _recognise(known: DataSet, scratch: Path) -> ImageSource | None:
    """Return the set in the unpacked folder, or inside folders that hold nothing but one folder."""
    base = scratch
    while True:
        if (source := recognise(known.name, base)) is not None:
            return source
        inside = [path for path in base.iterdir() if path.is_dir() and path.name[0] != "."]
        if len(inside) != 1:
            return None
        base = inside[0]


def _incomplete(known: DataSet, source: ImageSource) -> str | None:
    """Return what keeps a set from being complete, by checksums or numbers of files; ``None`` if nothing does."""
    try:
        found = [line for part in PARTS for line in miscounts(known, source, part)]
    except DataError as error:
        return str(error)
    return found[0] if found else None


def _move(source: ImageSource, place: Path) -> None:
    """Rename the folders of a recognised set to their place.

    Raises:
        DataError: if one of them is there already.
    """
    base = Path(source.place)
    folders = [base] if isinstance(source, CifarFiles) else [base / part for part in PARTS]
    for folder in folders:
        if (place / folder.name).exists():
            raise DataError(f"{place / folder.name} is in the way, and nothing is overwritten: move it away first")
    for folder in folders:
        folder.rename(place / folder.name)
