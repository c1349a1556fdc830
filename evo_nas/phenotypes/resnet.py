"""The residual networks for small images of He et al. 2016, section 4.2: three stages of 3x3 convolutions.

Detectors have the same stages, with widths of their own: :mod:`evo_nas.phenotypes.backbones`.
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

FILTERS: Final = 16
"""Of the first stage in the paper; each later one has twice as many."""


class _Block(nn.Module):
    """Two convolutions, and the input added to their output; a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Identity()
            if (inputs, stride) == (outputs, 1)
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, images: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(images))


def residual_stage(inputs: int, outputs: int, blocks: int, stride: int) -> list[nn.Module]:
    """Return the blocks of a stage, in order; the first one has the stride."""
    return [_Block(outputs if index else inputs, outputs, 1 if index else stride) for index in range(blocks)]


def draw_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions as in He et al. 2015."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Module):
    """A residual network of ``depth`` = 6n + 2 layers for small images, as in He et al. 2016, section 4.2.

    Where a stage changes the shape, a 1x1 convolution projects the input (the paper's option B; for these networks it
    has option A, which pads with zeros). Convolutions are drawn as in He et al. 2015.

    Raises:
        ValueError: if no network has this depth, or there is no filter or class.
    """

    def __init__(self, depth: int, filters: int = FILTERS, *, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"a residual network for small images has 6n + 2 layers, such as 20 or 32, not {depth}")
        if min(filters, classes, channels) < 1:
            raise ValueError("a network needs at least one filter, class and channel")
        self.conv1 = nn.Conv2d(channels, filters, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        blocks: list[nn.Module] = []
        inputs = filters
        for stage in range(3):
            blocks += residual_stage(inputs, filters << stage, (depth - 2) // 6, 2 if stage else 1)
            inputs = filters << stage
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)
        draw_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, of shape (n, classes)."""
        features: Tensor = self.blocks(F.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits
