"""The compiled kernels as functions of torch, with their gradients.

Maps are (n, c, h, w) in the memory format channels last, on the CPU; anything else in that shape is brought into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import CDLL, byref
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evo_nas.phenotypes.compiled.library import Geometry, library

_REALS: Final = {torch.float32: "float", torch.float64: "double"}
_THREADS: Final = 2
"""A kernel has one thread. So it is as fast as torch's own operations with two, which do not divide small work well."""

Padding = tuple[int, int, int, int]
"""Pixels to the left, to the right, at the top and at the bottom, as ``torch.nn.functional.pad`` takes them."""


def are_there(x: Tensor) -> bool:
    """Tell whether there are kernels for numbers of the type of this tensor."""
    return x.dtype in _REALS and torch.get_num_threads() <= _THREADS and _kernels(x.dtype) is not None


def depthwise_conv2d(
    x: Tensor, weight: Tensor, stride: int, dilation: int, padding: Padding, rectifies: bool = False
) -> Tensor:
    """Convolve each channel of (n, c, h, w), or of its ReLU, with its own kernel of (c, 1, k_h, k_w)."""
    y: Tensor = _Depthwise.apply(x, weight, (stride, dilation, padding, rectifies))
    return y


def max_pool2d(x: Tensor, kernel: tuple[int, int], stride: int, padding: Padding) -> Tensor:
    """Take the largest of windows of so many rows and columns; padded ones never win. Of equal ones the first does."""
    y: Tensor = _MaxPool.apply(x, kernel, stride, padding)
    return y


def pointwise(parts: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Convolve the concatenation of maps, each (n, c_i, h, w), by 1x1 kernels of shape (out, sum of c_i, 1, 1)."""
    y: Tensor = _Pointwise.apply(weight, *parts)
    return y


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """Norm each channel by the batch, and take its mean and variance into the running ones."""
    y: Tensor = _BatchNorm.apply(x, weight, bias, running_mean, running_var, momentum, eps)
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, options: tuple[int, int, Padding, bool]) -> Tensor:
        x = _dense(x)
        stride, dilation, padding, rectifies = options
        ctx.geometry = _geometry(x.shape, weight.shape[2:], stride, dilation, padding, rectifies)
        ctx.save_for_backward(x, weight)
        y = _output(x, ctx.geometry)
        _call("depthwise_forward", x.dtype, byref(ctx.geometry), x, weight.contiguous(), y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_input, of_weight, _ = ctx.needs_input_grad
        grad, geometry = _dense(grad), byref(ctx.geometry)
        of_x = of_kernels = None
        if of_input:
            of_x = torch.empty_like(x)
            _call("depthwise_of_input", x.dtype, geometry, x, weight.contiguous(), grad, of_x)
        if of_weight:
            of_kernels = torch.empty_like(weight, memory_format=torch.contiguous_format)
            _call("depthwise_of_kernels", x.dtype, geometry, x, grad, of_kernels)
        return of_x, of_kernels, None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: tuple[int, int], stride: int, padding: Padding) -> Tensor:
        x = _dense(x)
        ctx.shape = x.shape
        ctx.geometry = _geometry(x.shape, kernel, stride, 1, padding, False)
        y = _output(x, ctx.geometry)
        wins = torch.empty_like(y, dtype=torch.uint8)
        _call("max_pool_forward", x.dtype, byref(ctx.geometry), x, y, wins)
        ctx.save_for_backward(wins)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (wins,) = ctx.saved_tensors
        of_x = _empty(ctx.shape, grad).zero_()
        _call("max_pool_backward", grad.dtype, byref(ctx.geometry), _dense(grad), wins, of_x)
        return of_x, None, None, None


class _Pointwise(torch.autograd.Function):
    """Part by part, so that neither the concatenation nor its gradient is ever laid out."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, *parts: Tensor) -> Tensor:
        dense = [_dense(part) for part in parts]
        ctx.save_for_backward(weight, *dense)
        n, _, height, width = parts[0].shape
        y = _empty((n, len(weight), height, width), parts[0])
        shares = torch.split(weight.flatten(1), [part.shape[1] for part in parts], dim=1)
        for index, (part, share) in enumerate(zip(dense, shares, strict=True)):
            _call(
                *("product", part.dtype, n * height * width, part.shape[1], len(weight)),
                *(part, share.t().contiguous(), y, index > 0),
            )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *parts = ctx.saved_tensors
        of_weight, *of_parts = ctx.needs_input_grad
        grad, outputs = _dense(grad), len(weight)
        rows = grad.numel() // outputs
        shares = torch.split(weight.flatten(1), [part.shape[1] for part in parts], dim=1)
        given: list[Tensor | None] = []
        for part, share, wanted in zip(parts, shares, of_parts, strict=True):
            given.append(torch.empty_like(part) if wanted else None)
            if wanted:
                _call("product", grad.dtype, rows, outputs, part.shape[1], grad, share.contiguous(), given[-1], False)
        if not of_weight:
            return None, *given
        kernels = [weight.new_empty(outputs, part.shape[1]) for part in parts]
        for part, own in zip(parts, kernels, strict=True):
            _call("outer_product", grad.dtype, rows, outputs, part.shape[1], grad, part, own)
        return (kernels[0] if len(kernels) == 1 else torch.cat(kernels, 1)).view(weight.shape), *given


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        x = _dense(x)
        n, channels, height, width = x.shape
        ctx.rows = n * height * width
        y, kept = torch.empty_like(x), x.new_empty(2, channels)
        mean, inverse = kept
        _call(
            *("norm_forward", x.dtype, ctx.rows, channels, x, weight, bias, running_mean, running_var),
            *(momentum, eps, y, mean, inverse),
        )
        ctx.save_for_backward(x, weight, mean, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        of_x, of_weight, of_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        _call(
            *("norm_backward", x.dtype, ctx.rows, len(weight), x, weight, mean, inverse),
            *(_dense(grad), of_x, of_weight, of_bias),
        )
        return of_x, of_weight, of_bias, None, None, None, None


@lru_cache(maxsize=1024)
def _geometry(
    shape: torch.Size, kernel: tuple[int, int], stride: int, dilation: int, padding: Padding, rectifies: bool
) -> Geometry:
    n, channels, height, width = shape
    left, right, top, bottom = padding
    rows, columns = kernel
    out_height = (height + top + bottom - dilation * (rows - 1) - 1) // stride + 1
    out_width = (width + left + right - dilation * (columns - 1) - 1) // stride + 1
    return Geometry(
        *(n, channels, height, width, out_height, out_width, rows, columns),
        *(stride, dilation, top, left, rectifies),
    )


def _call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a kernel, tensors by their address.

    Raises:
        MemoryError: if it got no memory.
    """
    kernel = getattr(_kernels(dtype), name)
    if kernel(*[part.data_ptr() if isinstance(part, Tensor) else part for part in arguments]):
        raise MemoryError(f"the kernel {name} got no memory")


@lru_cache(maxsize=4)
def _kernels(dtype: torch.dtype) -> CDLL | None:
    return library(_REALS[dtype])


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _output(x: Tensor, geometry: Geometry) -> Tensor:
    return _empty((geometry.n, geometry.c, geometry.out_height, geometry.out_width), x)


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
