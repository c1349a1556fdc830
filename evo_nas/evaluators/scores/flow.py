"""The synaptic flow of a network (Tanaka et al. 2020; as a score of networks: Abdelfattah et al. 2021)."""

from __future__ import annotations

from copy import deepcopy
from typing import Final

import torch
from torch import Tensor, nn

_NORMS: Final = (nn.BatchNorm2d, nn.GroupNorm)


def find_saliencies(network: nn.Module, shape: torch.Size) -> Tensor:
    """Return the flow through each tensor of weights, (tensors,), for an image of the shape (c, h, w).

    With every weight w replaced by |w|, R is the sum of what the network puts out for one image of ones; the flow is
    the sum of |w| dR/d|w|. A norm would scale the flow back to nothing in particular, so batch norms and norms over
    groups hand on what they get, and their own weights have no part; the code released by Abdelfattah et al. builds the
    network without them. The flow grows by a factor per layer: hence float64, on the CPU because not every device has
    it.
    """
    positive = deepcopy(network).cpu().double().eval()
    for module in positive.modules():
        if isinstance(module, _NORMS):
            module.register_forward_hook(_hand_on)
    weights = list(positive.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    flow = positive(torch.ones(1, *shape, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    return torch.stack([(weight.detach() * gradient).sum() for weight, gradient in pairs if gradient is not None])


def _hand_on(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0]
