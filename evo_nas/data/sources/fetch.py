"""``data fetch``: downloads CIFAR or unpacks an archive; a set ends up complete in its place, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import lzma
import os
import shutil
import socket
import stat
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, Final, NamedTuple, cast

from evo_nas.data.sources.base import DataSet, ImageSource, PixelSource
from evo_nas.data.sources.catalogue import data_root, data_set
from evo_nas.data.sources.check import miscounts
from evo_nas.data.sources.layout import is_litter, list_folders, some
from evo_nas.data.sources.locate import describe_absence, locate_set
from evo_nas.errors import DataError, UsageError
from evo_nas.system.atomic import sync
from evo_nas.system.names import describe_missing
from genotypes.genotype import shorten

TIMEOUT: Final = 60.0
"""Seconds that a download may be silent."""

_SCRATCH: Final = ".fetch-"
"""Beginning of the names of hidden folders in which a set is made ready."""

_DAMAGED: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError, struct.error, ArithmeticError),
    *(ValueError, LookupError),  # a member whose name is empty, no UTF-8, or holds a NUL
)
"""Errors of the standard library for a damaged or malicious archive."""

ROOMY: Final = 1 << 30
"""Bytes to which any archive may unpack."""

_EXPANSION: Final = 100
"""A larger one may unpack to so many times what it weighs: images hardly shrink, for they are compressed already."""

_NO_DISK: Final = (None, errno.EINVAL, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)
"""Numbers of errors that are the archive's: none of gz and bz2 streams, and of members that are file and folder."""


class _Member(NamedTuple):
    """A file or folder in an archive; ``is_plain`` is false for links and devices, ``size`` its bytes unpacked."""

    name: str
    size: int
    is_folder: bool
    is_plain: bool
    open: Callable[[], IO[bytes]]


def fetch(dataset: str, data_dir: Path | None = None, archive: Path | None = None) -> str:
    """Download or unpack a set of labelled images, as :func:`fetch_set` does.

    Raises:
        UsageError: if no data set has that name, or there is nothing to get it from.
        DataError: as there.
    """
    return fetch_set(data_set(dataset), data_dir, archive)


def fetch_set(known: DataSet, data_dir: Path | None = None, archive: Path | None = None) -> str:
    """Download or unpack a set into the folder of its name in ``data_dir``, and return a line with its place.

    ``archive`` is a tar (plain, gz, bz2, xz) or zip file of torchvision's files or of an image folder, at any depth,
    with anything beside it. All is made ready in a hidden folder first, which is removed whatever happens (after a
    kill: by the next fetch that gets something), and gets its name in one step. Nothing is overwritten.

    Raises:
        UsageError: if there is nothing to get it from.
        DataError: if the download fails, the archive is damaged, unsafe or holds something else, or what is in place
            already is incomplete.
    """
    root = data_root(data_dir).absolute()
    place = root / known.name
    try:
        present = locate_set(known, root)
    except DataError:
        present = None
    if present is not None:
        if found := _incomplete(known, present):
            raise DataError(f"{found}; move it away, then: {known.command('fetch', root)}")
        return f"{known.name} is already complete in {present.place}"
    if archive is None and known.download is None:
        raise UsageError(f"{known.name} cannot be downloaded: put the images into {root}, or name an archive of them")
    if archive is not None and not archive.is_file():
        what = "is no file: save it first, and name a folder with --data-dir" if archive.exists() else ""
        raise UsageError(f"{archive} {what}" if what else describe_missing("archive", archive))
    refuse_to_overwrite(place)
    with scratch_in(root) as scratch:
        unpacked = scratch / "unpacked"
        left_out: list[str] = []
        unpacked.mkdir()
        if archive is None:
            _download(known, root, unpacked)
        else:
            left_out = _unpack(archive, unpacked)
        origin = str(archive or "the download")
        try:
            source = _recognise(known, unpacked, origin)
        except DataError as error:
            if not left_out:
                raise
            also = f"{len(left_out):,} files were passed over, hidden or left by systems and tools, such as"
            raise DataError(f"{error}; {also} {shorten(left_out[0])}") from None
        if found := _incomplete(known, source):
            raise DataError(f"nothing was taken over: {found.replace(str(unpacked), origin)}")
        move_in(source, scratch / "whole", place)
    verb = "is" if len(left_out) == 1 else "are"
    also = f"; {len(left_out):,} left by systems and tools {verb} not unpacked" if left_out else ""
    return f"{known.name} is now complete in {locate_set(known, root).place}{also}"


def refuse_to_overwrite(place: Path) -> None:
    """Raise if anything but an empty folder is in the place of a set.

    Raises:
        DataError: naming it.
    """
    if os.path.lexists(place) and (place.is_symlink() or not place.is_dir() or any(place.iterdir())):
        raise _in_the_way(place)


@contextlib.contextmanager
def scratch_in(root: Path) -> Iterator[Path]:
    """Make a hidden folder in the data folder, on the same disk; remove it afterwards, and what else was made for it.

    What a fetch that was killed has left is removed first, where locks tell that it is dead.
    """
    made = [folder for folder in (root, *root.parents) if not os.path.lexists(folder)]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            descriptor = os.open(root, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f"another process fetches a set into {root}: wait until it has ended") from None
            except OSError:  # a file system without locks: another fetch may be at work
                pass
            else:
                for stray in root.glob(f"{_SCRATCH}*"):
                    shutil.rmtree(stray, ignore_errors=True)
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=root)))
    except OSError as error:
        raise DataError(
            f"{error.filename or root} cannot be read or written ({error.strerror or error}): mend that, make room "
            f"there, or name another folder with --data-dir"
        ) from None
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # Succeeds only on an empty folder.


def _download(known: DataSet, root: Path, into: Path) -> None:
    """Download a set; its progress goes to stderr."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            if known.download is not None:
                known.download(known.name, into)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{known.name} could not be downloaded ({_reason(error)}); get an archive of it by other means, then: "
            f"{known.command('fetch', root)} --archive FILE"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _unpack(archive: Path, into: Path) -> list[str]:
    """Unpack a tar or zip file of plain files and folders, and return the names of the files left out as litter.

    Raises:
        DataError: if it is damaged or no archive, needs more room than there is or than its weight explains, or a
            member is a link, a device, or would land outside.
    """
    left_out: list[str] = []
    free, most = shutil.disk_usage(into).free, max(ROOMY, _EXPANSION * archive.stat().st_size)

    def check_size(unpacked: int) -> None:
        if unpacked > most:
            hint = "if you trust it, unpack it yourself, and name its folder with --data-dir"
            raise DataError(f"{archive} unpacks to more than {_EXPANSION} times what it weighs: {hint}")
        if unpacked > free:
            raise DataError(f"{archive} needs more than the {free:,} bytes that are free in {into.parent.parent}")

    size = 0
    try:
        if zipfile.is_zipfile(archive):  # which says beforehand what is in it
            check_size(sum(member.size for member in _members(archive)))
        for member in _members(archive):
            parts = _admit(archive, member)
            if any(map(is_litter, parts)):
                left_out += [] if member.is_folder else [member.name]
                continue
            if not member.is_plain:
                raise _refusal(
                    archive,
                    member,
                    "is a link or a device: pack files, as by tar --dereference --hard-dereference",
                )
            check_size(size := size + member.size)
            place = into.joinpath(*parts)
            (place if member.is_folder else place.parent).mkdir(parents=True, exist_ok=True)
            if not member.is_folder:
                with member.open() as packed, place.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_DISK:
            raise
        raise DataError(
            f"{archive} is damaged or no tar or zip archive ({_reason(error)}): get it again, or in one of these forms"
        ) from None
    return left_out


def _members(archive: Path) -> Iterator[_Member]:
    """Yield what is in an archive; Windows' backslashes are slashes."""
    if not zipfile.is_zipfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                is_plain = member.isreg() or member.isdir()
                read = cast("Callable[[], IO[bytes]]", partial(tar.extractfile, member))
                yield _Member(member.name.replace("\\", "/"), member.size, member.isdir(), is_plain, read)
        return
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            name = _decode_name(info).replace("\\", "/")
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            yield _Member(name, info.file_size, name.endswith("/"), is_plain, partial(packed.open, info))


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a zip's member; macOS writes UTF-8 without saying so, and zipfile takes that for CP 437."""
    with contextlib.suppress(UnicodeError):
        if not info.flag_bits & 0x800:
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _reason(error: Exception) -> str:
    """Return the reason, in a few words, why an archive cannot be read."""
    if isinstance(error, tarfile.ReadError) and "- method " in str(error):
        return "it opens as neither"  # tarfile enumerates what each of its formats had to say.
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path: it lies in a hidden folder
    return shorten(" ".join(str(error).split()) or type(error).__name__, 200)


def _refusal(archive: Path, member: _Member, why: str) -> DataError:
    return DataError(f"{archive} is refused: its member {member.name[:200]!r} {why}")


def _admit(archive: Path, member: _Member) -> tuple[str, ...]:
    """Return the path of a member below the folder into which it is unpacked; refuse one that could reach outside."""
    path = PureWindowsPath(member.name)  # which knows the absolute paths of Windows too
    if path.anchor or ".." in path.parts:
        raise _refusal(archive, member, "would be unpacked outside the data folder")
    if not path.parts and not member.is_folder:
        raise ValueError("a member has no name")
    return path.parts


def _recognise(known: DataSet, unpacked: Path, origin: str) -> PixelSource:
    """Return the set in a folder, or in the folders inside it that are nearest.

    Raises:
        DataError: if there is none, or more than one.
    """
    level = [unpacked]
    while level:
        found = [source for place in level for form in known.sources if (source := form.find(known, place))]
        if len(found) == 1 or len({source.place for source in found}) == 1:
            return found[0]
        if found:
            places = some([source.place.replace(str(unpacked), origin) for source in found])
            raise DataError(f"{origin} holds more than one data set {known.name}: {places}; pack one of them")
        level = [place / name for place in level for name in list_folders(place)]
    raise DataError(f"{origin} holds no data set {known.name} ({describe_absence(known, unpacked)})")


def _incomplete(known: DataSet, source: PixelSource) -> str | None:
    """Return what keeps a set from being complete, by checksums or numbers of files; ``None`` if nothing does."""
    try:
        for part in source.parts:
            source.count_images(part)
        if not isinstance(source, ImageSource):
            return None
        found = [line for part in source.parts for line in miscounts(known, source, part)]
    except DataError as error:
        return str(error)
    return found[0] if found else None


def move_in(source: PixelSource, whole: Path, place: Path) -> None:
    """Gather the folders of a set in one, and rename that to its place.

    Raises:
        DataError: if something is there by now.
    """
    whole.mkdir()
    for folder in source.belongings():
        folder.rename(whole / folder.name)
    os.sync()  # Otherwise a power cut could leave files without content in a set that has its name.
    try:
        whole.rename(place)
        sync(place.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _in_the_way(place) from None
        raise


def _in_the_way(place: Path) -> DataError:
    return DataError(f"{place} is in the way, and nothing is overwritten: move it away first")
