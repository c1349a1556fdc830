"""The cost of a network: parameters, and mult-adds per image, counted from shapes without memory or arithmetic."""

from __future__ import annotations

from typing import Any, Final, TypeAlias, cast

import torch
from torch import nn

from evo_nas.phenotypes.cell import BlockModule, CellModule, DropPath, SumNorm
from evo_nas.phenotypes.edges import build_edges
from evo_nas.phenotypes.kinds import count_cost
from evo_nas.phenotypes.network import CellNetwork, Stem
from evo_nas.phenotypes.ops import FactorizedReduction, SameConv2d, SamePool2d
from evo_nas.phenotypes.plan import SMALLEST_IMAGE
from genotypes.cell import CellPair
from genotypes.edge_cell import EdgeCell
from genotypes.individual import Cost

Size: TypeAlias = tuple[int, int]
"""Height and width of a map, in pixels."""

_FREE: Final = (nn.ReLU, nn.BatchNorm2d, nn.Identity, DropPath, SumNorm)
"""Layers that keep the size of a map and have no mult-adds, as papers count them."""


def cost_of(cells: CellPair, *, image: int = 32, classes: int = 10, **size: Any) -> Cost:
    """Count the parameters of a network, and its mult-adds for one image of ``image`` x ``image`` pixels.

    ``size`` are the other options of :class:`evo_nas.phenotypes.network.CellNetwork`. Parameters are the trained ones:
    batch norm's scales and shifts count, its running means do not. Mult-adds are those of convolutions and of the
    classifier alone, as papers count them. An auxiliary classifier counts in neither.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if a number is out of range, or the macro-architecture is unknown.
    """
    # The meta device knows shapes only: nothing is allocated, nothing is drawn.
    with torch.device("meta"):
        network = CellNetwork(cells, classes=classes, **size)
    return cost_of_network(network, image)


def cost_of_edges(cell: EdgeCell, *, image: int, **size: Any) -> Cost:
    """Count the network of a cell of edges as :func:`cost_of` does; ``size`` is what ``build_edges`` takes.

    Raises:
        ValueError: if a number is out of range.
    """
    with torch.device("meta"):
        network = build_edges(cell, **size)
    return Cost(*count_cost(network, channels=size.get("channels", 3), image_size=image))


def cost_of_network(network: CellNetwork, image: int) -> Cost:
    """Count a network that is built already, as :func:`cost_of` does.

    Raises:
        ValueError: if the image is smaller than 8 pixels a side.
    """
    parts = cost_by_part(network, image).values()
    return Cost(sum(part.parameters for part in parts), sum(part.mult_adds for part in parts))


def cost_by_part(network: CellNetwork, image: int) -> dict[str, Cost]:
    """Count, for one image of ``image`` x ``image`` pixels, each part: stem, cells.0, cells.1, ..., classifier.

    Raises:
        ValueError: if the image is smaller than 8 pixels a side.
    """
    if image < SMALLEST_IMAGE:
        raise ValueError(f"image must be at least {SMALLEST_IMAGE} pixels a side, not {image}: reductions halve it")
    counter = _Counter()
    sizes = counter.stem(network.stem, (image, image))
    parts = {"stem": counter.take(network.stem)}
    for index, (layer, cell) in enumerate(zip(network.plan.layers, network.cells, strict=True)):
        previous = sizes[-layer.back]
        # A cell that nobody reads is not built, and hands on what it gets.
        sizes.append(counter.cell(cell, sizes[-1], previous) if isinstance(cell, CellModule) else sizes[-1])
        parts[f"cells.{index}"] = counter.take(cell)
    counter.mult_adds = network.classifier.weight.numel()
    parts["classifier"] = counter.take(network.classifier)
    return parts


class _Counter:
    """Follows the sizes of maps through modules, in the order of their ``forward``, and sums the mult-adds up."""

    def __init__(self) -> None:
        self.mult_adds = 0

    def take(self, part: nn.Module) -> Cost:
        """Return what was counted since the last time, and the parameters of the part that it was counted in."""
        mult_adds, self.mult_adds = self.mult_adds, 0
        return Cost(sum(parameter.numel() for parameter in part.parameters()), mult_adds)

    def stem(self, stem: Stem, size: Size) -> list[Size]:
        """Count the stages, and give the size after each."""
        sizes = [size]
        for stage in stem.stages:
            sizes.append(self.through(stage, sizes[-1]))
        return sizes[1:]

    def cell(self, cell: CellModule, current: Size, previous: Size) -> Size:
        """Count a cell that reads h_i and h_{i-1} of these sizes, and give that of its output."""
        sizes = {0: self.through(cell.fit_current, current), 1: self.through(cell.fit_previous, previous)}
        for state, module in zip(cell.created, cell.blocks, strict=True):
            block = cast("BlockModule", module)
            sizes[state] = self.through(block.left, sizes[block.block.left.source])
            self.through(block.right, sizes[block.block.right.source])
            self.through(block.norm, sizes[state])
        outputs = [self.through(fit, sizes[state]) for state, fit in zip(cell.output, cell.fit_output, strict=True)]
        return outputs[0]

    def through(self, module: nn.Module, size: Size) -> Size:
        """Count an operation, and give the size of the map that it makes of one of this size.

        Raises:
            TypeError: if the module is of a kind that is not counted here.
        """
        if isinstance(module, nn.Sequential):
            for layer in module:
                size = self.through(layer, size)
        elif isinstance(module, SameConv2d):
            size = self.count_convolution(module, _divide_size(size, module.stride))
        elif isinstance(module, nn.Conv2d):  # the stem of large images, without padding
            height, width = (
                (n - kernel) // step + 1
                for n, kernel, step in zip(size, module.kernel_size, module.stride, strict=True)
            )
            size = self.count_convolution(module, (height, width))
        elif isinstance(module, FactorizedReduction):
            size = _divide_size(size, (2, 2))
            self.count_convolution(module.even, size)
            self.count_convolution(module.odd, size)
        elif isinstance(module, SamePool2d):
            size = _divide_size(size, (module.stride, module.stride))
        elif not isinstance(module, _FREE):
            raise TypeError(f"nobody has said how to count a {type(module).__name__}")
        return size

    def count_convolution(self, convolution: nn.Conv2d, size: Size) -> Size:
        """Count a convolution with an output map of this size: each weight multiplies once per pixel."""
        self.mult_adds += convolution.weight.numel() * size[0] * size[1]
        return size


def _divide_size(size: Size, stride: tuple[int, ...]) -> Size:
    """Return the size that SAME padding leaves."""
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])
