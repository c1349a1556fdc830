"""Depthwise convolution by hand: the numbers and the gradients of torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from evo_nas.phenotypes.fast.depthwise import depthwise_conv2d
from evo_nas.phenotypes.ops import FactorizedReduction, same_padding


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8, 9, 16])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 5, 8])
def test_output_and_gradients_are_those_of_torch(size: int, kernel: int, stride: int, channels: int) -> None:
    torch.manual_seed(size)
    x = torch.randn(3, channels, size, size, dtype=torch.double).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel, dtype=torch.double, requires_grad=True)
    before, after = same_padding(size, kernel, stride)
    padding = (before, after, before, after)
    plain = F.conv2d(F.pad(x, padding), weight, stride=stride, groups=channels)
    grad = torch.randn_like(plain)
    ours = depthwise_conv2d(x, weight, stride, padding)
    wanted = (plain, *torch.autograd.grad(plain, (x, weight), grad))
    for mine, theirs in zip((ours, *torch.autograd.grad(ours, (x, weight), grad)), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_what_needs_no_gradient_gets_none() -> None:
    x = torch.randn(2, 4, 8, 8)
    weight = torch.randn(4, 1, 5, 5, requires_grad=True)
    depthwise_conv2d(x, weight, 1, (2, 2, 2, 2)).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is None
    assert weight.grad is not None


@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_factorized_reduction_computes_the_same_with_and_without_gradients(size: int) -> None:
    torch.manual_seed(size)
    module = FactorizedReduction(6, 5).double()
    x = torch.randn(3, 6, size, size, dtype=torch.double, requires_grad=True)
    grown = module(x)
    with torch.no_grad():
        plain = module(x)
    torch.testing.assert_close(grown, plain, rtol=1e-9, atol=1e-9)
    even, odd = x[:, :, ::2, ::2], F.pad(x[:, :, 1::2, 1::2], (0, size % 2, 0, size % 2))
    by_hand = module.norm(torch.cat([module.even(even), module.odd(odd)], dim=1))
    parameters = (x, *module.parameters())
    grad = torch.randn_like(by_hand)
    for mine, theirs in zip(
        torch.autograd.grad(grown, parameters, grad), torch.autograd.grad(by_hand, parameters, grad), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
