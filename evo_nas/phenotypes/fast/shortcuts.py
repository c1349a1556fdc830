"""Shortcuts on the CPU: the numbers and gradients of torch's own operations, by ways that are faster there.

Each of them computes the same function up to rounding, with the weights of the plain layer in whose place it stands. A
network is built, named, stored and exported as if there were none.
docs/measurements/proxy.md has what each of them saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from evo_nas.phenotypes.fast.kernels import functions as compiled
from evo_nas.phenotypes.fast.kernels import trust
from evo_nas.phenotypes.fast.kernels.functions import Padding
from evo_nas.phenotypes.ops import FactorizedReduction, SameConv2d, SamePool2d, same_padding

_TINY: Final = 16
"""Pixels of a map that is so small that torch's own pooling is as fast."""


@dataclass(frozen=True)
class Unit:
    """The layers of which nearly all operations are made: depthwise perhaps, then pointwise convolution, batch norm."""

    depthwise: SameConv2d | None
    pointwise: SameConv2d
    norm: nn.BatchNorm2d


def units(layers: Sequence[nn.Module]) -> Iterator[nn.Module | Unit]:
    """Group layers that make up a unit; the others stay as they are."""
    rest = list(layers)
    while rest:
        first = rest[0] if isinstance(rest[0], SameConv2d) and _is_depthwise(rest[0]) else None
        match rest[0 if first is None else 1 :]:
            case [SameConv2d() as pointwise, nn.BatchNorm2d() as norm, *others] if _is_pointwise(pointwise):
                yield Unit(first, pointwise, norm)
                rest = others
            case _:
                yield rest.pop(0)


def apply(layer: nn.Module | Unit, parts: Sequence[Tensor], *, rectifies: bool = False) -> Tensor:
    """Apply a layer to the concatenation of maps, each (n, c_i, h, w), by a shortcut where there is one.

    ``rectifies`` sends the maps through a ReLU first; only where :func:`can_rectify` says so. A batch norm does not
    count the batches that it has seen: :class:`evo_nas.phenotypes.fast.network.FastNetwork` does.
    """
    x = parts[0]
    if isinstance(layer, Unit):
        return _unit(layer, parts, rectifies)
    if are_open(x):
        if isinstance(layer, SameConv2d):
            if _is_pointwise(layer):
                return pointwise(parts, layer.weight)
            if layer.kernel_size == (1, 1) and layer.groups == 1:
                return F.conv2d(_join([pick_strided_pixels(part, layer.stride) for part in parts]), layer.weight)
            if _is_depthwise(layer):
                return _depthwise(layer, _join(parts), rectifies)
        elif isinstance(layer, FactorizedReduction):
            even, odd = diagonal_pixels(parts)
            halves = [pointwise([even], layer.even.weight), pointwise([odd], layer.odd.weight)]
            return apply(layer.norm, [torch.cat(halves, dim=1)])
        elif isinstance(layer, SamePool2d) and not layer.pads_zeros:
            return _pool(layer, _join(parts))
        elif isinstance(layer, nn.BatchNorm2d):
            return _norm(layer, _join(parts))
    z: Tensor = layer(_join(parts))
    return z


def can_rectify(layer: nn.Module | Unit, x: Tensor) -> bool:
    """Return whether a layer takes in the ReLU of a map before it, which then needs no memory of its own."""
    layer = layer.depthwise or layer.pointwise if isinstance(layer, Unit) else layer
    return are_open(x) and trust.are_there(x) and isinstance(layer, SameConv2d) and _is_depthwise(layer)


def _unit(unit: Unit, parts: Sequence[Tensor], rectifies: bool) -> Tensor:
    depthwise, norm, x = unit.depthwise, unit.norm, parts[0]
    # A single pixel of a single image cannot be normed by itself: torch refuses it.
    fits = len(x) > 1 if norm.training else not torch.is_grad_enabled()
    if not (fits and are_open(x) and trust.are_there(x)):
        between = parts if depthwise is None else [apply(depthwise, parts, rectifies=rectifies)]
        return apply(norm, [apply(unit.pointwise, between)])
    if depthwise is None:
        return compiled.unit(parts, None, compiled.Window(), unit.pointwise.weight, norm)
    x = _join(parts)
    return compiled.unit([x], depthwise.weight, _window(depthwise, x, rectifies), unit.pointwise.weight, norm)


def _window(layer: SameConv2d, x: Tensor, rectifies: bool) -> compiled.Window:
    padding = _same(x, layer.kernel_size, layer.stride, layer.dilation[0])
    return compiled.Window(layer.stride[0], layer.dilation[0], padding, rectifies)


def _is_pointwise(layer: SameConv2d) -> bool:
    return layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1


def _is_depthwise(layer: SameConv2d) -> bool:
    return 1 < layer.groups == layer.in_channels == layer.out_channels and layer.stride[0] == layer.stride[1]


def _depthwise(layer: SameConv2d, x: Tensor, rectifies: bool) -> Tensor:
    if trust.are_there(x):
        return compiled.depthwise_conv2d(x, layer.weight, _window(layer, x, rectifies))
    y: Tensor = layer(x)
    return y


def _pool(layer: SamePool2d, x: Tensor) -> Tensor:
    kernel, stride = layer.kernel, layer.stride
    if x.shape[2] * x.shape[3] > _TINY and trust.are_there(x):
        padding = _same(x, (kernel, kernel), (stride, stride))
        if layer.kind == "avg" and kernel > 2:
            return average_pool(x, kernel, stride, padding)
        if layer.kind == "max" and stride == 1 and kernel > 3:
            return max_pool(x, kernel, padding)
        if layer.kind == "max":
            return compiled.max_pool2d(x, (kernel, kernel), stride, padding)
    y: Tensor = layer(x)
    return y


def _norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if layer.training and len(x) > 1 and trust.are_there(x):
        return compiled.batch_norm(x, layer)
    mean, variance = compiled.running(layer)
    return F.batch_norm(x, mean, variance, layer.weight, layer.bias, layer.training, layer.momentum or 0.0, layer.eps)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: int = 1) -> Padding:
    """Return SAME padding, as :func:`evo_nas.phenotypes.ops.same_padding` counts it for each axis."""
    height, width = (same_padding(*axis, dilation) for axis in zip(x.shape[2:], kernel, stride, strict=True))
    return (*width, *height)


def are_open(x: Tensor) -> bool:
    """Return whether shortcuts may be taken: not where a network is traced, which shall look as it is described."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def pointwise(parts: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Convolve the concatenation of maps, each (n, c_i, h, w), by 1x1 kernels of shape (out, sum of c_i, 1, 1).

    The kernels take it part by part: neither the concatenation nor its gradient is ever laid out in memory.
    """
    if trust.are_there(parts[0]):
        return compiled.pointwise(parts, weight)
    return F.conv2d(_join(parts), weight)


def pick_strided_pixels(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return every ``stride``-th row and column of a map, (n, c, h, w), from the first."""
    y: Tensor = _Strided.apply(x, stride)
    return y


class _Strided(torch.autograd.Function):
    """A slice by hand, laid out densely in both directions, as what convolves it wants it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: tuple[int, ...]) -> Tensor:
        ctx.shape, ctx.stride = x.shape, stride
        return x[:, :, :: stride[0], :: stride[1]].contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        rows, columns = ctx.stride
        x = _zeros_last(ctx.shape, grad)
        x[:, :, ::rows, ::columns] = grad
        return x, None


def _zeros_last(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return zeros of a shape (n, c, h, w) in the memory format channels last."""
    empty = torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    return empty.zero_()


def diagonal_pixels(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pick of the concatenation of maps, (n, c_i, h, w), the pixels of even rows and columns, and those of odd ones.

    Both are (n, c, ceil(h / 2), ceil(w / 2)), the second with zeros where an odd size has no more odd pixels.
    """
    even, odd = _Diagonal.apply(*parts)
    return even, odd


class _Diagonal(torch.autograd.Function):
    """Slices by hand: torch would fill a whole map with zeros for each of them on the way back, and add these up."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> tuple[Tensor, Tensor]:
        ctx.shapes = [part.shape for part in parts]
        height, width = parts[0].shape[2:]
        even = torch.cat([part[:, :, ::2, ::2] for part in parts], 1)
        odd = torch.cat([part[:, :, 1::2, 1::2] for part in parts], 1)
        return even, F.pad(odd, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else odd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, even: Tensor, odd: Tensor) -> tuple[Tensor, ...]:
        grads, first = [], 0
        for n, channels, height, width in ctx.shapes:
            grad = _zeros_last((n, channels, height, width), even)
            own = slice(first, first + channels)
            first += channels
            grad[:, :, ::2, ::2] = even[:, own]
            grad[:, :, 1::2, 1::2] = odd[:, own, : height // 2, : width // 2]
            grads.append(grad)
        return tuple(grads)


def average_pool(x: Tensor, kernel: int, stride: int, padding: Padding) -> Tensor:
    """Average over windows of kernel x kernel pixels by the kernels; padded pixels, as SAME has them, do not count."""
    ones = x.new_ones((x.shape[1], 1, kernel, kernel))
    shares = _shares(tuple(x.shape[2:]), kernel, stride, padding).to(x.dtype)
    return compiled.depthwise_conv2d(x, ones, compiled.Window(stride, padding=padding)) * shares


@lru_cache(maxsize=64)
def _shares(size: tuple[int, int], kernel: int, stride: int, padding: Padding) -> Tensor:
    """Return one over the number of pixels in each window: (1, 1, h, w)."""
    ones = torch.ones(1, 1, *size, dtype=torch.float64)
    return F.conv2d(F.pad(ones, padding), ones.new_ones(1, 1, kernel, kernel), stride=stride).reciprocal()


def max_pool(x: Tensor, kernel: int, padding: Padding) -> Tensor:
    """Take the largest of windows of kernel x kernel pixels at stride 1 by the kernels, one axis after the other.

    Of equal pixels the first wins, row by row, in both ways: so the gradient goes to the same one.
    """
    left, right, top, bottom = padding
    rows = compiled.max_pool2d(x, (1, kernel), 1, (left, right, 0, 0))
    return compiled.max_pool2d(rows, (kernel, 1), 1, (0, 0, top, bottom))
