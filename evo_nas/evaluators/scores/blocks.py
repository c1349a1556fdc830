"""The signals of a network's blocks, one at a time (AZ-NAS: Lee and Ham 2024).

Each block reads its inputs cut off from the blocks before it: one forward and one backward pass through each block
give its features and how gradients change on their way through it, and no more than a block is held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.network import UnreadCell


@dataclass(frozen=True)
class BlockSignals:
    """The entropy of a block's features, and the spectral norm of its Jacobian; NaN where there is none.

    ``entropy`` is that of the eigenvalues of the features' covariance, channel by channel, as shares of their sum, in
    nats. ``spectral_norm`` is the largest singular value of the mean over images and pixels of g v^T, where v is what
    goes in from behind, a random +1 or -1 for each number, and g what arrives in front; infinite for an identity.
    """

    entropy: float
    spectral_norm: float


def read_blocks(network: nn.Module, images: Tensor, generator: torch.Generator) -> list[BlockSignals]:
    """Send images, (n, c, h, w), through a network, block by block, and return the signals of each.

    Blocks are the stem and the cells of our networks; of others the modules of the first level, those in containers one
    by one, that map images to images. Nothing goes backwards through the first block. Batch norms take the statistics
    of the images. Of two inputs the first counts that gradients arrive at, h_i before h_{i-1}; where it is larger than
    the output, its pixels are folded into channels. The network is left as it was.
    """
    copy = deepcopy(network).eval()
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    signals: list[BlockSignals] = []
    for block in _list_blocks(copy):
        reader = _Reader(block, signals, generator)
        block.register_forward_pre_hook(reader.cut)
        block.register_forward_hook(reader.read)
    device = next(copy.parameters()).device
    with torch.no_grad():  # what lies between the blocks; within them gradients are computed
        copy(images.to(device))
    return signals


def _list_blocks(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        if isinstance(child, nn.ModuleList | nn.Sequential) and child is not getattr(network, "stem", None):
            yield from _list_blocks(child)
        elif not isinstance(child, UnreadCell):
            yield child


class _Reader:
    """Cuts off what a block reads, and reads its signals when it has computed."""

    def __init__(self, block: nn.Module, signals: list[BlockSignals], generator: torch.Generator) -> None:
        self.signals, self.generator = signals, generator
        self.leaves: list[Tensor] = []
        self.overwrites = any(getattr(module, "inplace", False) for module in block.modules())

    def cut(self, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Replace the inputs by leaves of the graph; the same tensor twice becomes one leaf."""
        torch.set_grad_enabled(True)
        known: dict[int, Tensor] = {}
        for value in inputs:
            if isinstance(value, Tensor) and value.is_floating_point():
                known.setdefault(id(value), value.detach().requires_grad_())
        self.leaves = list(known.values())
        given = {key: leaf.clone() if self.overwrites else leaf for key, leaf in known.items()}
        return tuple(given.get(id(value), value) for value in inputs)

    def read(self, block: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Take the signals, and hand the output on cut off."""
        features = output[-1] if isinstance(output, list | tuple) else output
        if isinstance(features, Tensor) and features.ndim == 4:
            # Drawn for the first block too, so that all networks of a shape get the same.
            signs = torch.randint(0, 2, features.shape, generator=self.generator).to(features).mul_(2).sub_(1)
            norm = self._pull_back(features, signs) if self.signals else math.nan
            self.signals.append(BlockSignals(find_entropy(features.detach()), norm))
        torch.set_grad_enabled(False)
        if isinstance(output, Tensor):
            return output.detach()
        return [item.detach() for item in output]

    def _pull_back(self, features: Tensor, signs: Tensor) -> float:
        if not features.requires_grad:
            return math.nan
        for gradient in torch.autograd.grad(features, self.leaves, signs, allow_unused=True):
            if gradient is not None and gradient.ndim == 4:
                return find_spectral_norm(gradient, signs)
        return math.nan


def find_entropy(features: Tensor) -> float:
    """Return the entropy of the principal components of features, (n, c, h, w), in nats; NaN where they are constant.

    Channels are the variables, images and pixels the observations (Lee and Ham 2024, expressivity).
    """
    rows = features.transpose(0, 1).flatten(1)  # (c, n h w)
    rows = rows - rows.mean(dim=1, keepdim=True)
    values = torch.linalg.eigvalsh(rows @ rows.T / rows.shape[1]).clamp(min=0)
    total = values.sum()
    if not total > 0:
        return math.nan
    shares = values / total
    return float(-(shares * (shares + 1e-8).log()).sum())


def find_spectral_norm(gradient: Tensor, signs: Tensor) -> float:
    """Return the largest singular value of the mean of g v^T, for g in front of a block and v behind it.

    Both are (n, c, h, w); infinite if they are the same, as for an identity.
    """
    if gradient.shape == signs.shape and torch.equal(gradient, signs):
        return math.inf
    height, width = signs.shape[2:]
    stride = -(-gradient.shape[2] // height)
    if stride > 1:
        padding = (0, stride * width - gradient.shape[3], 0, stride * height - gradient.shape[2])
        gradient = F.pixel_unshuffle(F.pad(gradient, padding), stride)
    before, behind = (tensor.transpose(0, 1).flatten(1) for tensor in (gradient, signs))
    return float(torch.linalg.matrix_norm(before @ behind.T / behind.shape[1], ord=2))
