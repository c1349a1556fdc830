"""The networks of NAS-Bench-201: cells with an operation on each edge, between them residual blocks of stride 2.

Dong & Yang 2020, section 2.1, and the released code (D-X-Y/AutoDL-Projects, lib/models/cell_operations.py). With C = 16
and N = 5 parameters and shapes are those of the benchmark; weights are drawn as in our other networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evo_nas.phenotypes.network import settle
from evo_nas.phenotypes.ops import SameConv2d, SamePool2d, relu_conv_bn
from evo_nas.phenotypes.plan import check_edge_size
from genotypes.edge_cell import EdgeCell
from genotypes.ranges import check_range


class EdgeCellModule(nn.Module):
    """A cell of four nodes, each the sum of its incoming edges; a node without one is zero.

    ``edges`` are target, source and operation of each edge other than ``none``.
    """

    def __init__(self, edges: Sequence[tuple[int, int, str]], filters: int) -> None:
        super().__init__()
        self.pairs = [(target, source) for target, source, _ in edges]
        self.edges = nn.ModuleList(_make_operation(op, filters) for _, _, op in edges)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, filters, h, w) to the same shape."""
        nodes: list[Tensor | None] = [x, None, None, None]
        for (target, source), edge in zip(self.pairs, self.edges, strict=True):  # in the order of their targets
            read = nodes[source]
            value: Tensor = edge(torch.zeros_like(x) if read is None else read)
            before = nodes[target]
            nodes[target] = value if before is None else before + value
        output = nodes[3]
        return torch.zeros_like(x) if output is None else output


class ResidualReduction(nn.Module):
    """Two 3x3 convolutions, the first of stride 2; to their output the pooled and projected input is added."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.first = relu_conv_bn(in_channels, filters, (3, 3), (2, 2))
        self.second = relu_conv_bn(filters, filters, (3, 3))
        self.shortcut = nn.Sequential(SamePool2d("avg", 2, 2), SameConv2d(in_channels, filters, (1, 1), (1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, filters, ceil(h / 2), ceil(w / 2))."""
        inner: Tensor = self.second(self.first(x))
        shortcut: Tensor = self.shortcut(x)
        return shortcut + inner


class EdgeNetwork(nn.Module):
    """Three stacks of N cells at C, 2C and 4C filters, and a residual block of stride 2 before the second and third.

    ``edges`` are those of every cell, as :meth:`genotypes.edge_cell.EdgeCell.edges` lists them. A 3x3 convolution with
    batch norm comes first; batch norm, ReLU, the mean over pixels and a linear layer come last. Takes images of
    ``channels`` channels and of any size that survives the reductions. Weights are drawn from torch's default
    generator.
    """

    def __init__(
        self,
        edges: Sequence[tuple[int, int, str]],
        *,
        cells_per_stack: int,
        filters: int,
        classes: int,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(channels, filters, (3, 3), (1, 1)), nn.BatchNorm2d(filters))
        self.cells = nn.ModuleList()
        for stack in range(3):
            width = filters * 2**stack
            if stack > 0:
                self.cells.append(ResidualReduction(width // 2, width))
            self.cells.extend(EdgeCellModule(edges, width) for _ in range(cells_per_stack))
        self.norm = nn.BatchNorm2d(4 * filters)
        self.classifier = nn.Linear(4 * filters, classes)
        settle(self, 1e-5, "same")

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (n, channels, h, w), to logits, (n, classes)."""
        features: Tensor = self.stem(images)
        for cell in self.cells:
            features = cell(features)
        logits: Tensor = self.classifier(torch.relu(self.norm(features)).mean((2, 3)))  # (n, classes)
        return logits


def _make_operation(op: str, filters: int) -> nn.Module:
    """Make what an edge computes; it keeps the shape of its input."""
    if op == "skip_connect":
        return nn.Identity()
    if op == "avg_pool_3x3":
        return SamePool2d("avg", 3, 1)
    kernel = 3 if op == "nor_conv_3x3" else 1
    return relu_conv_bn(filters, filters, (kernel, kernel))


def build_edges(
    cell: EdgeCell,
    *,
    cells_per_stack: int,
    filters: int,
    classes: int,
    channels: int = 3,
    live_only: bool = False,
) -> EdgeNetwork:
    """Build the network of a cell.

    By default all of its edges are built, as in the benchmark; with ``live_only`` those alone that a signal passes from
    input to output.

    Raises:
        ValueError: if a number is out of range.
    """
    check_edge_size(cells_per_stack, filters)
    check_range("classes", classes, "[1, inf)")
    check_range("channels", channels, "[1, inf)")
    edges = cell.edges(live_only=live_only)
    return EdgeNetwork(edges, cells_per_stack=cells_per_stack, filters=filters, classes=classes, channels=channels)
