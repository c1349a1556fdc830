"""NASNet-A 6 @ 4032 with weights that follow from their shapes alone, against the same computed with timm's network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from evo_nas.phenotypes.network import CellNetwork
from genotypes.zoo import NASNET_A

pytestmark = pytest.mark.slow

# Mean, population's standard deviation and channel 0 at (0, 0) of what timm 1.0's nasnetalarge computes in float64.
# The cells are counted from the first stem cell.
EXPECTED = {
    "stem": (0.15437512, 0.51922110, 0.29604036),
    "cells.0": (1.23033480, 0.90359825, 0.69680274),
    "cells.1": (3.03008945, 1.49512131, 1.53037466),
    "cells.2": (3.87101920, 2.23012382, 0.86901372),
    "cells.7": (38.04557792, 15.04441207, 5.17546134),
    "cells.8": (94.91991347, 38.38642451, 31.49737760),
    "cells.14": (942.51660852, 440.75253955, 117.76519066),
    "cells.15": (2088.04078546, 984.81543913, 623.56056355),
    "cells.21": (17535.53744965, 8910.12749291, 2882.76343822),
}
LOGIT = 17535.5374496467


def plain(network: nn.Module) -> nn.Module:
    """Return every layer weights that its shape decides; the network comes from the meta device."""
    network = network.double().to_empty(device="cpu").eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.fill_(1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, value in (
                (module.weight, 1.0),
                (module.bias, 0.1),
                (module.running_mean, 0.05),
                (module.running_var, 0.9),
            ):
                tensor.data.fill_(value)
        elif isinstance(module, nn.Linear):
            module.weight.data.fill_(1 / module.in_features)
            module.bias.data.zero_()
    return network


def waves(side: int) -> Tensor:
    """Return an image that looks alike nowhere: cos(0.1 (y + 1)) sin(0.07 (x + 1)) + 0.1 c."""
    ticks = torch.arange(1, side + 1, dtype=torch.float64)
    plane = torch.cos(0.1 * ticks)[:, None] * torch.sin(0.07 * ticks)[None, :]
    return torch.stack([plane + 0.1 * channel for channel in range(3)])[None]


@pytest.mark.usefixtures("shifted_depthwise")
def test_the_large_network_computes_what_timms_computes() -> None:
    with torch.device("meta"):
        network = CellNetwork(NASNET_A, macro="imagenet", cells_per_stack=6, filters=168, classes=1000, average="zeros")
    plain(network)
    seen: dict[str, tuple[float, float, float]] = {}

    def note(name: str, y: Tensor) -> None:
        seen[name] = (y.mean().item(), y.std(correction=0).item(), y[0, 0, 0, 0].item())

    network.stem.stages[0].register_forward_hook(lambda _module, _inputs, y: note("stem", y))
    for index, cell in enumerate(network.cells):
        if f"cells.{index}" in EXPECTED:
            cell.register_forward_hook(lambda _module, _inputs, y, name=f"cells.{index}": note(name, y))
    logits = network(waves(331))
    assert list(seen) == list(EXPECTED)
    for name, numbers in EXPECTED.items():
        # The table has eight decimals.
        assert seen[name] == pytest.approx(numbers, rel=1e-8, abs=5.1e-9), name
    assert logits.shape == (1, 1000)
    assert logits.tolist()[0] == pytest.approx([LOGIT] * 1000, rel=1e-12)
