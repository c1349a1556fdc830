"""The compiled kernels as functions of torch, with their gradients.

Maps are (n, c, h, w) in the memory format channels last, on the CPU; anything else in that shape is brought into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import CDLL, Array, byref, c_long, c_void_p
from functools import lru_cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from evo_nas.phenotypes.fast.kernels.library import LARGEST_WINDOW, Geometry, library

REALS: Final = {torch.float32: "float", torch.float64: "double"}
"""The types of numbers for which there are kernels, and their names in C."""

Padding = tuple[int, int, int, int]
"""Pixels to the left, to the right, at the top and at the bottom, as ``torch.nn.functional.pad`` takes them."""


class Window(NamedTuple):
    """The path of a depthwise convolution over a map, or over its ReLU if it rectifies."""

    stride: int = 1
    dilation: int = 1
    padding: Padding = (0, 0, 0, 0)
    rectifies: bool = False


def depthwise_conv2d(x: Tensor, kernels: Tensor, window: Window) -> Tensor:
    """Convolve each channel of (n, c, h, w) with its own kernel of (c, 1, k_h, k_w)."""
    y: Tensor = _Depthwise.apply(x, kernels, window)
    return y


def max_pool2d(x: Tensor, kernel: tuple[int, int], stride: int, padding: Padding) -> Tensor:
    """Take the largest of windows of so many rows and columns; padded ones never win. Of equal ones the first does."""
    y: Tensor = _MaxPool.apply(x, kernel, stride, padding)
    return y


def pointwise(parts: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Convolve the concatenation of maps, each (n, c_i, h, w), by 1x1 kernels of shape (out, sum of c_i, 1, 1)."""
    y: Tensor = _Pointwise.apply(weight, *parts)
    return y


def unit(
    parts: Sequence[Tensor], kernels: Tensor | None, window: Window, mixing: Tensor, norm: nn.BatchNorm2d
) -> Tensor:
    """Convolve pointwise, by ``mixing``, and norm; with ``kernels``, (c, 1, k_h, k_w), after a depthwise convolution.

    Several parts, which are meant as one concatenated map, exclude kernels. In evaluation mode there are no gradients.
    """
    mean, variance = running(norm)
    if norm.training:
        running_in = mean, variance, norm.momentum or 0.0, norm.eps
        y: Tensor = _Unit.apply(window, running_in, kernels, mixing, norm.weight, norm.bias, *parts)
        return y
    # The norm is a factor and a term by now: they go into the convolution.
    factor = norm.weight * torch.rsqrt(variance + norm.eps)
    mixing, bias = mixing * factor.view(-1, 1, 1, 1), norm.bias - mean * factor
    dense = [_dense(part) for part in parts]
    size = (1, 1) if kernels is None else kernels.shape[2:]
    at = _geometry(dense[0].shape, size, *window)
    y = _empty((at.n, len(mixing), at.out_height, at.out_width), dense[0])
    kernels = None if kernels is None else kernels.contiguous()
    _call("unit_inference", y.dtype, byref(at), *_list_parts(dense), kernels, mixing.contiguous(), bias, len(bias), y)
    return y


def batch_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Norm each channel by the batch, and take its mean and variance into the running ones."""
    y: Tensor = _BatchNorm.apply(x, norm.weight, norm.bias, *running(norm), norm.momentum or 0.0, norm.eps)
    return y


def running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance, which every network here keeps."""
    assert norm.running_mean is not None, "a network keeps running statistics"
    assert norm.running_var is not None, "a network keeps running statistics"
    return norm.running_mean, norm.running_var


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Window) -> Tensor:
        x, weight = _dense(x), weight.contiguous()
        ctx.geometry = _geometry(x.shape, weight.shape[2:], *window)
        ctx.save_for_backward(x, weight)
        y = _output(x, ctx.geometry)
        _call("depthwise_forward", x.dtype, byref(ctx.geometry), x, weight, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_input, of_weight, _ = ctx.needs_input_grad
        grad, geometry = _dense(grad), byref(ctx.geometry)
        of_x, of_kernels = _like([x, weight], [of_input, of_weight])
        _call("depthwise_backward", x.dtype, geometry, x, weight, grad, of_x, of_kernels)
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
        weight, dense = weight.contiguous(), [_dense(part) for part in parts]
        ctx.save_for_backward(weight, *dense)
        n, _, height, width = parts[0].shape
        y = _empty((n, len(weight), height, width), parts[0])
        _call("pointwise_forward", y.dtype, n * height * width, *_list_parts(dense), weight, None, len(weight), y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *parts = ctx.saved_tensors
        _, *wanted = ctx.needs_input_grad
        grad, of_weight, of_parts = _dense(grad), torch.empty_like(weight), _like(parts, wanted)
        rows = grad.numel() // len(weight)
        _call(
            *("pointwise_backward", grad.dtype, rows, *_list_parts(parts), weight, len(weight)),
            *(grad, _addresses(of_parts), of_weight),
        )
        return of_weight, *of_parts


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        window: Window,
        running: tuple[Tensor, Tensor, float, float],
        kernels: Tensor | None,
        mixing: Tensor,
        scale: Tensor,
        shift: Tensor,
        *parts: Tensor,
    ) -> Tensor:
        dense, mixing = [_dense(part) for part in parts], mixing.contiguous()
        kernels = None if kernels is None else kernels.contiguous()
        x, channels = dense[0], len(mixing)
        ctx.geometry = at = _geometry(x.shape, (1, 1) if kernels is None else kernels.shape[2:], *window)
        mixed = _empty((at.n, channels, at.out_height, at.out_width), x)
        y, kept = torch.empty_like(mixed), x.new_empty(2, channels)
        mean, inverse = kept
        between = None if kernels is None else _output(x, at)
        _call(
            *("unit_forward", x.dtype, byref(at), *_list_parts(dense), kernels, mixing, channels, scale, shift),
            *(*running, between, mixed, y, mean, inverse),
        )
        ctx.save_for_backward(kernels, mixing, scale, mean, inverse, between, mixed, *dense)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernels, mixing, scale, mean, inverse, between, mixed, *parts = ctx.saved_tensors
        of_kernels = None if kernels is None else torch.empty_like(kernels)
        of_mixing, of_scale, of_shift = (torch.empty_like(tensor) for tensor in (mixing, scale, scale))
        of_parts = _like(parts, ctx.needs_input_grad[6:])
        _call(
            *("unit_backward", grad.dtype, byref(ctx.geometry), *_list_parts(parts), kernels, mixing, len(mixing)),
            *(scale, mean, inverse, between, mixed, _dense(grad)),
            *(_addresses(of_parts), of_kernels, of_mixing, of_scale, of_shift),
        )
        return None, None, of_kernels, of_mixing, of_scale, of_shift, *of_parts


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
    if rows * columns > LARGEST_WINDOW:
        raise ValueError(f"a window has at most {LARGEST_WINDOW} pixels here, not {rows} x {columns}")
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


def _kernels(dtype: torch.dtype) -> CDLL:
    found = library(REALS[dtype])
    assert isinstance(found, CDLL), "trust.are_there says so before"
    return found


def _list_parts(parts: Sequence[Tensor]) -> tuple[int, Array[c_void_p], Array[c_long]]:
    """Return how many tensors there are, where they lie, and how many channels each has."""
    return len(parts), _addresses(parts), (c_long * len(parts))(*[part.shape[1] for part in parts])


def _addresses(tensors: Sequence[Tensor | None]) -> Array[c_void_p]:
    return (c_void_p * len(tensors))(*[None if tensor is None else tensor.data_ptr() for tensor in tensors])


def _like(tensors: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor | None]:
    return [torch.empty_like(tensor) if own else None for tensor, own in zip(tensors, wanted, strict=True)]


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _output(x: Tensor, geometry: Geometry) -> Tensor:
    return _empty((geometry.n, geometry.c, geometry.out_height, geometry.out_width), x)


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
