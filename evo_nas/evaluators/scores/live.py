"""The parts of a network that a signal passes from the image to the logits, found in torch's graph of a forward pass.

What does not depend on the image, or reaches no logit, is built and trained for nothing: a cell of NAS-Bench-201 may
have such edges. Size and depth without them rank networks better than with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

_CONVOLUTION: Final = "ConvolutionBackward"
_PRODUCTS: Final = ("AddmmBackward", "MmBackward", _CONVOLUTION)
"""Operations with mult-adds."""

_LAYERS: Final = (*_PRODUCTS, "NativeBatchNormBackward", "CudnnBatchNormBackward", "NativeGroupNormBackward")
"""Operations that weights enter; what else leads to weights alone, such as a transposition, belongs to them."""


@dataclass(frozen=True)
class LiveParts:
    """Parameters and mult-adds on the paths from the image to the logits, and the most convolutions on one of them."""

    parameters: int
    mult_adds: int
    depth: int


def find_live_parts(network: nn.Module, shape: torch.Size) -> LiveParts:
    """Count the live parts of a network, for an image of the shape (c, h, w); the network is left as it was."""
    copy = deepcopy(network).eval()
    for parameter in copy.parameters():
        parameter.requires_grad_(True)
    image = torch.ones(1, *shape, device=next(copy.parameters()).device, requires_grad=True)
    with torch.enable_grad():
        logits = copy(image)
    depths: dict[Any, float] = {}
    for node in _list_operations(logits.grad_fn):
        if (variable := getattr(node, "variable", None)) is not None:
            depths[node] = 0 if variable is image else -math.inf
            continue
        deepest = max((depths[before] for before in _list_sources(node)), default=-math.inf)
        depths[node] = deepest + node.name().startswith(_CONVOLUTION)
    live = [node for node, depth in depths.items() if depth > -math.inf and not hasattr(node, "variable")]
    weights = {id(weight): weight for node in live for weight in _find_weights(node, depths)}
    return LiveParts(
        parameters=sum(weight.numel() for weight in weights.values()),
        mult_adds=sum(_count_mult_adds(node, depths) for node in live),
        depth=int(max(depths.get(logits.grad_fn, 0), 0)),
    )


def _list_sources(node: Any) -> list[Any]:
    return [before for before, _ in node.next_functions if before is not None]


def _list_operations(last: Any) -> Iterator[Any]:
    """Yield the operations that lead to the last one, each after all that it reads."""
    done, waiting = set(), [] if last is None else [(last, False)]
    while waiting:
        node, is_ready = waiting.pop()
        if is_ready:
            yield node
        elif node not in done:
            done.add(node)
            waiting.append((node, True))
            waiting += [(before, False) for before in _list_sources(node) if before not in done]


def _find_weights(node: Any, depths: dict[Any, float]) -> Iterator[torch.Tensor]:
    """Yield the parameters that a live operation takes, also those that are viewed or transposed first."""
    for before in _list_sources(node):
        if depths[before] == -math.inf and not before.name().startswith(_LAYERS):
            if hasattr(before, "variable"):
                yield before.variable
            else:
                yield from _find_weights(before, depths)


def _count_mult_adds(node: Any, depths: dict[Any, float]) -> int:
    """Count the mult-adds of a live operation: each weight of a matrix, once per row or pixel of the output."""
    if not node.name().startswith(_PRODUCTS):
        return 0
    shape = node._input_metadata[0].shape  # of what the gradient is taken by, which is the output
    is_convolution = node.name().startswith(_CONVOLUTION)
    places = math.prod(shape[2:]) if is_convolution else math.prod(shape[:-1])
    return sum(weight.numel() * places for weight in _find_weights(node, depths) if weight.ndim > 1)
