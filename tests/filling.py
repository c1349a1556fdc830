"""Weights and images that follow from shapes alone, and two sums of what comes out: fingerprints of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def fill(network: nn.Module) -> nn.Module:
    """Set every weight by its shape and its place alone."""

    def count(n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64)

    network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            values = ((37 * count(module.weight.numel()) + 11) % 101 - 50) / 50
            module.weight.data = (values / math.sqrt(module.weight[0].numel() / 3)).reshape(module.weight.shape)
            if module.bias is not None:
                module.bias.data = 0.01 * (count(len(module.bias)) % 7 - 3)
        elif isinstance(module, nn.BatchNorm2d):
            k = count(module.num_features)
            module.weight.data, module.bias.data = 1 + 0.01 * (k % 5 - 2), 0.02 * (k % 3 - 1)
            module.running_mean, module.running_var = 0.05 * (k % 4 - 1.5), 0.9 + 0.05 * (k % 6)
    return network


def image(channels: int, height: int, width: int) -> Tensor:
    """Return one image that follows from its shape."""
    c, y, x = (torch.arange(n, dtype=torch.float64) for n in (channels, height, width))
    plane = torch.cos(0.1 * (y + 1))[:, None] * torch.sin(0.07 * (x + 1))
    return (plane + 0.1 * (c % 8)[:, None, None])[None]


def sums(feature: Tensor) -> tuple[float, float]:
    flat = feature.flatten()
    return float(flat.sum()), float((flat * (torch.arange(len(flat)) % 13 + 1)).sum())
