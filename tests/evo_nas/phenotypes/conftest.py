"""What makes large networks in double precision bearable: depthwise convolutions as sums of shifted maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from evo_nas.phenotypes.fast.kernels import library, trust


class ShiftedDepthwise(TorchFunctionMode):
    """Compute depthwise convolutions tap by tap: torch goes through the channels one by one, nine times as long."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d:
            return convolved(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def convolved(
    conv2d: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve depthwise by shifts, and anything else as torch does."""
    if groups == 1 or not groups == len(weight) == x.shape[1]:
        return conv2d(x, weight, bias, stride, padding, dilation, groups)
    assert bias is None
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    (rows, columns), (down, right) = weight.shape[2:], stride
    height, width = (
        (size - step * (taps - 1) - 1) // pace + 1
        for size, taps, pace, step in zip(x.shape[2:], (rows, columns), stride, dilation, strict=True)
    )
    y = x.new_zeros(len(x), len(weight), height, width)
    for row in range(rows):
        for column in range(columns):
            top, left = row * dilation[0], column * dilation[1]
            window = x[:, :, top : top + down * height : down, left : left + right * width : right]
            y.addcmul_(window, weight[:, :, row, column, None])
    return y


@pytest.fixture
def shifted_depthwise() -> Iterator[None]:
    with ShiftedDepthwise(), torch.no_grad():
        yield


@pytest.fixture(scope="session")
def kernels() -> None:
    """Need the compiled kernels: skip where none can be compiled, fail where they compute something else."""
    if isinstance(found := library.library("double"), str):
        pytest.skip(f"no kernels: {found}")
    assert trust.why_not(torch.float64) is None
