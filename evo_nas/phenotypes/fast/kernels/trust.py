"""Trust in the kernels: they are used where there are any and the self-check finds that they compute as torch does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.fast.kernels import functions
from evo_nas.phenotypes.fast.kernels.library import is_switched_off, library
from evo_nas.phenotypes.self_check import find_fault

_TOLERANCE: Final = {torch.float32: 1e-3, torch.float64: 1e-9}

_THREADS: Final = 2
"""A kernel has one thread, and is as fast as torch's operations with two, which do not divide small work well."""


def are_there(x: Tensor) -> bool:
    """Return whether kernels are to be used on numbers of this type, with the threads that torch has now."""
    return x.dtype in functions.REALS and torch.get_num_threads() <= _THREADS and why_not(x.dtype) is None


@cache
def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """Return in one line why there are no kernels for numbers of this type; ``None`` if there are."""
    real = functions.REALS[dtype]
    found = library(real)
    if isinstance(found, str):
        return found
    return find_fault(f"kernels-{real}", lambda: _find_wrong_number(dtype), depends=found._name)


def fault() -> str | None:
    """Return why there are no kernels; ``None`` if there are, or nobody wants them."""
    return None if is_switched_off() else why_not()


def _find_wrong_number(dtype: torch.dtype) -> str | None:
    with torch.inference_mode(False), torch.enable_grad():
        ours, plain = (_example(dtype, by_kernels) for by_kernels in (True, False))
    bar = _TOLERANCE[dtype]
    if not all(torch.allclose(a, b, rtol=bar, atol=bar) for a, b in zip(ours, plain, strict=True)):
        return "the kernels, as they were compiled here, do not compute what torch computes"
    return None


def _example(dtype: torch.dtype, by_kernels: bool) -> Sequence[Tensor]:
    """Return the result of every kernel once, or of torch, and the gradients of all that went in."""
    torch.manual_seed(0)
    x, kernels, mixing = (torch.randn(size, dtype=dtype) for size in ((3, 5, 9, 9), (5, 1, 3, 3), (19, 5, 1, 1)))
    second, other = (torch.randn(size, dtype=dtype) for size in ((6, 24, 1, 1), (4, 6, 1, 1)))
    leaves = [tensor.requires_grad_() for tensor in (x, kernels, mixing, second, other)]
    norms = [nn.BatchNorm2d(channels, dtype=dtype) for channels in (19, 6, 4)]
    if by_kernels:
        window = functions.Window(stride=2, padding=(1, 1, 1, 1), rectifies=True)
        a = functions.unit([x], kernels, window, mixing, norms[0])
        b = functions.max_pool2d(functions.depthwise_conv2d(x, kernels, window), (3, 3), 1, (1, 1, 1, 1))
        c = functions.unit([a, b], None, functions.Window(), second, norms[1])
        y = functions.batch_norm(functions.pointwise([c], other), norms[2])
    else:
        between = F.conv2d(x.relu(), kernels, stride=2, padding=1, groups=5)
        a, b = norms[0](F.conv2d(between, mixing)), F.max_pool2d(between, 3, 1, 1)
        y = norms[2](F.conv2d(norms[1](F.conv2d(torch.cat([a, b], 1), second)), other))
    leaves += [parameter for norm in norms for parameter in norm.parameters()]
    direction = torch.randn(y.shape, dtype=dtype)
    running = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
    return y, *torch.autograd.grad((y * direction).sum(), leaves), *running
