"""The two large networks that timm has too: its weights in ours give its logits."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.network import CellNetwork
from genotypes.zoo import CELLS

pytestmark = pytest.mark.slow

# timm's names of the cells, in order.
NASNET_CELLS = [
    *("cell_stem_0", "cell_stem_1", *(f"cell_{index}" for index in range(6))),
    *("reduction_cell_0", *(f"cell_{index}" for index in range(6, 12))),
    *("reduction_cell_1", *(f"cell_{index}" for index in range(12, 18))),
]
PNASNET_CELLS = ["cell_stem_0", "cell_stem_1", *(f"cell_{index}" for index in range(12))]

# Within a cell: timm's name -> ours. Layers of ours are numbered in the order of the operation.
RENAMED = [
    (r"conv_1x1\.conv", "fit_current.1"),
    (r"conv_1x1\.bn", "fit_current.2"),
    (r"conv_prev_1x1\.conv", "fit_previous.1"),
    (r"conv_prev_1x1\.bn", "fit_previous.2"),
    (r"(?:conv_prev_1x1\.)?path_1\.conv", "fit_previous.1.even"),
    (r"(?:conv_prev_1x1\.)?path_2\.conv", "fit_previous.1.odd"),
    (r"(?:conv_prev_1x1\.)?final_path_bn", "fit_previous.1.norm"),
    (r"comb_iter_(\d)_(\w+)\.separable_1\.depthwise_conv2d", r"blocks.\1.\2.0.1"),
    (r"comb_iter_(\d)_(\w+)\.separable_1\.pointwise_conv2d", r"blocks.\1.\2.0.2"),
    (r"comb_iter_(\d)_(\w+)\.bn_sep_1", r"blocks.\1.\2.0.3"),
    (r"comb_iter_(\d)_(\w+)\.separable_2\.depthwise_conv2d", r"blocks.\1.\2.0.5"),
    (r"comb_iter_(\d)_(\w+)\.separable_2\.pointwise_conv2d", r"blocks.\1.\2.0.6"),
    (r"comb_iter_(\d)_(\w+)\.bn_sep_2", r"blocks.\1.\2.0.7"),
    # PNASNet-5: a 1x1 convolution after the max pooling of the stem, and the identity that strides.
    (r"comb_iter_0_right\.conv", "blocks.0.right.0.1"),
    (r"comb_iter_0_right\.bn", "blocks.0.right.0.2"),
    (r"comb_iter_4_right\.conv", "blocks.4.right.1"),
    (r"comb_iter_4_right\.bn", "blocks.4.right.2"),
]


def renamed(name: str, cells: list[str]) -> str:
    """Translate a name of timm's."""
    owner, _, rest = name.partition(".")
    layer, _, tensor = rest.rpartition(".")
    if owner in ("conv0", "conv_0"):
        return f"stem.stages.0.{0 if layer == 'conv' else 1}.{tensor}"
    if owner == "last_linear":
        return f"classifier.{tensor}"
    for pattern, ours in RENAMED:
        if match := re.fullmatch(pattern, layer):
            return f"cells.{cells.index(owner)}.{match.expand(ours)}.{tensor}"
    raise AssertionError(f"no translation for {name}")


def shaken(network: nn.Module) -> nn.Module:
    """Return every batch norm statistics, scales and shifts of its own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, centre, spread in (
                (module.weight, 1.0, 0.2),
                (module.bias, 0.0, 0.3),
                (module.running_mean, 0.0, 0.3),
            ):
                nn.init.normal_(tensor, centre, spread)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.mark.usefixtures("shifted_depthwise")
@pytest.mark.parametrize(
    ("theirs", "ours", "cells_per_stack", "filters", "names"),
    [
        ("nasnetalarge", "nasnet-a", 6, 168, NASNET_CELLS),
        pytest.param("pnasnet5large", "pnasnet-5", 4, 216, PNASNET_CELLS, marks=pytest.mark.soak),
    ],
)
def test_weights_of_timm_give_its_logits(
    theirs: str, ours: str, cells_per_stack: int, filters: int, names: list[str]
) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    reference = shaken(timm.create_model(theirs, pretrained=False)).double().eval()
    with torch.device("meta"):
        network = CellNetwork(
            CELLS[ours],
            macro="imagenet",
            cells_per_stack=cells_per_stack,
            filters=filters,
            classes=1000,
            average="zeros",
        )
    weights = {renamed(name, names): tensor for name, tensor in reference.state_dict().items()}
    assert len(weights) == len(reference.state_dict())
    network.load_state_dict(weights, strict=True, assign=True)  # nothing is left over on either side
    network.eval()
    for image in (224, 331):
        pixels = torch.randn(1, 3, image, image, dtype=torch.float64)
        expected = reference(pixels)
        spread = expected.std().item()
        assert spread > 1e-3
        # A thousandth of what the logits differ by among themselves would be seen, a billionth is asked for.
        torch.testing.assert_close(network(pixels), expected, rtol=1e-9, atol=1e-9 * spread)


def test_shifted_maps_are_a_depthwise_convolution(shifted_depthwise: Iterator[None]) -> None:
    for size, kernel, stride, padding, dilation in ((9, 5, 2, 2, 1), (8, 3, 2, 0, 1), (7, 7, 1, 3, 1), (9, 3, 1, 2, 2)):
        x, weight = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 6, size, size), (6, 1, kernel, kernel)))
        options = ((stride, stride), (padding, padding), (dilation, dilation))
        # One channel a convolution is not depthwise.
        expected = [F.conv2d(x[:, [c]], weight[[c]], None, *options) for c in range(6)]
        y: Tensor = F.conv2d(x, weight, None, *options, groups=6)
        torch.testing.assert_close(y, torch.cat(expected, dim=1), rtol=1e-12, atol=1e-12)
