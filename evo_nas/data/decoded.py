"""The decoded cache: the images of one part of a set as uint8 pixels in a file that all processes map into memory.

An entry is a folder ``<decoded root>/<key>/`` with ``images.npy`` (uint8, shape (n, h, w, c)), an array for each column
of the source, such as ``labels.npy`` (int64, shape (n,)), and ``manifest.json``. Every part is an entry of its own. The
key is a hash of the source's stamp (names, sizes and times of its files), so that changed files make a new entry and an
entry never changes.

Pixels stand in the order (h, w, c) because ``permute(0, 3, 1, 2)`` of it is PyTorch's channels_last, at no cost.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from evo_nas.data.sources.base import Part, PixelSource
from evo_nas.data.sources.catalogue import find_decoded_root
from evo_nas.errors import DataError
from evo_nas.system.text import read_text

VERSION: Final = 1
"""Goes into every key: to be raised whenever the same files would decode to other pixels."""

_BLOCK: Final = 1 << 23

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of ``manifest.json``.

    ``mean`` and ``std`` are fractions in [0, 1], one per channel, over every pixel of the part that is no padding.
    ``fingerprint`` is a SHA-256 of class names, columns and pixels: the same on every machine where these are the same.
    ``bytes`` holds the lengths of the arrays' files, by which a truncated one is recognised.
    """

    part: Part
    place: str
    classes: tuple[str, ...]
    images: int
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    bytes: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read the JSON form.

        Raises:
            OSError, ValueError, TypeError: if there is none, or it is damaged.
        """
        content = json.loads(read_text(path))
        lists = {name: tuple(content[name]) for name in ("classes", "mean", "std") if name in content}
        return cls(**{**content, **lists})


@dataclass(frozen=True)
class DecodedEntry:
    """An entry of the cache that was found whole. The arrays are mapped when they are first asked for."""

    folder: Path
    manifest: Manifest

    @cached_property
    def images(self) -> np.ndarray:
        """The pixels, uint8 of shape (n, h, w, c), mapped read-only."""
        # allow_pickle is False by default, and said here all the same: a cache may be shared.
        array: np.ndarray = np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)
        return array

    @cached_property
    def labels(self) -> np.ndarray:
        """The labels, int64 of shape (n,)."""
        return self.column("labels")

    def column(self, name: str) -> np.ndarray:
        """Return a copy of one of the arrays beside the pixels."""
        # Mapped first: of a file that lies about its length nothing is allocated.
        array: np.ndarray = np.array(np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
        return array

    def __getstate__(self) -> dict[str, object]:
        """Pickle the folder, never the pixels: the process at the other end maps the same file."""
        return {"folder": self.folder, "manifest": self.manifest}


def open_decoded_copy(source: PixelSource, part: Part, size: int | None, channels: int) -> DecodedEntry:
    """Open the decoded copy of one part of a source, and decode it first if there is none.

    A damaged entry is replaced, with a warning in the log. Processes that decode the same at the same time do
    the work twice and end with one entry.

    Raises:
        DataError: if files of the source are missing or damaged, or the copy cannot be written.
    """
    folder = entry_folder(source, part, size, channels)
    entry = _read_entry(source, folder)
    if entry is None:
        if os.path.lexists(folder):
            _log.warning("the decoded copy %s is damaged and is made again from %s", folder, source.place)
        _log.info("decoding the %s images of %s, once, into %s", part, source.place, folder)
        entry = _decode(source, part, size, channels, folder)
    return entry


def is_decoded(source: PixelSource, part: Part, size: int | None, channels: int) -> bool:
    """Return whether there is a decoded copy that seems to be whole; nothing is decoded, and no pixel read.

    Raises:
        DataError: if files of the source are missing.
    """
    return _read_entry(source, entry_folder(source, part, size, channels), has_pixels_read=False) is not None


def entry_folder(source: PixelSource, part: Part, size: int | None, channels: int) -> Path:
    """Return the folder of the decoded copy of one part of a source, which may not exist.

    Raises:
        DataError: if files of the source are missing.
    """
    words = [str(VERSION), part, str(size), str(channels), source.stamp(part)]
    return find_decoded_root() / hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _read_entry(source: PixelSource, folder: Path, *, has_pixels_read: bool = True) -> DecodedEntry | None:
    """Return the entry of a folder, or ``None`` if it is missing, damaged, or differs from its manifest.

    All that is trained on is compared with the fingerprint: a disk, or a power cut, can change what lies there.
    """
    try:
        manifest = Manifest.read(folder / "manifest.json")
        for name in ("images.npy", *(f"{name}.npy" for name in source.columns)):
            if (folder / name).stat().st_size != manifest.bytes[name]:
                return None
        entry = DecodedEntry(folder, manifest)
        with np.errstate(over="ignore"):  # a shape beyond all numbers is no reason to warn, but to make it again
            images, columns = entry.images, {name: entry.column(name) for name in source.columns}
        n, height, _, channels = images.shape
        is_whole = (
            (n, height, channels) == (manifest.images, manifest.size, manifest.channels)
            and str(images.dtype) == "uint8"
            and {name: (str(column.dtype), column.shape[1:]) for name, column in columns.items()} == source.columns
            and images.flags.c_contiguous
            and len(manifest.mean) == len(manifest.std) == channels
            and all(0 <= value <= 1 for value in manifest.mean)
            and all(0 < value <= 1 for value in manifest.std)
        )
        if is_whole and has_pixels_read:
            digest = _begin_digest(manifest.classes, columns, images.shape)
            with (folder / "images.npy").open("rb") as file:
                file.seek(-images.nbytes, os.SEEK_END)
                while block := file.read(_BLOCK):
                    digest.update(block)
            is_whole = digest.hexdigest() == manifest.fingerprint
    except (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        return None
    return entry if is_whole else None


def _decode(source: PixelSource, part: Part, size: int | None, channels: int, folder: Path) -> DecodedEntry:
    """Decode into a folder beside the entry's, then rename it: no process ever sees half an entry."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            # One level deeper, because the temporary folder itself is closed to every other user.
            new = Path(scratch) / "entry"
            new.mkdir()
            manifest = _write(source, part, size, channels, new)
            _put(source, new, folder, Path(scratch))
    except OSError as error:
        raise _cannot_write(folder.parent, error) from None
    return DecodedEntry(folder, manifest)


def try_writing(folder: Path) -> None:
    """Write something into the folder of decoded copies, and take it back.

    Raises:
        DataError: if that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"the decoded images cannot be written to {folder} ({error.strerror or error}): make room there, or "
        f"let EVO_NAS_CACHE name another folder"
    )


def _put(source: PixelSource, new: Path, folder: Path, scratch: Path) -> None:
    """Rename a finished entry to its place, unless another process was faster; a damaged one there makes way."""
    for attempt in itertools.count():
        try:
            new.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _read_entry(source, folder) is not None:
            return
        # The scratch folder takes the damaged one along when it is removed; another process may have taken it first.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(scratch / f"damaged{attempt}")


def _write(source: PixelSource, part: Part, size: int | None, channels: int, new: Path) -> Manifest:
    """Decode a part, a batch at a time, into an empty folder."""
    classes, n, columns = source.name_classes(part), source.count_images(part), source.arrays(part)
    # Counts of the 256 levels give mean and deviation exactly, whatever the batches.
    levels = np.zeros((channels, 256), dtype=np.int64)
    written = 0
    with (new / "images.npy").open("wb") as file:
        for batch in source.batches(part, size, channels):
            if not written:
                shape = (n, *batch.shape[1:])
                # Written as a stream: a full disk is then an error, where a mapped file would be a SIGBUS.
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                digest = _begin_digest(classes, columns, shape)
            pixels = np.ascontiguousarray(batch)
            file.write(pixels.data)
            digest.update(pixels.data)
            for channel in range(channels):
                levels[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
            written += len(pixels)
    if not written or written != n:
        raise DataError(f"{source.place} holds {written} {part} images but {n} labels: fetch the set again")
    for name, column in columns.items():
        np.save(new / f"{name}.npy", column)
    levels[:, 0] -= source.count_padding(part, size)
    mean, std = _moments(levels)
    manifest = Manifest(
        part=part,
        place=source.place,
        classes=classes,
        images=written,
        size=shape[1],
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest(),
        bytes={f"{name}.npy": (new / f"{name}.npy").stat().st_size for name in ("images", *columns)},
    )
    (new / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    return manifest


def _begin_digest(classes: Sequence[str], columns: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> hashlib._Hash:
    """Return the digest of a part, to be updated with its pixels."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for column in columns.values():
        digest.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
    digest.update(repr(shape).encode())
    return digest


def _moments(levels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, as fractions, from counts of shape (channels, 256)."""
    grey = np.arange(256)
    totals = levels.sum(axis=1)
    means = (levels * grey).sum(axis=1) / totals
    variances = (levels * (grey - means[:, None]) ** 2).sum(axis=1) / totals
    # A constant channel has no scale of its own; one grey level keeps the quotient finite.
    deviations = [max(math.sqrt(variance), 1.0) for variance in variances]
    return tuple(float(m) / 255 for m in means), tuple(d / 255 for d in deviations)
