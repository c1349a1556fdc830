"""Networks of every kind whose channels are followed, and what masking their dead channels computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.slots import Ints
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.zoo import CELLS

TORCHVISION = ("resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0", "shufflenet_v2_x1_0")
SPACES = {"nasnet": 1, "amoebanet": 1, "darts": 2, "pnas": 3}
"""Space -> the seed of its random cells."""


class Odd(nn.Module):
    """What single networks of libraries lack: groups of channels, a scale, hard-coded numbers, tied layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.grouped = nn.Conv2d(12, 16, 3, padding=1, groups=4)
        self.widening = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.twice = nn.Conv2d(32, 32, 1)
        self.norm = nn.GroupNorm(32, 32)
        self.scale = nn.Parameter(torch.rand(32, 1, 1))
        self.squeeze, self.excite = nn.Linear(32, 6), nn.Linear(6, 32)
        self.halves = nn.Conv2d(16, 10, 3, stride=2)
        self.fixed = nn.Conv2d(10, 4, 1)
        self.wide = nn.Linear(16, 20)
        self.classifier = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.widening(F.relu(self.grouped(F.relu(self.first(x))))))
        x = self.norm(self.twice(self.twice(x))) * self.scale
        share = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        left, right = (x * share[:, :, None, None]).chunk(2, dim=1)
        x = F.relu(self.fixed(F.relu(self.halves(left * right))))
        x = F.adaptive_max_pool2d(x, 2).view(-1, 16)
        logits: Tensor = self.classifier(F.relu(self.wide(x)))
        return logits


class Flat(nn.Module):
    """Convolutions before a linear layer that reads every pixel; no norm anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(6, 7, 3), nn.ReLU())
        self.classifier = nn.Linear(7 * 5 * 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layers(x).flatten(1))
        return logits


def random_cells(space: str, seed: int) -> CellPair:
    built = build_space(space)
    cells = built.decode(built.sample(np.random.default_rng(seed)))
    assert isinstance(cells, CellPair)
    return cells


def build_of_torchvision(name: str) -> nn.Module:
    from torchvision import models  # not at load: it takes a second or two

    network: nn.Module = getattr(models, name)(weights=None, num_classes=5)
    return network


def of_cells(cells: CellPair) -> nn.Module:
    return CellNetwork(cells, cells_per_stack=1, filters=8, classes=5)


CELL_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda cells=cells: of_cells(cells) for name, cells in CELLS.items()},
    **{f"{s}-{seed}": lambda s=s, seed=seed: of_cells(random_cells(s, seed)) for s, seed in SPACES.items()},
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(build_of_torchvision, name) for name in TORCHVISION},
    "odd": Odd,
    "flat": Flat,
}
IMAGE = (3, 32, 32)


def build(name: str) -> nn.Module:
    """Return a network in double precision whose batch norms have statistics, scales and shifts of their own."""
    torch.manual_seed(1)
    network = (CELL_NETWORKS | OTHERS)[name]().double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.normal_()
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2)
    return network


def draw_alive(layout: Layout, rng: np.random.Generator) -> Ints:
    """Return 1 for about 60 % of the classes and for at least one of each group, else 0."""
    alive: Ints = (rng.random(layout.count) < 0.6).astype(np.int64)
    alive[0] = 1
    for group in layout.groups:
        alive[group.classes[rng.integers(group.width)]] = 1
    return alive


@contextmanager
def mask_dead(network: nn.Module, layout: Layout, alive: Ints) -> Iterator[None]:
    """Zero the dead channels of whatever each layer with parameters gives, images last in shape but one or two."""
    rows = {axis.name.rpartition(".")[0]: axis.classes for axis in layout.axes if axis.dim == 0}

    def mask(classes: Ints) -> Callable[[Any, Any, Tensor], Tensor]:
        factors = torch.from_numpy(alive[classes]).double()
        return lambda module, inputs, output: output * factors.view(1, -1, *[1] * (output.dim() - 2))

    modules = dict(network.named_modules())
    hooks = [modules[name].register_forward_hook(mask(classes)) for name, classes in rows.items() if name]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
