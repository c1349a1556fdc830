"""Backbones: three levels at their strides, from stages, networks of libraries and networks of cells."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torchvision import models

from evo_nas.errors import UsageError
from evo_nas.phenotypes.backbones import TappedBackbone, build_backbone

CHAIN = 'chain:{"chain": [["xception_3x3"], ["shuffle_3x3"], ["shuffle_5x5"]], "widths": [8, 12, 16], "stem": 6}'

NAMES = {
    # name -> channels at strides 4, 8, 16
    "thin": (24, 32, 48),
    "full": (24, 48, 96),
    "residual:8+16+24x2": (8, 16, 24),
    "plain:4+8+12+16": (8, 12, 16),
    "resnet:14x4": (4, 8, 16),
    "torchvision:resnet18": (64, 128, 256),
    "torchvision:mobilenet_v2": (24, 32, 96),
    "torchvision:shufflenet_v2_x0_5": (24, 48, 96),
    "timm:resnet10t": (64, 128, 256),
    "cell:nasnet-a@1x4": (24, 48, 96),
    "cell:darts-v2@2x4": (16, 32, 64),
    "chain:single-path-one-shot": (160, 320, 640),
    CHAIN: (8, 12, 16),
    "edges:|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|@1x4": (4, 8, 16),
}


@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_strides_and_the_widths_that_are_told(name: str) -> None:
    backbone = build_backbone(name, channels=2, canvas=64, finest_stride=4)
    assert backbone.strides == (4, 8, 16)
    assert backbone.widths == NAMES[name]
    for training in (True, False):
        features = backbone.train(training)(torch.rand(2, 2, 64, 64))
        assert [tuple(f.shape) for f in features] == [
            (2, w, 64 // s, 64 // s) for w, s in zip(NAMES[name], (4, 8, 16), strict=True)
        ]
    sum(feature.sum() for feature in features).backward()
    assert all(p.grad is not None for p in backbone.parameters()), "layers that no level needs are left out"


@pytest.mark.parametrize("stride", [2, 8])
@pytest.mark.parametrize("name", ["thin", "full", "resnet:8x4", "cell:pnasnet-5@1x4", CHAIN])
def test_our_own_have_any_finest_stride(name: str, stride: int) -> None:
    features = build_backbone(name, channels=1, canvas=128, finest_stride=stride)(torch.rand(2, 1, 128, 128))
    assert [feature.shape[-1] for feature in features] == [128 // stride, 64 // stride, 32 // stride]


def test_networks_of_cells_for_large_images_have_the_strides_of_the_paper() -> None:
    cells = '{"cells_per_stack": 1, "filters": 4, "macro": "imagenet", "cells": ' + _CELLS + "}"
    backbone = build_backbone(f"cell:{cells}", channels=3, canvas=128, finest_stride=8)
    assert [feature.shape[-1] for feature in backbone(torch.rand(2, 3, 128, 128))] == [16, 8, 4]
    backbone = build_backbone(f"cell:{cells}", channels=3, canvas=128, finest_stride=4)
    assert [feature.shape[-1] for feature in backbone(torch.rand(2, 3, 128, 128))] == [32, 16, 8]
    with pytest.raises(UsageError, match="no features at stride 64, but at"):
        build_backbone(f"cell:{cells}", channels=3, canvas=128, finest_stride=16)


_CELL = '{"blocks": [{"left": [0, "sep_conv_3x3"], "right": [1, "identity"], "combine": "add"}]}'
_CELLS = f'{{"normal": {_CELL}, "reduction": {_CELL}}}'


def test_features_of_a_classifier_are_its_own() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("torchvision:resnet18", channels=3, canvas=64, finest_stride=8).eval()
    network = models.resnet18(num_classes=1).eval()
    network.load_state_dict(backbone.network.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(images)))))
        for feature, stage in zip(backbone(images), (network.layer2, network.layer3, network.layer4), strict=True):
            x = stage(x)
            assert torch.equal(feature, x)


def test_full_and_residual_stages_are_the_blocks_of_the_residual_networks() -> None:
    backbone = build_backbone("full", channels=1, canvas=64, finest_stride=4)
    stem = 9 * 16 + 2 * 16
    blocks = sum(9 * i * o + 9 * o * o + i * o + 6 * o for i, o in ((16, 24), (24, 48), (48, 96)))
    assert sum(p.numel() for p in backbone.parameters()) == stem + blocks


class Own(nn.Module):
    """A user's network that cannot be followed symbolically."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(4)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.sum() > 0 and images.device.type != "meta":
            images = images + 1
        return self.stages(images).mean((2, 3))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("huge", "there is no backbone 'huge'; write full, thin"),
        ("torchvision:resnet9", "torchvision has no classifier of images"),
        ("torchvision:squeezenet1_1", "no features at stride 4, but at "),
        ("timm:resnet9", "timm has no network"),
        ("timm:vit_tiny_patch16_224", "timm gives no features|no features at stride 4, but at 16"),
        ("cell:nasnet-z", "names no network of cells"),
        ("edges:|none~0|@1x4", "architecture"),
        ("resnet:9x4", "6n \\+ 2 layers"),
        ("residual:24+48", "names no stages"),
        ("plain:8+8+8x2", "names no stages"),
        ("residual:8+8+8+8+8", "a finest stride of 8 or more, not 4"),
    ],
)
def test_what_is_no_backbone_is_refused_in_a_line(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        build_backbone(name, channels=3, canvas=64, finest_stride=4)
    assert "\n" not in str(error.value)


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot follow own to its features"):
        TappedBackbone(Own(), "own", channels=3, canvas=64, strides=[4, 8, 16])


def test_a_name_imports_no_code() -> None:
    """Names of backbones come with weights and runs, which are data."""
    with pytest.raises(UsageError, match="there is no backbone 'antigravity:fly'"):
        build_backbone("antigravity:fly", channels=3, canvas=64, finest_stride=4)
    assert "antigravity" not in sys.modules
