"""The neck of a detector: from the features of a backbone to a pyramid of five levels of one width.

NAS-FPN (Ghiasi et al. 2019) as released (tensorflow/tpu, models/official/detection, nasfpn.py), FPN (Lin et al. 2017)
as the same code has it (fpn.py), or no neck. Levels are called 3 to 7; each has half as many pixels a side as the one
before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genotypes.genotype import shorten
from genotypes.pyramid import LEVELS, Pyramid

NECKS: Final = ("none", "fpn")
"""The necks that are no pyramid of merging cells, by name."""

EPSILON: Final = 1e-3
"""Of batch norm in necks and heads, as released."""


def build_neck(neck: Pyramid | str, inputs: Sequence[int], width: int, repeats: int = 1) -> nn.Module:
    """Build a neck of that ``width`` for levels 3, 4 and 5 of so many channels: ``none``, ``fpn``, or a pyramid.

    ``repeats`` says how often the merging cells of a pyramid are stacked, each time with weights of their own; the
    other necks have no repetitions. The module maps three features, (n, c, h, w), (n, c, h/2, w/2), (n, c, h/4, w/4),
    to five.

    Raises:
        ValueError: if there is no such neck, a number is less than 1, or there are not three inputs.
    """
    if len(inputs) != 3 or min(*inputs, width, repeats) < 1:
        raise ValueError(
            f"a neck reads three levels and has a width and repetitions of 1 or more, not {inputs}, {width}, {repeats}"
        )
    if isinstance(neck, Pyramid):
        return NASFPN(neck, inputs, width, repeats)
    if neck not in NECKS:
        raise ValueError(f"there is no neck {shorten(neck)!r}; there are: {', '.join(NECKS)}, and pyramids")
    return FPN(inputs, width) if neck == "fpn" else Projections(inputs, width)


def norm(width: int) -> nn.BatchNorm2d:
    """Return a batch norm as necks and heads have it."""
    return nn.BatchNorm2d(width, eps=EPSILON)


class Projections(nn.Module):
    """Levels 3 to 5 brought to one width, levels 6 and 7 pooled from level 5: all that a detector without a neck has.

    A level that has the width already is left as it is.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Identity() if channels == width else nn.Sequential(nn.Conv2d(channels, width, 1), norm(width))
            for channels in inputs
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map levels 3 to 5 to levels 3 to 7."""
        check_sizes(features)
        levels = [project(feature) for project, feature in zip(self.projections, features, strict=True)]
        while len(levels) < len(LEVELS):
            levels.append(F.max_pool2d(levels[-1], 2, 2))
        return levels


class MergingCells(nn.Module):
    """The merging cells of a pyramid once: five levels of one width to five levels."""

    def __init__(self, pyramid: Pyramid, width: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.after = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), norm(width)) for _ in pyramid.merges
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map levels 3 to 7, each (n, width, h, w), to new ones of the same shapes."""
        pyramid, pool = self.pyramid, list(levels)
        for index, (merge, extra) in enumerate(zip(pyramid.merges, pyramid.extras, strict=True)):
            coarse, fine = (
                resize(pool[feature], merge.level - pyramid.feature_levels[feature])
                for feature in pyramid.order_inputs(index)
            )
            if merge.combine == "attention":
                fine = fine * torch.sigmoid(F.adaptive_max_pool2d(coarse, 1))  # a weight per channel
            merged = coarse + fine
            for feature in extra:
                merged = merged + pool[feature]
            pool.append(self.after[index](merged))
        return [pool[feature] for feature in pyramid.outputs]


class NASFPN(nn.Module):
    """Projections, then the merging cells of a pyramid, ``repeats`` times, each time with weights of their own."""

    def __init__(self, pyramid: Pyramid, inputs: Sequence[int], width: int, repeats: int) -> None:
        super().__init__()
        self.inputs = Projections(inputs, width)
        self.repeats = nn.ModuleList(MergingCells(pyramid, width) for _ in range(repeats))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map levels 3 to 5 to levels 3 to 7."""
        levels: list[Tensor] = self.inputs(features)
        for cells in self.repeats:
            levels = cells(levels)
        return levels


class FPN(nn.Module):
    """A path from coarse to fine, a 3x3 convolution per level, and levels 6 and 7 by strided convolutions.

    Lin et al. 2017; with levels 6 and 7 as in Lin et al. 2017 (RetinaNet), and a batch norm per level, as released.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.after = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in inputs)
        self.coarser = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for _ in LEVELS[len(inputs) :])
        self.norms = nn.ModuleList(norm(width) for _ in LEVELS)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map levels 3 to 5 to levels 3 to 7."""
        check_sizes(features)
        lateral = [convolve(feature) for convolve, feature in zip(self.lateral, features, strict=True)]
        for finer in reversed(range(len(lateral) - 1)):
            lateral[finer] = lateral[finer] + resize(lateral[finer + 1], -1)
        levels = [convolve(level) for convolve, level in zip(self.after, lateral, strict=True)]
        for index, convolve in enumerate(self.coarser):
            levels.append(convolve(torch.relu(levels[-1]) if index else levels[-1]))
        return [normalize(level) for normalize, level in zip(self.norms, levels, strict=True)]


def resize(feature: Tensor, levels: int) -> Tensor:
    """Return a feature ``levels`` levels coarser, by one max pooling, or finer where negative, by repeating pixels."""
    if levels > 0:
        return F.max_pool2d(feature, 2**levels)
    return F.interpolate(feature, scale_factor=2**-levels, mode="nearest") if levels else feature


def check_sizes(features: Sequence[Tensor]) -> None:
    """Raise unless levels 3 to 5 halve, down to a level 7 of whole pixels.

    Raises:
        ValueError: with the sizes.
    """
    sizes = [tuple(feature.shape[-2:]) for feature in features]
    finest = sizes[0]
    wanted = [tuple(side >> index for side in finest) for index in range(len(sizes))]
    if sizes != wanted or any(side % 2 ** (len(LEVELS) - 1) for side in finest):
        raise ValueError(
            f"level 3 has a multiple of {2 ** (len(LEVELS) - 1)} pixels a side, and each level half of those of the "
            f"one before it, but the features have {', '.join(f'{h}x{w}' for h, w in sizes)}"
        )
