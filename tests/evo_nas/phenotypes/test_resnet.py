"""The residual networks for small images, against He et al. 2016."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evo_nas.phenotypes.kinds import count_cost
from evo_nas.phenotypes.resnet import ResNet


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_sizes_are_those_of_the_paper(depth: int, millions: float) -> None:
    """Table 6 of He et al. 2016; projections, which the paper has not here, add 1 % at most."""
    network = ResNet(depth)
    projections = sum(p.numel() for name, p in network.named_parameters() if "shortcut" in name)
    parameters = sum(p.numel() for p in network.parameters()) - projections
    assert round(parameters / 1e6, 2) == millions
    assert projections < 0.011 * parameters


def test_depth_counts_the_layers_with_weights() -> None:
    network = ResNet(20, 4)
    layers = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([name for name in layers if "shortcut" not in name]) == 20


def test_each_stage_halves_the_image_and_doubles_the_filters() -> None:
    shapes = []
    network = ResNet(8, 4, classes=3, channels=1).eval()
    for block in network.blocks:
        block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    assert network(torch.randn(2, 1, 28, 28)).shape == (2, 3)
    assert shapes == [(4, 28, 28), (8, 14, 14), (16, 7, 7)]


def test_mult_adds_of_a_network_of_20_layers() -> None:
    """41 million, as the paper's table 6 has no number: 9 stages' convolutions of 9 x 16 x 16 at 32 x 32."""
    _, mult_adds = count_cost(ResNet(20), channels=3, image_size=32)
    stage = 6 * 9 * 16 * 16 * 32 * 32  # each stage costs as much, but for its first convolution
    first, halved, projected, last = 9 * 3 * 16 * 32 * 32, stage // 6 // 2, stage // 6 // 9 // 2, 64 * 10
    assert mult_adds == first + 3 * stage - 2 * halved + 2 * projected + last


@pytest.mark.parametrize(("depth", "filters", "words"), [(19, 16, r"6n \+ 2"), (2, 16, r"6n \+ 2"), (20, 0, "filter")])
def test_what_is_no_network_is_refused(depth: int, filters: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ResNet(depth, filters)
