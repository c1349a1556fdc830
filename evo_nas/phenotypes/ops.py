"""The operations of a cell as torch modules: name -> module, for any width, at stride 1 or 2.

Every convolution stands in the order ReLU, convolution, batch norm, and has no bias (Zoph et al. 2017, appendix).
Padding is TensorFlow's SAME, as in the released networks (tensorflow/models, slim/nets/nasnet): n pixels become
ceil(n / stride), and where the padding is odd, the extra row or column lies at the bottom or right. Batch norm has
torch's defaults, momentum 0.1 and epsilon 1e-5, which are the released CIFAR settings (decay 0.9).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Count the pixels that SAME padding puts before and after one axis of ``size`` pixels."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Return ``F.conv2d`` of the same arguments; with gradients, a strided 1x1 convolution slices first.

    oneDNN writes past its memory on the CPU where it computes the gradient of the weights of a strided 1x1 convolution
    with fewer than 8 input channels, channels last (oneDNN issue 6035: fewer than 16 in an AVX-512 kernel). A slice and
    a convolution without a stride are the same function.
    """
    if torch.is_grad_enabled() and tuple(weight.shape[2:]) == (1, 1) and max(stride) > 1:
        if any(padding):
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        x, stride, padding = x[..., :: stride[0], :: stride[1]], (1, 1), (0, 0)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def same_conv2d(x: Tensor, weight: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int) -> Tensor:
    """Convolve (n, in, h, w) with SAME padding by zeros."""
    height, width = (same_padding(*axis) for axis in zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True))
    padding = (height[0], width[0])
    if height[0] != height[1] or width[0] != width[1]:
        # An even size at stride 2. Only then is a padded copy made: convolutions can pad evenly by themselves.
        x, padding = F.pad(x, (*width, *height)), (0, 0)
    return conv2d(x, weight, None, stride, padding, dilation, groups)


def same_pool2d(x: Tensor, kind: str, kernel: int, stride: int, pads_zeros: bool) -> Tensor:
    """Pool (n, c, h, w) as :class:`SamePool2d` has it."""
    height, width = (same_padding(size, kernel, stride) for size in x.shape[2:])
    if pads_zeros and kind == "avg":
        return F.avg_pool2d(F.pad(x, (*width, *height)), kernel, stride)
    before = height[0], width[0]
    if kernel == 2 and stride == 1:
        # A window of two pixels over the edge has one pixel left: as good as two equal ones.
        x, before = F.pad(x, (0, 1, 0, 1), mode="replicate"), (0, 0)
    # ceil_mode lets the last window hang over the edge, which is the part of the padding that comes after.
    if kind == "max":
        return F.max_pool2d(x, kernel, stride, before, ceil_mode=True)
    return F.avg_pool2d(x, kernel, stride, before, ceil_mode=True, count_include_pad=False)


class SameConv2d(nn.Conv2d):
    """A convolution without bias and with SAME padding by zeros; kernel and stride are (vertical, horizontal)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, dilation=dilation, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """Draw the weights as torch does; not on the meta device, where it takes long and leaves nothing."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in, h, w) to (n, out, ceil(h / stride), ceil(w / stride))."""
        return same_conv2d(x, self.weight, self.stride, self.dilation, self.groups)


class SamePool2d(nn.Module):
    """Max or average pooling with SAME padding: padded pixels never win a maximum, nor count in an average.

    ``pads_zeros`` lets them count in an average as zeros, as timm's networks do at stride 2: values at the border come
    out lower. Weights that were trained that way want it.
    """

    def __init__(self, kind: str, kernel: int, stride: int) -> None:
        super().__init__()
        self.kind, self.kernel, self.stride = kind, kernel, stride
        self.pads_zeros = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, ceil(h / stride), ceil(w / stride))."""
        return same_pool2d(x, self.kind, self.kernel, self.stride, self.pads_zeros)

    def extra_repr(self) -> str:
        """Show the options in the printed network."""
        return f"{self.kind}, kernel={self.kernel}, stride={self.stride}"


class FactorizedReduction(nn.Module):
    """Halve a map without losing pixels, as the released NASNet code does between cells of different size.

    One path convolves the pixels at even rows and columns, the other those at odd ones; each makes half of the
    channels, the second one more where ``filters`` is odd. One batch norm, no ReLU.

    Raises:
        ValueError: if there are fewer than 2 filters, so that a path would have none.
    """

    def __init__(self, in_channels: int, filters: int) -> None:
        if filters < 2:
            raise ValueError(f"a factorized reduction needs at least 2 filters, not {filters}")
        super().__init__()
        self.even = pointwise(in_channels, filters // 2)
        self.odd = pointwise(in_channels, filters - filters // 2)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, filters, ceil(h / 2), ceil(w / 2))."""
        height, width = x.shape[2:]
        even = x[:, :, ::2, ::2]
        # An odd size has one odd row fewer than even ones: a row of zeros stands in.
        odd = F.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
        y: Tensor = self.norm(torch.cat([self.even(even), self.odd(odd)], dim=1))
        return y


def skip_connect(in_channels: int, filters: int, stride: int) -> nn.Module:
    """Make DARTS's identity: an ``nn.Identity`` if nothing has to change, at stride 2 ReLU and factorized reduction."""
    if stride == 1:
        return identity(in_channels, filters, stride)
    return nn.Sequential(nn.ReLU(), FactorizedReduction(in_channels, filters))


def pointwise(in_channels: int, filters: int, stride: int = 1) -> SameConv2d:
    """Make a 1x1 convolution."""
    return SameConv2d(in_channels, filters, (1, 1), (stride, stride))


def relu_conv_bn(
    in_channels: int,
    filters: int,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    dilation: int = 1,
) -> nn.Sequential:
    """Make the unit that everything here is built of: ReLU, convolution, batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        SameConv2d(in_channels, filters, kernel, stride, dilation),
        nn.BatchNorm2d(filters),
    )


def identity(in_channels: int, filters: int, stride: int) -> nn.Module:
    """Make the identity: an ``nn.Identity`` if nothing has to change, else ReLU, 1x1 convolution, batch norm."""
    return nn.Identity() if stride == 1 and in_channels == filters else conv_1x1(in_channels, filters, stride)


def conv_1x1(in_channels: int, filters: int, stride: int) -> nn.Module:
    """Make ReLU, 1x1 convolution, batch norm."""
    return relu_conv_bn(in_channels, filters, stride=(stride, stride))


def conv_3x3(in_channels: int, filters: int, stride: int, *, dilation: int = 1) -> nn.Module:
    """Make a 3x3 convolution inside a bottleneck of a quarter of the filters.

    The NASNet paper does not say how wide it is inside; this is the code released for AmoebaNet, by the same group.
    """
    width = max(filters // 4, 1)
    return nn.Sequential(
        *relu_conv_bn(in_channels, width),
        *relu_conv_bn(width, width, (3, 3), (stride, stride), dilation),
        *relu_conv_bn(width, filters),
    )


def conv_1xk_kx1(in_channels: int, filters: int, stride: int, *, kernel: int, share: tuple[int, int]) -> nn.Module:
    """Make a 1xk, then a kx1 convolution, inside a bottleneck of a share, as (over, under), of the filters.

    As :func:`conv_3x3`, from the code released for AmoebaNet: each of the two strides along its own axis.
    """
    width = max(filters * share[0] // share[1], 1)
    return nn.Sequential(
        *relu_conv_bn(in_channels, width),
        *relu_conv_bn(width, width, (1, kernel), (1, stride)),
        *relu_conv_bn(width, width, (kernel, 1), (stride, 1)),
        *relu_conv_bn(width, filters),
    )


def sep_conv(in_channels: int, filters: int, stride: int, *, kernel: int) -> nn.Module:
    """Make a depthwise-separable convolution, applied twice; the first one strides and changes the width."""
    first = separable(in_channels, filters, stride, kernel=kernel)
    return nn.Sequential(*first, *separable(filters, filters, 1, kernel=kernel))


def separable(in_channels: int, filters: int, stride: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Make a depthwise-separable convolution, applied once; dilated as in quark0/darts, cnn/operations.py."""
    return nn.Sequential(
        nn.ReLU(),
        SameConv2d(in_channels, in_channels, (kernel, kernel), (stride, stride), dilation, groups=in_channels),
        pointwise(in_channels, filters),
        nn.BatchNorm2d(filters),
    )


def pool(in_channels: int, filters: int, stride: int, *, kind: str, kernel: int) -> nn.Module:
    """Make a pooling; if the width has to change, a 1x1 convolution and batch norm follow, without a ReLU."""
    pooling = SamePool2d(kind, kernel, stride)
    if in_channels == filters:
        return pooling
    return nn.Sequential(pooling, pointwise(in_channels, filters), nn.BatchNorm2d(filters))


OPS: Final[dict[str, Callable[[int, int, int], nn.Module]]] = {
    "identity": identity,
    "conv_1x3_3x1": partial(conv_1xk_kx1, kernel=3, share=(3, 8)),
    "conv_1x7_7x1": partial(conv_1xk_kx1, kernel=7, share=(1, 4)),
    "dil_conv_3x3": partial(conv_3x3, dilation=2),
    "avg_pool_3x3": partial(pool, kind="avg", kernel=3),
    "avg_pool_5x5": partial(pool, kind="avg", kernel=5),
    "avg_pool_2x2": partial(pool, kind="avg", kernel=2),
    "max_pool_2x2": partial(pool, kind="max", kernel=2),
    "max_pool_3x3": partial(pool, kind="max", kernel=3),
    "max_pool_5x5": partial(pool, kind="max", kernel=5),
    "max_pool_7x7": partial(pool, kind="max", kernel=7),
    "conv_1x1": conv_1x1,
    "conv_3x3": conv_3x3,
    "sep_conv_3x3": partial(sep_conv, kernel=3),
    "sep_conv_5x5": partial(sep_conv, kernel=5),
    "sep_conv_7x7": partial(sep_conv, kernel=7),
    "dil_sep_conv_3x3": partial(separable, kernel=3, dilation=2),
    "dil_sep_conv_5x5": partial(separable, kernel=5, dilation=2),
    "skip_connect": skip_connect,
}
"""Name, as in :data:`genotypes.operations.OPERATIONS` -> ``(in_channels, filters, stride)`` to a module.

The module maps (n, in_channels, h, w) to (n, filters, ceil(h / stride), ceil(w / stride)). It is an ``nn.Identity``
exactly if it computes nothing.
"""
