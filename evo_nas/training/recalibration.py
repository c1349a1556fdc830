"""Recalibration: the statistics of a network's batch norms, computed anew (Guo et al. 2020, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the statistics of all batch norms to the plain means over batches of images, each (n, c, h, w).

    The network is in training mode afterwards.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean instead of a moving one
    network.train()
    for images in batches:
        network(images)
