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
    """Count the pixels that SAME padding puts before and after one axis of ``size`` pixels.

    Without a comparison of the size, so that tools that trace a network can leave it open.
    """
    if kernel == 1:
        return 0, 0
    total = dilation * (kernel - 1) + 1 - stride
    if stride > 1:
        total += -size % stride
    return total // 2, total - total // 2


def convolve_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], groups: int) -> Tensor:
    """Convolve by 1x1 kernels with a stride; where gradients are computed, slice first.

    oneDNN writes past its memory on the CPU where it computes the gradient of the weights of a strided 1x1 convolution
    with fewer than 8 input channels, channels last (oneDNN issue 6035: fewer than 16 in an AVX-512 kernel). A slice and
    a convolution without a stride are the same function.
    """
    if torch.is_grad_enabled():
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
    return F.conv2d(x, weight, bias, stride, groups=groups)


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
        # Whatever the size of the images; with a stride only some sizes do.
        self.pads_evenly = all(
            size == 1 or (step == 1 and dilation * (size - 1) % 2 == 0)
            for size, step in zip(kernel, stride, strict=True)
        )

    def reset_parameters(self) -> None:
        """Draw the weights as torch does; not on the meta device, where it takes long and leaves nothing."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in, h, w) to (n, out, ceil(h / stride), ceil(w / stride))."""
        if self.kernel_size == (1, 1) and self.stride != (1, 1):
            return convolve_pointwise(x, self.weight, None, self.stride, self.groups)
        height, width = x.shape[2:]
        rows = same_padding(height, self.kernel_size[0], self.stride[0], self.dilation[0])
        columns = same_padding(width, self.kernel_size[1], self.stride[1], self.dilation[1])
        padding = rows[0], columns[0]
        if not self.pads_evenly:  # convolutions can pad evenly by themselves, without a padded copy
            x, padding = F.pad(x, (*columns, *rows)), (0, 0)
        return F.conv2d(x, self.weight, None, self.stride, padding, self.dilation, self.groups)


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
        height, width = x.shape[2:]
        rows, columns = same_padding(height, self.kernel, self.stride), same_padding(width, self.kernel, self.stride)
        if self.pads_zeros and self.kind == "avg":
            return F.avg_pool2d(F.pad(x, (*columns, *rows)), self.kernel, self.stride)
        before = rows[0], columns[0]
        if self.kernel == 2 and self.stride == 1:
            # A window of two pixels over the edge has one pixel left: as good as two equal ones.
            x, before = F.pad(x, (0, 1, 0, 1), mode="replicate"), (0, 0)
        # ceil_mode lets the last window hang over the edge, which is the part of the padding that comes after.
        if self.kind == "max":
            return F.max_pool2d(x, self.kernel, self.stride, before, ceil_mode=True)
        return F.avg_pool2d(x, self.kernel, self.stride, before, ceil_mode=True, count_include_pad=False)

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
