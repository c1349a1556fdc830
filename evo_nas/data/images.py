"""Image sets for a training: a train part, and a test part that is not opened before it is requested."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from evo_nas.data.decoded import DecodedEntry, open_decoded_copy
from evo_nas.data.sources.catalogue import data_root, data_set
from evo_nas.data.sources.locate import locate
from evo_nas.errors import UsageError

if TYPE_CHECKING:
    import torch

LARGEST: Final = 1024
"""Largest width and height, in pixels: beyond it a slip of the finger is likelier than a proxy task."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Images, uint8 of shape (n, h, w, c), mapped read-only, with their labels, int64 of shape (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def tensors(
        self, device: torch.device | str = "cpu", indices: np.ndarray | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy the images, or those at ``indices`` in that order, to a device.

        The images are uint8 of shape (n, c, h, w) in channels_last memory format, the labels int64 of shape (n,).
        """
        import torch

        # Copied on the host first: torch must not be handed memory that is mapped read-only.
        images = np.array(self.images) if indices is None else np.asarray(self.images[indices])
        labels = np.array(self.labels) if indices is None else self.labels[indices]
        on_device = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return on_device, torch.from_numpy(labels).to(device)


@dataclass(frozen=True)
class ImageSet:
    """One data set at one size.

    ``mean`` and ``std`` are fractions in [0, 1], one per channel, over the train part. ``fingerprint`` is a SHA-256 of
    the train part's class names, labels and pixels. Pickled it is small: pixels are mapped again on the other side.
    """

    name: str
    data_dir: Path
    classes: tuple[str, ...]
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    entry: DecodedEntry

    @cached_property
    def train(self) -> Split:
        """The train part, from which a search splits its validation images too."""
        return Split(self.entry.images, self.entry.labels)

    @cached_property
    def test(self) -> Split:
        """The test part at the same size, for the final report and never for a search. Its files are first read here.

        Raises:
            DataError: if test images are missing or damaged, or their classes are not those of the train part.
        """
        entry = open_decoded_copy(locate(self.name, self.data_dir), "test", self.size, self.channels)
        return Split(entry.images, entry.labels)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the parts that were opened."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def open_images(
    dataset: str, data_dir: Path | None = None, *, size: int | None = None, channels: int | None = None
) -> ImageSet:
    """Open an image set; the first time, its train part is decoded. No test file is listed, opened or decoded.

    ``size`` is the width and height in pixels to which images are resized, by default their own: 32 for CIFAR, 8 for
    the digits, for a folder the size that all of its images share. ``channels`` is 1 (grey) or 3 (RGB), by default 1
    for the digits and 3 for all else.

    Raises:
        UsageError: if no data set has that name, size or channels are out of range, or a folder's images have no
            common size and none was asked for.
        DataError: if images are missing or damaged.
    """
    known = data_set(dataset)
    if size is not None and not 1 <= size <= LARGEST:
        raise UsageError(f"the size of images must be between 1 and {LARGEST} pixels, not {size}")
    if channels not in (None, 1, 3):
        raise UsageError(f"images have 1 channel (grey) or 3 (RGB), not {channels}")
    root = data_root(data_dir).absolute()
    source = locate(dataset, root)
    entry = open_decoded_copy(source, "train", size or known.size, channels or known.channels)
    manifest = entry.manifest
    if known.train is not None and manifest.images != known.train:
        _log.warning("%s holds %d of the %d train images of %s", source.place, manifest.images, known.train, known.name)
    return ImageSet(
        name=known.name,
        data_dir=root,
        classes=manifest.classes,
        size=manifest.size,
        channels=manifest.channels,
        mean=manifest.mean,
        std=manifest.std,
        fingerprint=manifest.fingerprint,
        entry=entry,
    )
