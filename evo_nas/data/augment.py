"""Normalisation and augmentation of batches: vectorised, on the batch's own device, from an explicit generator.

Every function takes and returns images of shape (n, c, h, w), changes nothing in place, and keeps the memory format.
Random numbers are drawn on the generator's device, which may be the CPU when the images are elsewhere: the same
seed then gives the same crops on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch


class Augmentation(Protocol):
    """The augmentation of the images of a training, as a recipe sets it."""

    @property
    def padding(self) -> int:
        """Zeros around an image before it is cropped, in pixels."""

    @property
    def flip(self) -> bool:
        """Whether images are flipped at random."""

    @property
    def cutout(self) -> int:
        """Side of the square that is cut out, in pixels; 0 for none."""

    @property
    def policy(self) -> str:
        """Policies, as :class:`evo_nas.data.policies.Policies` reads them."""


def normalise(
    images: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Scale uint8 images to (fraction - mean) / std, channel by channel; ``mean`` and ``std`` are fractions in [0, 1].

    Raises:
        ValueError: if there is not one mean and one deviation per channel, or a deviation is not positive.
    """
    channels = images.shape[1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(f"images of {channels} channels need as many means and stds, not {len(mean)} and {len(std)}")
    if min(std) <= 0:
        raise ValueError(f"standard deviations must be positive, not {min(std)}")
    # In float32 whatever comes out: half precision would round the pixels before they are centred.
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).view(-1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device).view(-1, 1, 1)
    return (images.float() * scale + shift).to(dtype)


def random_crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Surround each image by ``padding`` zeros and cut its own size out again, at an offset drawn for each image.

    Zoph et al. 2017 (NASNet, appendix) crop 32x32 out of 40x40. Theirs is an enlarged picture; ours is a padded one,
    as He et al. 2016 (section 4.2) and nearly all CIFAR trainers since: same shifts, and pixels keep their scale.

    Raises:
        ValueError: if the padding is negative.
    """
    if padding < 0:
        raise ValueError(f"the padding must be at least 0 pixels, not {padding}")
    n, _, height, width = images.shape
    offsets = torch.randint(2 * padding + 1, (2, n), generator=generator, device=generator.device).to(images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4).permute(0, 2, 3, 1)  # (n, h + 2p, w + 2p, c)
    rows = offsets[0, :, None, None] + torch.arange(height, device=images.device)[:, None]  # (n, h, 1)
    columns = offsets[1, :, None, None] + torch.arange(width, device=images.device)  # (n, 1, w)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return keep_format(padded[picked, rows, columns].permute(0, 3, 1, 2), images)


def random_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image left to right with probability 1/2."""
    flips = torch.rand(len(images), generator=generator, device=generator.device).to(images.device) < 0.5
    return keep_format(torch.where(flips[:, None, None, None], images.flip(3), images), images)


def cutout(images: torch.Tensor, length: int, generator: torch.Generator) -> torch.Tensor:
    """Set a square of ``length`` pixels a side to zero in each image (DeVries and Taylor 2017).

    Its centre is drawn uniformly from all pixels, so that it may reach over the border, as section 3.2 there wants.

    Raises:
        ValueError: if the length is negative.
    """
    if length < 0:
        raise ValueError(f"the length of a cutout must be at least 0 pixels, not {length}")
    n, _, height, width = images.shape
    draws = torch.rand((2, n), generator=generator, device=generator.device).to(images.device)
    rows = _mark_spans((draws[0] * height).long(), height, length)
    columns = _mark_spans((draws[1] * width).long(), width, length)
    # Filled in a clone: masked_fill itself would fall back to the contiguous format.
    return images.clone().masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def shrink(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return images of ``side`` pixels a side, averaged over the pixels between; the same ones at their own size."""
    if images.shape[2:] == (side, side):
        return images
    small = torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    return keep_format(small, images)


def augment(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    padding: int | None = None,
    flip: bool = True,
    cutout_length: int = 0,
) -> torch.Tensor:
    """Crop, flip and cut out, in this order, as CIFAR networks are trained.

    ``padding`` is an eighth of the height by default: 4 pixels at 32x32. Normalise first: zeros are then the mean
    colour, which neither darkens the batch nor looks like an edge. Digits should not be flipped.
    """
    images = random_crop(images, images.shape[2] // 8 if padding is None else padding, generator)
    if flip:
        images = random_flip(images, generator)
    return cutout(images, cutout_length, generator) if cutout_length else images


def _mark_spans(centres: torch.Tensor, extent: int, length: int) -> torch.Tensor:
    """Mark the positions of an axis that a span of ``length`` around each centre covers; bool of shape (n, extent)."""
    distance = torch.arange(extent, device=centres.device) - (centres[:, None] - length // 2)
    return (distance >= 0) & (distance < length)


def keep_format(images: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """Return the images in the memory format of ``model``, channels_last or contiguous."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
