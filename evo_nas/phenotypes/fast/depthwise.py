"""Depthwise convolution on the CPU: the same numbers as torch's own, from primitives that are fast there.

oneDNN, by which torch convolves on the CPU, has a fast kernel for the gradient of a depthwise kernel of up to three
columns and falls back to a dense convolution, up to ten times slower, for a wider one; and its gradient of the input
is slower than a forward convolution. So a wide kernel's gradient is computed a few columns at a time, on small maps by
matrix products, and the input's gradient by a forward convolution with the mirrored kernel.
docs/measurements/proxy.md has the measured shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Padding = tuple[int, int, int, int]
"""Pixels to the left, to the right, at the top and at the bottom, as ``torch.nn.functional.pad`` takes them."""

_COLUMNS: Final = 3
"""So many columns of a kernel oneDNN's fast kernel takes at a time."""

_SMALL_MAP: Final = 16
"""On maps of so many pixels the products of all pairs of them are cheaper than a convolution."""


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int, padding: Padding) -> Tensor:
    """Convolve each channel of (n, c, h, w) with its own kernel of (c, 1, k_h, k_w), padded by zeros.

    What it computes, and its gradients, are those of ``torch.nn.functional.conv2d`` but for rounding.
    """
    y: Tensor = _Depthwise.apply(x, weight, stride, padding)
    return y


class _Depthwise(torch.autograd.Function):
    """The convolution with its gradients by hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: Padding) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return convolved(x, weight, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        of_input, of_weight, *_ = ctx.needs_input_grad
        return (
            input_gradient(grad, weight, x.shape, ctx.stride, ctx.padding) if of_input else None,
            _weight_gradient(grad, weight, x, ctx.stride, ctx.padding) if of_weight else None,
            None,
            None,
        )


def convolved(x: Tensor, weight: Tensor, stride: int, padding: Padding) -> Tensor:
    """Convolve each channel with its own kernel of (c, 1, k_h, k_w); a convolution can pad evenly by itself."""
    left, right, top, bottom = padding
    if left == right and top == bottom:
        return F.conv2d(x, weight, None, stride, (top, left), groups=len(weight))
    return F.conv2d(F.pad(x, padding), weight, None, stride, groups=len(weight))


def input_gradient(grad: Tensor, weight: Tensor, shape: Sequence[int], stride: int, padding: Padding) -> Tensor:
    """Return the gradient of the input of :func:`convolved`, which had this shape, by a convolution forward.

    The gradient of the output, between whose pixels a stride leaves zeros, meets the mirrored kernels.
    """
    left, right, top, bottom = padding
    rows, columns = weight.shape[2:]
    mirrored = weight.flip(2, 3)
    if stride == 1:
        return convolved(
            grad, mirrored, 1, (columns - 1 - left, columns - 1 - right, rows - 1 - top, rows - 1 - bottom)
        )
    n, channels, height, width = shape
    spread = zeros_last((n, channels, height + rows - 1, width + columns - 1), grad)
    spread[
        :,
        :,
        rows - 1 - top : rows - top + stride * (grad.shape[2] - 1) : stride,
        columns - 1 - left : columns - left + stride * (grad.shape[3] - 1) : stride,
    ] = grad
    return F.conv2d(spread, mirrored, groups=len(weight))


def zeros_last(shape: Sequence[int], like: Tensor) -> Tensor:
    """Make zeros of a shape (n, c, h, w) in the memory format channels last."""
    empty = torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    return empty.zero_()


def _weight_gradient(grad: Tensor, weight: Tensor, x: Tensor, stride: int, padding: Padding) -> Tensor:
    """Return the gradient of the kernels in whichever way is fast for this kernel and map."""
    channels, _, rows, columns = weight.shape
    pixels = x.shape[2] * x.shape[3]
    if pixels <= _SMALL_MAP and max(rows, columns) > _COLUMNS:
        return _by_pairs(grad, x, (rows, columns), stride, padding)
    left, _, top, bottom = padding
    parts = []
    for first in range(0, columns, _COLUMNS):
        some = min(_COLUMNS, columns - first)
        # The part of the input that these columns of the kernel see: as wide as the output wants it.
        seen = stride * (grad.shape[3] - 1) + some
        before = left - first
        shifted = F.pad(x, (before, seen - before - x.shape[3], top, bottom))
        empty = weight.new_empty((channels, 1, rows, some))
        _, part, _ = torch.ops.aten.convolution_backward(
            grad, shifted, empty, None, [stride, stride], [0, 0], [1, 1], False, [0, 0], channels, [False, True, False]
        )
        parts.append(part)
    return torch.cat(parts, 3)


def _by_pairs(grad: Tensor, x: Tensor, kernel: tuple[int, int], stride: int, padding: Padding) -> Tensor:
    """Multiply every pixel of the input with every one of the output, and sum what one weight connects."""
    pairs = torch.bmm(_by_channel(x), _by_channel(grad).transpose(1, 2))  # (c, pixels in, pixels out)
    connected = _connected(x.shape[2:], grad.shape[2:], kernel, stride, padding).to(pairs)
    return (pairs.flatten(1) @ connected).view(-1, 1, *kernel)


def _by_channel(x: Tensor) -> Tensor:
    """Turn (n, c, h, w), channels last, into (c, h * w, n)."""
    n, channels, height, width = x.shape
    flat = x.permute(0, 2, 3, 1).reshape(n, -1)
    return flat.t().contiguous().view(height * width, channels, n).transpose(0, 1)


@lru_cache(maxsize=64)
def _connected(
    inputs: tuple[int, int], outputs: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Padding
) -> Tensor:
    """Say by ones which pair of an input's and an output's pixel a weight connects: (pairs, weights)."""
    left, _, top, _ = padding
    axes = []
    for before, size, of, taps in ((top, inputs[0], outputs[0], kernel[0]), (left, inputs[1], outputs[1], kernel[1])):
        at = torch.arange(size)[:, None, None] == (
            torch.arange(of)[:, None] * stride + torch.arange(taps) - before
        )  # (in, out, taps)
        axes.append(at)
    both = torch.einsum("xyk,uvl->xuyvkl", *(axis.double() for axis in axes))
    return both.reshape(inputs[0] * inputs[1] * outputs[0] * outputs[1], kernel[0] * kernel[1])
