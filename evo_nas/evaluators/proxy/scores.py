"""Zero-cost scores: what the weights of a network say of it before the first step of its training.

Each score is a number that is higher for a network that is thought to be better. Many rank no better than the size of
the network does (White et al. 2022, "A Deeper Look at Zero-Cost Proxies for Lightweight NAS"): hold them against
parameters and mult-adds before believing them. A score works on a copy and draws from no generator, so that the network
is trained afterwards as if there were none: weights, buffers, gradients and mode are as before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from evo_nas.training.loop import Examples

IMAGES: Final = 128
"""Images in the mini-batch, as in the code released by Mellor et al. 2021; fewer where there are fewer."""

_NORMS: Final = (nn.BatchNorm2d, nn.GroupNorm)
_RELUS: Final = (F.relu, torch.relu)


def mini_batch(train: Examples) -> Tensor:
    """Return :data:`IMAGES` normalised train images, (n, c, h, w): always the same ones, spread evenly over all."""
    step = max(1, len(train) // IMAGES)
    images, _ = train.batch(slice(0, IMAGES * step, step))
    return images


def measure_scores(network: nn.Module, images: Tensor, names: Iterable[str]) -> dict[str, float]:
    """Compute scores, names of :data:`SCORES`, of a network that is not trained yet, for a mini-batch, (n, c, h, w).

    ``scores_seconds`` is what all of them took, in seconds of the wall clock. A score that is no finite number is left
    out.
    """
    start = time.perf_counter()
    scores = {name: SCORES[name](network, images) for name in names}
    finite = {name: score for name, score in scores.items() if math.isfinite(score)}
    return {**finite, "scores_seconds": time.perf_counter() - start}


def synflow(network: nn.Module, images: Tensor) -> float:
    """Return the logarithm of the synaptic flow (Tanaka et al. 2020; as a score of networks: Abdelfattah et al. 2021).

    With every weight w replaced by |w|, R is the sum of what the network puts out for one image of ones; the flow is
    the sum of |w| dR/d|w| over all weights. Of the images the shape alone counts. A norm would scale the flow back to
    nothing in particular, so batch norms and norms over groups hand on what they get, and their own weights have no
    part; the code released by Abdelfattah et al. builds the network without them. The flow grows by a factor per layer:
    hence float64, on the CPU because not every device has it, and the logarithm. Not finite if the flow overflows even
    so, or is 0.
    """
    positive = deepcopy(network).cpu().double().eval()
    for module in positive.modules():
        if isinstance(module, _NORMS):
            module.register_forward_hook(_hand_on)
    weights = list(positive.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    flow = positive(torch.ones(1, *images.shape[1:], dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    saliencies = [(weight.detach() * gradient).sum() for weight, gradient in pairs if gradient is not None]
    return float(torch.stack(saliencies).sum().log())


def naswot(network: nn.Module, images: Tensor) -> float:
    """Return log |K| of the kernel of the network's ReLU codes (Mellor et al. 2021, "NAS without Training").

    The code of an image has a bit a unit of every ReLU: whether it lets something through. K_ij = N - d_H(c_i, c_j), of
    shape (n, n) for n images, counts on how many of all N bits two images agree. Two ReLUs of the same input count
    twice, as in the released code. Batch norms take the statistics of the mini-batch, as in training; all else is in
    evaluation mode, so that nothing is dropped. Not finite if K is singular to the precision of float64, as it is for
    two images of one code, such as equal ones.
    """
    copy = deepcopy(network).eval()
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    with torch.no_grad(), _Agreement(len(images)) as agreement:
        copy(images)
    if torch.linalg.matrix_rank(agreement.kernel, hermitian=True) < len(images):
        return -math.inf
    return float(torch.linalg.slogdet(agreement.kernel).logabsdet)


SCORES: Final[Mapping[str, Callable[[nn.Module, Tensor], float]]] = {"synflow": synflow, "naswot": naswot}
"""Name -> score: of a network before its training, and a mini-batch of normalised images, (n, c, h, w)."""


class _Agreement(TorchFunctionMode):
    """Counts, while a network computes, on how many bits of their ReLU codes two images agree: ``kernel``, (n, n).

    Hooks would miss the last ReLU of a ``CellNetwork``, which is no module; and it is one in the released code.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.kernel = torch.zeros(images, images, dtype=torch.float64)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _RELUS:
            # Of +1 and -1 the product counts agreements less differences; in float32 exact up to 2**24 units.
            signs = torch.where(args[0] > 0, 1.0, -1.0).flatten(1)
            self.kernel += (signs @ signs.T).cpu().double().add(signs.shape[1]).div(2)
        return func(*args, **(kwargs or {}))


def _hand_on(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0]
